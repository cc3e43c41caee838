// Svelte's compiler: warnings are errors at `npm run check`.
import { vitePreprocess } from '@sveltejs/vite-plugin-svelte';

export default { preprocess: vitePreprocess({ script: false }), compilerOptions: { runes: true } };
