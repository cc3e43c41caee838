// Pictures of the pages in every look and state: `npm run shots [-- folder]`, for looking at them.
import { mkdirSync } from 'node:fs';
import { start } from '../mock/server.mjs';
import { launch, visit } from './browser.mjs';

const folder = process.argv[2] ?? '../target/shots';
const only = process.argv[3];
mkdirSync(folder, { recursive: true });
const browser = await launch();
const mock = await start({ moves: false });

/** One picture: the house, the look, and what is done before it is taken. */
async function shot(name, house, look = {}, act = async () => {}) {
  if (only && !name.includes(only)) return;
  await mock.mock({ house, say: 0, cut: true });
  const page = await visit(browser, mock, look);
  await act(page);
  await page.waitForTimeout(120);
  await page.screenshot({ path: `${folder}/${name}.png` });
  if (page.wrong.length) console.error(name, page.wrong);
  await page.context().close();
}

const lose = async (page) => {
  await mock.mock({ say: 503 });
  await page.waitForSelector('main[data-contact="lost"]');
};
for (const theme of ['light', 'dark']) {
  await shot(`overview-${theme}`, 'demo', { theme });
  await shot(`overview-wide-${theme}`, 'lively', { theme, width: 1280, height: 800 });
  await shot(`overview-text200-${theme}`, 'lively', { theme, text: 200, height: 1500 });
  await shot(`overview-min720-${theme}`, 'lively', { theme, width: 720, height: 480 });
  await shot(`overview-empty-${theme}`, 'empty', { theme });
  await shot(`overview-disconnected-${theme}`, 'lively', { theme }, lose);
  await shot(`overview-states-${theme}`, 'states', { theme, height: 760 });
  await shot(`overview-lamp-${theme}`, 'lamp', { theme, width: 1280, height: 800 }, (page) => page.getByText('Why?').click());
  await shot(`overview-wakes-${theme}`, 'lamp', { theme, width: 1280, height: 800 }, async (page) => {
    await page.getByRole('button', { name: 'More about tower' }).click();
    await page.getByRole('menuitem', { name: 'Past wakes' }).click();
    await page.getByText('did not wake, 120 s').waitFor();
  });
  await shot(`overview-trouble-${theme}`, 'trouble', { theme, width: 1280, height: 800 }, (page) => page.locator('[data-node="workstation"]').getByText('Why?').click());
  await shot(`overview-crowd-${theme}`, 'crowd', { theme, width: 900, height: 760 });
  await shot(`overview-crowd-360-${theme}`, 'crowd', { theme, width: 360, height: 1500 });
  await shot(`forced-colours-${theme}`, 'lamp', { theme, height: 760 }, (page) => page.emulateMedia({ forcedColors: 'active', colorScheme: theme }));
  await shot(`overview-naps-${theme}`, 'naps', { theme, width: 1280, height: 800 }, (page) => page.getByRole('button', { name: 'More about workstation' }).click());
  await shot(`overview-paused-${theme}`, 'paused', { theme });
  await shot(`overview-folded-${theme}`, 'lively', { theme, height: 800 }, (page) => page.locator('[data-node="workstation"] .fold').click());
  await shot(`overview-menu-${theme}`, 'lively', { theme }, (page) => page.getByRole('button', { name: 'More about workstation' }).click());
  await shot(`overview-routing-${theme}`, 'lively', { theme }, (page) => page.getByRole('button', { name: /^Routing/ }).click());
  await shot(`machine-add-${theme}`, 'lively', { theme, height: 720 }, async (page) => {
    await page.getByRole('button', { name: 'Add a machine' }).first().click();
    await page.getByLabel('Address').fill('gpu.local');
    await page.getByText('Ollama 0.14.2, 14').waitFor();
  });
}
await shot('machine-error', 'lively', { height: 720 }, async (page) => {
  await page.getByRole('button', { name: 'Add a machine' }).first().click();
  await page.getByLabel('Address').fill('nowhere');
  await page.getByText('nothing answers').waitFor();
  await page.getByLabel('Name', { exact: true }).fill('Nas!');
  await page.getByText('More', { exact: true }).click();
  await page.getByLabel('Video memory').fill('lots');
  await page.getByRole('button', { name: 'Add machine' }).click();
});
await shot('machine-remove', 'lively', {}, async (page) => {
  await page.getByRole('button', { name: 'More about nas' }).click();
  await page.getByRole('menuitem', { name: 'Remove…' }).click();
});
await shot('overview-idle', 'idle');
await shot('overview-one', 'one');
await shot('overview-cloud', 'cloud');
await shot('overview-many', 'many', { width: 1280, height: 800 });
await shot('overview-long', 'long', { height: 760 });
await shot('overview-long-720', 'long', { width: 720, height: 900 });
await shot('overview-long-text200', 'long', { text: 200, height: 1500 });
await shot('states-text200', 'states', { text: 200, height: 1900 });
await shot('shortcuts', 'lively', {}, (page) => page.keyboard.press('?'));
await shot('note-error', 'lively', {}, async (page) => {
  await page.locator('[data-node="workstation"] .fold').click();
  await page.getByRole('button', { name: 'Load qwen3:32b' }).click();
  await page.getByText('does not fit').first().waitFor();
});
if (!only || 'locked'.includes(only)) {
  const locked = await visit(browser, mock, { address: `${mock.address}/ui/`, wait: false });
  await locked.waitForSelector('text=This page needs a key');
  await locked.screenshot({ path: `${folder}/locked.png` });
  const loading = await visit(browser, mock, { address: `${mock.address}/ui/`, wait: false });
  await loading.route('**/control/v1/session', () => {});
  await loading.goto('about:blank');
  await loading.goto(mock.open());
  await loading.waitForSelector('.sk');
  await loading.screenshot({ path: `${folder}/loading.png` });
}
await browser.close();
await mock.stop();
