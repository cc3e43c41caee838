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
const past = async (page) => {
  await click('More about tower')(page);
  await page.getByRole('menuitem', { name: 'Past wakes' }).click();
  await page.getByText('did not wake, 120').waitFor();
};
const walk = async (page) => {
  await page.locator('.cells[role="img"]').first().focus();
  for (const key of ['Home', 'ArrowRight']) await page.keyboard.press(key);
  await page.locator('.tip').waitFor();
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
  ['empty, 360 px, 200 % text', 'empty', { width: 360, height: 760, text: 200 }],
  ['idle', 'idle', { theme: 'dark' }],
  ['found on this computer', 'one', {}],
  ['cloud', 'cloud', { theme: 'dark' }],
  ['paused', 'paused', {}],
  ['asleep, waking, failed', 'lamp', {}, click('Why?')],
  ['asleep, waking, failed, dark', 'lamp', { theme: 'dark' }],
  ['asleep, 200 % text', 'lamp', { text: 200 }],
  ['troubles', 'trouble', {}, click('Why?')],
  ['troubles, dark, 360 px', 'trouble', { theme: 'dark', width: 360, height: 760 }],
  ['compact cards', 'crowd', { width: 900 }, click('Why?')],
  ['compact cards, narrowest', 'crowd', { width: 700, theme: 'dark' }],
  ['compact cards, 360 px', 'crowd', { width: 360 }],
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
  ['past wakes, compact', 'crowd', { width: 700 }, past],
  ['past wakes, dark', 'lamp', { theme: 'dark' }, past],
  ['shortcuts', 'lively', {}, click('Keyboard shortcuts')],
  ['walking a day', 'crowd', { width: 900 }, walk],
  ['walking a day, dark', 'lively', { theme: 'dark' }, walk],
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

  it('messages stand above what needs a look, and cover none of its buttons', async () => {
    await mock.mock({ house: 'states', say: 0 });
    for (const look of [{}, { width: 360, height: 760 }, { width: 520, height: 800, text: 200 }]) {
      const page = await visit(browser, mock, look);
      const page_height = () => page.evaluate(() => document.querySelector('.page').clientHeight);
      const before = await page_height();
      await click(/Copy base URL/)(page);
      const toast = page.locator('.toast');
      await toast.waitFor();
      const [over, under] = [await toast.boundingBox(), await page.locator('.problems').boundingBox()];
      assert.ok(over.y + over.height <= under.y, JSON.stringify([over, under]));
      assert.ok(over.x >= 0 && over.x + over.width <= (look.width ?? 960), JSON.stringify(over));
      assert.equal(await page_height(), before, 'and nothing moves');
      await page.context().close();
    }
  });

  it('the line of the house is whole at every width, with room around it', async () => {
    await mock.mock({ house: 'crowd', say: 0 });
    for (const width of [360, 520, 700, 824, 900, 960, 1100, 1400]) {
      const page = await visit(browser, mock, { width, height: 700 });
      const { cut, title, near } = await page.evaluate(() => {
        const line = document.querySelector('.bar .sub');
        const box = line.getBoundingClientRect();
        const others = [...document.querySelectorAll('.bar > :not(.sub, .sp)')].map((one) => one.getBoundingClientRect());
        const near = others.filter((one) => one.right + 3 > box.left && one.left - 3 < box.right && one.bottom + 3 > box.top && one.top - 3 < box.bottom);
        return { cut: line.scrollWidth > line.clientWidth, title: line.title, near: near.length };
      });
      assert.deepEqual([cut, near], [false, 0], `${width} px`);
      assert.match(title, /did not wake$/);
      await page.context().close();
    }
  });

  it('where the system chooses the colours, controls have edges and pictures keep their fills', async () => {
    const edge = (one) => parseFloat(getComputedStyle(one).borderTopWidth);
    await mock.mock({ house: 'lamp', say: 0 });
    const page = await visit(browser, mock);
    await page.emulateMedia({ forcedColors: 'active' });
    await page.locator('.cells[role="img"]').first().waitFor();
    for (const what of ['.card', '.btn', '.find', '.notice']) assert.ok((await page.locator(what).first().evaluate(edge)) >= 1, `${what} has no edge`);
    const fills = (what) => page.evaluate((of) => new Set([...document.querySelectorAll(of)].map((one) => getComputedStyle(one).background)).size, what);
    assert.ok((await fills('.cells i')) >= 4, 'the quarters of a day are told apart');
    assert.ok((await fills('.steps i')) >= 3, 'and so are the stages of a wake');
    await click('Add a machine')(page);
    await page.getByRole('dialog').waitFor();
    for (const what of ['dialog .inp', 'dialog .btn', 'dialog']) assert.ok((await page.locator(what).first().evaluate(edge)) >= 1, `${what} has no edge`);
    assert.equal(await page.locator('dialog .radio').first().evaluate((one) => getComputedStyle(one).appearance), 'auto');
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

  it('a machine’s card keeps its size and place through its states, wide and narrow', async () => {
    const idle = { can_wake: true, can_sleep: true, waking: null, failure: null, usual_ms: 41_000, elsewhere: false, kept_awake: 'no', naps: false, gpu_lost: false };
    const wake = { stage: 'api', started_ms: Date.now() - 23_000, timeout_ms: 120_000, rounds: 4, waiters: 3, by_person: false, asked_by: 'open-webui for coder' };
    const failure = { code: 'never_answered', words: 'did not wake: called 14 times, nothing heard for 120 s', checklist: [] };
    const states = [
      [{ state: 'up' }, 'up'],
      [{ state: 'asleep', sleep: idle }, 'asleep'],
      [{ state: 'waking', stage: 'packet', sleep: { ...idle, waking: { ...wake, by_person: true, waiters: 0, asked_by: null } } }, 'waking'],
      [{ state: 'waking', stage: 'api', sleep: { ...idle, waking: wake } }, 'waking'],
      [{ state: 'waking', stage: 'loading', sleep: { ...idle, waking: wake } }, 'loading'],
      [{ state: 'asleep', sleep: { ...idle, failure } }, 'did not wake'],
      [{ state: 'down', sleep: { ...idle, failure: { ...failure, code: 'engine_closed' } } }, 'no engine'],
      [{ state: 'up', sleep: { ...idle, gpu_lost: true } }, 'no GPU'],
      [{ state: 'away', sleep: idle }, 'away'],
      [{ state: 'down', sleep: idle, why: 'connection refused' }, 'down'],
      [{ state: 'refusing', why: null }, 'refusing'],
      [{ state: 'degraded' }, 'unsteady'],
      [{ state: 'unknown' }, 'looking'],
    ];
    for (const [house, look] of [['lively', {}], ['crowd', { width: 900 }], ['crowd', { width: 700 }], ['crowd', { width: 360 }], ['lively', { width: 520, text: 200 }], ['crowd', { width: 1400 }]]) {
      await mock.mock({ house, say: 0 });
      const page = await visit(browser, mock, look);
      await page.locator('.cells[role="img"]').first().waitFor();
      for (const name of house === 'crowd' ? ['workstation', 'tower'] : ['workstation']) {
        const card = page.locator(`[data-node="${name}"]`);
        const boxes = [];
        for (const [state, word] of states) {
          await mock.mock({ node: { name, ...state } });
          await card.locator('.state', { hasText: word }).waitFor();
          boxes.push(await card.evaluate((one) => [one.offsetLeft, one.offsetTop, one.offsetWidth, one.offsetHeight, one.scrollWidth > one.clientWidth ? 'too wide' : ''].join(' ')));
        }
        const odd = boxes.map((box, at) => `${states[at][1]} ${box}`).filter((_, at) => boxes[at] !== boxes[0] || boxes[at].endsWith('wide'));
        assert.deepEqual(odd, [], `${name} at ${JSON.stringify(look)}, first ${boxes[0]}`);
      }
      await page.context().close();
    }
  });

  it('past wakes can be read in the narrowest card, on one scale, below the models, without stretching the neighbours', async () => {
    await mock.mock({ house: 'crowd', say: 0 });
    const page = await visit(browser, mock, { width: 700, height: 900 });
    const neighbour = page.locator('[data-node="devbox"]');
    const height = (await neighbour.boundingBox()).height;
    await past(page);
    await page.locator('[data-node="tower"] .fold').click();
    await page.getByRole('list', { name: 'Models on tower' }).waitFor();
    assert.equal((await neighbour.boundingBox()).height, height);
    const section = page.getByRole('region', { name: 'Past wakes' });
    assert.ok((await section.boundingBox()).y > (await page.getByRole('list', { name: 'Models on tower' }).boundingBox()).y, 'the models stand under their button');
    const rows = await section.evaluate((one) => [...one.querySelectorAll('li')].map((row) => ({ cut: [...row.querySelectorAll('.num, .said')].filter((part) => part.scrollWidth > part.clientWidth).length, by: row.querySelector('.by').clientWidth, bar: [...row.querySelectorAll('.past-bar i')].reduce((sum, part) => sum + part.getBoundingClientRect().width, 0) })));
    assert.equal(rows.length, 3);
    assert.deepEqual(rows.map((row) => row.cut), [0, 0, 0], 'time and outcome are whole');
    for (const row of rows) assert.ok(row.by >= 60, `${row.by} px for whoever asked`);
    assert.ok(Math.abs(rows[0].bar / rows[2].bar - 41 / 120) < 0.03, `${rows[0].bar} px are 41 s, ${rows[2].bar} px are 120 s`);
    await click('More about tower')(page);
    await page.getByRole('menuitem', { name: 'Hide past wakes' }).click();
    await section.waitFor({ state: 'detached' });
  });

  it('a card does not grow when its day becomes known', async () => {
    await mock.mock({ house: 'crowd', say: 0 });
    const page = await visit(browser, mock, { address: 'about:blank', wait: false });
    let answer;
    await page.route('**/control/v1/availability', (route) => (answer = () => route.continue()));
    await page.goto(mock.open());
    await page.waitForSelector('main[data-contact="live"]');
    const heights = () => page.evaluate(() => [...document.querySelectorAll('.node')].map((one) => one.offsetHeight));
    const before = await heights();
    const bars = await page.evaluate(() => [...document.querySelectorAll('.node:not(.lead)')].map((one) => one.querySelector('.avail').getBoundingClientRect().bottom - one.getBoundingClientRect().top));
    assert.equal(new Set(bars.map(Math.round)).size, 1, `days at different heights: ${bars}`);
    await answer();
    await page.locator('.cells[role="img"]').first().waitFor();
    assert.deepEqual(await heights(), before);
  });
});
