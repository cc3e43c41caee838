// How the pages are built and tested: plain files with relative addresses, for /ui/ and for tauri://localhost alike.
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

export default defineConfig(({ mode }) => ({
  base: './',
  plugins: [svelte()],
  // The browser's Svelte, not the server's, also when components are mounted in tests.
  resolve: mode === 'test' ? { conditions: ['browser'] } : {},
  build: {
    target: ['es2022', 'safari17.5', 'chrome123'],
    cssTarget: ['safari17.5', 'chrome123'],
    // The content security policy allows files of our own only: nothing may be inlined.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  // `npm run dev` beside `npm run mock` or `cargo xtask run --demo`.
  server: { proxy: { '/control': 'http://127.0.0.1:11499' } },
  test: { environment: 'jsdom', include: ['src/**/*.test.ts'] },
}));
