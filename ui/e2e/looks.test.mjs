// Every look and state of the pages: sound for screen readers (axe), true to the content policy, nothing cut off sideways.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, afterEach, before, describe, it } from 'node:test';
import { start } from '../mock/server.mjs';
import { launch, visit } from './browser.mjs';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
let browser;
let mock;
before(async () => {
  mock = await start({ moves: false });
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await mock?.stop();
});

afterEach(() => Promise.all(browser.contexts().map((one) => one.close())));

/** What axe finds serious or critical, as lines that tell what and where. */
async function serious(page) {
  await page.evaluate(AXE);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  return found.violations
    .filter((one) => ['serious', 'critical'].includes(one.impact))
    .flatMap((one) => one.nodes.map((node) => `${one.id}: ${node.target} ${node.any.map((check) => check.message).join('; ')}`));
}

const click = (name) => (page) => page.getByRole('button', { name }).first().click();
const lose = async (page) => {
  await mock.mock({ say: 503 });
  await page.waitForSelector('main[data-contact="lost"]');
  await page.getByText('No contact with the gateway').waitFor();
};
const addFound = async (page) => {
  await click('Add a machine')(page);
  await page.getByLabel('Address').fill('gpu.local');
  await page.getByText('Ollama 0.14.2, 14').waitFor();
};
const addWrong = async (page) => {
  await click('Add a machine')(page);
  await page.getByLabel('Address').fill('nowhere');
  await page.getByText('nothing answers').waitFor();
  await page.getByLabel('Name', { exact: true }).fill('Nas!');
  await page.getByRole('button', { name: 'Add machine' }).click();
  await page.getByText('use 1 to 40').waitFor();
};

const LOOKS = [
  ['light', 'lively', {}],
  ['dark', 'demo', { theme: 'dark' }],
  ['200 % text', 'lively', { text: 200 }],
  ['200 % text, dark, states', 'states', { text: 200, theme: 'dark' }],
  ['720 px', 'lively', { width: 720, height: 480 }],
  ['420 px', 'lively', { width: 420, height: 640 }],
  ['all eight states', 'states', {}],
  ['all eight states, dark', 'states', { theme: 'dark' }],
  ['empty', 'empty', {}],
  ['idle', 'idle', { theme: 'dark' }],
  ['found on this computer', 'one', {}],
  ['cloud', 'cloud', { theme: 'dark' }],
  ['paused', 'paused', {}],
  ['asleep, waking, failed', 'lamp', {}, click('Why?')],
  ['asleep, waking, failed, dark', 'lamp', { theme: 'dark' }],
  ['asleep, 200 % text', 'lamp', { text: 200 }],
  ['many', 'many', { width: 1280, height: 800 }],
  ['long names', 'long', {}],
  ['long names, 200 % text', 'long', { text: 200 }],
  ['disconnected', 'lively', {}, lose],
  ['disconnected, dark', 'states', { theme: 'dark' }, lose],
  ['models unfolded', 'lively', {}, click('4 models')],
  ['routing menu', 'lively', { theme: 'dark' }, click(/^Routing/)],
  ['a machine’s menu', 'lively', {}, click('More about workstation')],
  ['adding a machine', 'lively', { theme: 'dark' }, addFound],
  ['adding it wrongly, 200 % text', 'lively', { text: 200 }, addWrong],
  ['shortcuts', 'lively', {}, click('Keyboard shortcuts')],
];

describe('looks', () => {
  for (const [name, house, look, act] of LOOKS) {
    it(name, async () => {
      await mock.mock({ house, say: 0 });
      const page = await visit(browser, mock, look);
      await act?.(page);
      assert.deepEqual(await serious(page), []);
      assert.deepEqual(page.wrong, []);
      const wide = await page.evaluate(() => [...document.querySelectorAll('html, .main, .page, .rail, .node, dialog[open]')].filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.className || one.tagName));
      assert.deepEqual(wide, [], 'wider than its place');
    });
  }

  it('notices are as high as what they say, and their buttons can be pressed, however narrow', async () => {
    for (const [house, look, act] of [
      ['lamp', { width: 360, height: 760 }],
      ['paused', { width: 520, height: 700, text: 200 }],
      ['naps', { width: 520, height: 700, text: 200 }],
      ['states', { width: 360, height: 760 }, click('1 more')],
      ['long', { width: 520, height: 700, text: 200 }, click('1 more')],
    ]) {
      await mock.mock({ house, say: 0 });
      const page = await visit(browser, mock, look);
      await act?.(page);
      const wrong = await page.evaluate(() => {
        const lower = (one) => one.clientHeight + 1 < one.scrollHeight;
        /** What a finger would touch in the middle of a button, once it has been scrolled to. */
        const covered = (button) => {
          button.scrollIntoView({ block: 'center' });
          const { x, y, width, height } = button.getBoundingClientRect();
          return !button.contains(document.elementFromPoint(x + width / 2, y + height / 2));
        };
        const boxes = [...document.querySelectorAll('.notice')];
        const flat = boxes.filter(lower).map((one) => `flat: ${one.innerText}`);
        return [...flat, ...boxes.flatMap((one) => [...one.querySelectorAll('button')]).filter(covered).map((one) => `covered: ${one.innerText}`)];
      });
      assert.ok((await page.locator('.notice button').count()) > 0, house);
      assert.deepEqual(wrong, [], house);
      await page.context().close();
    }
  });

  it('without a key it says what to run', async () => {
    const page = await visit(browser, mock, { address: `${mock.address}/ui/`, wait: false });
    await page.getByText('lamplighter open').waitFor();
    assert.deepEqual(await serious(page), []);
    await page.context().close();
  });

  it('nothing moves for those who asked for that, and for nobody longer than 150 ms', async () => {
    await mock.mock({ house: 'lively', say: 0 });
    const longest = (page) =>
      page.evaluate(() => {
        const ms = (text) => Math.max(...text.split(',').map((one) => parseFloat(one) * (one.includes('ms') ? 1 : 1000)));
        return Math.max(...[...document.querySelectorAll('*')].map((one) => getComputedStyle(one)).map((style) => Math.max(ms(style.transitionDuration), ms(style.animationDuration))));
      });
    for (const [motion, most] of [['reduce', 0], ['no-preference', 150]]) {
      const page = await visit(browser, mock, { motion });
      await click(/^Routing/)(page);
      assert.equal(await longest(page), most, motion);
      await page.context().close();
    }
  });

  it('a machine’s card keeps its size and place through its states', async () => {
    await mock.mock({ house: 'lively', say: 0 });
    const page = await visit(browser, mock);
    const card = page.locator('[data-node="workstation"]');
    const boxes = [];
    for (const [state, word] of [['up', 'up'], ['waking', 'waking'], ['asleep', 'asleep'], ['away', 'away'], ['down', 'down'], ['refusing', 'refusing'], ['degraded', 'unsteady'], ['unknown', 'looking']]) {
      await mock.mock({ node: { name: 'workstation', state, stage: 'api', why: state === 'down' ? 'connection refused' : null } });
      await card.locator('.state', { hasText: word }).waitFor();
      const { x, y, width, height } = await card.boundingBox();
      boxes.push([x, y, width, height].join(' '));
    }
    assert.deepEqual([...new Set(boxes)].length, 1, boxes.join('\n'));
    await page.context().close();
  });
});
