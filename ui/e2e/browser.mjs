// Chromium for the tests and the pictures: started once, quiet, with a page that is already let in.
import { chromium } from 'playwright-core';

const EXECUTABLE = process.env.CHROMIUM ?? '/usr/bin/chromium';
const QUIET = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

/** A browser; say where it is with CHROMIUM when it is not Debian's. */
export const launch = () => chromium.launch({ executablePath: EXECUTABLE, args: QUIET, headless: true });

/** A page on the mock's house, its errors collected in `page.wrong`; `text` is the font size in percent. */
export async function visit(browser, mock, { theme = 'light', width = 960, height = 640, text = 100, address = mock.open(), motion = 'reduce', wait = true } = {}) {
  const context = await browser.newContext({ colorScheme: theme, viewport: { width, height }, reducedMotion: motion, locale: 'en-GB', permissions: ['clipboard-read', 'clipboard-write'] });
  const page = await context.newPage();
  page.setDefaultTimeout(8_000);
  page.wrong = [];
  page.on('pageerror', (error) => page.wrong.push(String(error)));
  page.on('console', (line) => /Content Security Policy|Uncaught|\[svelte\]/.test(line.text()) && page.wrong.push(line.text()));
  page.on('request', (request) => {
    if (!request.url().startsWith(mock.address) && !request.url().startsWith('data:')) page.wrong.push(`asked ${request.url()}`);
  });
  await page.goto(address);
  if (text !== 100) await page.evaluate((percent) => (document.documentElement.style.fontSize = `${percent}%`), text);
  if (wait) await page.waitForSelector('main[data-contact="live"]');
  return page;
}
