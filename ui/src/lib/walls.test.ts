// The walls of the pages: who may talk, what the content policy forbids, and what the lock file must hold.
import { describe, expect, it } from 'vitest';
import lock from '../../package-lock.json?raw';
import html from '../../index.html?raw';

const files = import.meta.glob<string>(['../**/*.{ts,svelte,css}', '!../**/*.test.ts'], { query: '?raw', import: 'default', eager: true });

type Breach = { wall: string; file: string };
const WALLS: { wall: string; breach: RegExp; open?: RegExp }[] = [
  { wall: 'only api.ts talks', breach: /\bfetch\s*\(|\binvoke\b|XMLHttpRequest|EventSource|WebSocket|sendBeacon|@tauri-apps/, open: /\/api\.ts$|^\.\/api\.ts$/ },
  { wall: 'no style is written into the markup', breach: /<[^>]*\sstyle="/ },
  { wall: 'no markup is made of text', breach: /\{@html|innerHTML|insertAdjacentHTML|document\.write/ },
  { wall: 'nothing is loaded from elsewhere', breach: /(src|href)="https?:|url\(\s*['"]?https?:|@import\s+['"]?https?:/ },
  { wall: 'nothing runs from text', breach: /\beval\s*\(|new Function\s*\(/ },
];

const breaches = (sources: Record<string, string>): Breach[] =>
  Object.entries(sources).flatMap(([file, text]) => WALLS.filter(({ breach, open }) => !open?.test(file) && breach.test(text)).map(({ wall }) => ({ wall, file })));

/** The text of a part that people would read: without script, comments, expressions and tags. */
function visible(part: string): string {
  let text = part.replace(/<script[\s\S]*?<\/script>|<!--[\s\S]*?-->/g, '');
  for (let before = ''; before !== text; ) {
    before = text;
    text = text.replace(/\{[^{}]*\}/g, '');
  }
  return text.replace(/<[^>]*>/g, '');
}

describe('walls', () => {
  it('stand', () => {
    expect(Object.keys(files).length).toBeGreaterThan(40);
    expect(breaches({ ...files, 'index.html': html })).toEqual([]);
  });

  it('are seen when they are broken', () => {
    const planted = { 'a.svelte': '<p style="color: red">{@html x}</p>', 'b.ts': 'await fetch("/x"); eval("1")', 'c.css': '@import "https://x/y.css";' };
    expect(breaches(planted).map(({ file }) => file)).toEqual(['a.svelte', 'a.svelte', 'b.ts', 'b.ts', 'c.css']);
  });

  it('words stand in words.ts, not in the markup', () => {
    expect(Object.entries(files).filter(([file, text]) => file.endsWith('.svelte') && /[A-Za-z]{2}/.test(visible(text))).map(([file]) => file)).toEqual([]);
    expect(visible('<script>let a = {};</script><!-- note --><p onclick={() => { f({}) }} class="x">{words.a} Hello</p>').trim()).toBe('Hello');
  });

  it('the page has no script of its own in the markup', () => {
    expect(html.match(/<script(?![^>]*\ssrc=)/)).toBeNull();
    expect(html).not.toContain('<style');
  });
});

describe('the lock file', () => {
  it('names no registry, and holds every platform that is built for', () => {
    expect(lock).not.toContain('"resolved"');
    for (const platform of ['darwin-arm64', 'win32-x64-msvc', 'linux-arm64-gnu', 'linux-x64-gnu']) expect(lock).toContain(`"node_modules/@rollup/rollup-${platform}"`);
  });
});
