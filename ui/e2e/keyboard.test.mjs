// The whole of it without a mouse: what is pressed, where the focus is, and what the status line says.
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { start } from '../mock/server.mjs';
import { launch, visit } from './browser.mjs';

let browser;
let mock;
let page;
before(async () => {
  mock = await start({ moves: false });
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await mock?.stop();
});
beforeEach(async () => {
  await page?.context().close();
  await mock.mock({ house: 'lively', say: 0, forget: true });
  page = await visit(browser, mock);
});

const IDLE = { can_wake: false, can_sleep: false, waking: null, failure: null, usual_ms: null, elsewhere: false, kept_awake: 'no', naps: false, gpu_lost: false };
const press = async (...keys) => {
  for (const key of keys) await page.keyboard.press(key);
};
/** The name of what has the focus, as a screen reader would begin it. */
const focus = () => page.evaluate(() => document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.textContent?.trim().replace(/\s+/g, ' ') ?? '');
/** Waits until the focus is on something whose name fits. */
const focused = async (name) => {
  await page.waitForFunction(
    ([source, flags]) => new RegExp(source, flags).test(document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.textContent?.trim().replace(/\s+/g, ' ') ?? ''),
    [name.source, name.flags],
  );
};
/** Tabs until the focus is there; fails when it never is. */
const tabTo = async (name, most = 60) => {
  for (let n = 0; n < most; n += 1) {
    if (name.test(await focus())) return;
    await press('Tab');
  }
  assert.fail(`Tab never reaches ${name}`);
};
/** Waits until the focus rests on the page itself, which is not the same as nowhere. */
const rests = () => page.waitForFunction(() => document.activeElement?.className === 'page');
const status = (text) => page.locator('[role="status"]', { hasText: text }).waitFor({ state: 'attached' });

describe('by keyboard alone', () => {
  it('Tab reaches everything in reading order, and each stop can be seen', async () => {
    const wanted = [/^Overview/, /^Add a machine$/, /^nas, up/, /^workstation, up/, /^laptop, away/, /^Keyboard shortcuts/, /^Routing: Automatic/, /^Copy base URL/, /^nas, up/, /^Last 24 hours/, /^5 models/, /^Unload all/, /^More about nas/, /^workstation, up/, /^Last 24 hours/, /^4 models/, /^Free the GPU/, /^More about workstation/, /^laptop, away/, /^Last 24 hours/, /^3 models/, /^More about laptop/, /^Add a machine…/, /^Cancel this request: Claude Code/, /^Cancel this request: Open WebUI/, /^Cancel this request: n8n/];
    for (const name of wanted) {
      await press('Tab');
      assert.match(await focus(), name);
      const ring = await page.evaluate(() => {
        const style = getComputedStyle(document.activeElement);
        return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
      });
      assert.ok(ring, `no ring on ${name}`);
    }
  });

  it('W wakes a machine, and the arrow keys walk its day', async () => {
    await mock.mock({ house: 'lamp', say: 0, forget: true });
    await page.getByRole('heading', { name: 'tower' }).waitFor();
    await page.locator('[data-node="tower"]').focus();
    await press('w');
    await status('tower is waking');
    assert.ok(mock.asked().some((one) => one.does === 'POST nodes/tower/wake'));
    await tabTo(/^Last 24 hours/);
    await focused(/^Last 24 hours: up/);
    await press('End');
    await status(/^\d\d:\d\d–(now|\d\d:\d\d) (asleep|up)/);
    await press('Home');
    await status(/^\w{3} \d\d:\d\d–\d\d:\d\d no data/);
    const tip = page.locator('.tip');
    const spot = () => tip.evaluate((one) => ({ at: one.getBoundingClientRect(), bar: one.parentElement.getBoundingClientRect(), ink: getComputedStyle(one).color, ground: getComputedStyle(one).backgroundColor }));
    const first = await spot();
    assert.ok(Math.abs(first.at.left - first.bar.left) < 6, 'the first cell has its words above it');
    assert.notEqual(first.ink, first.ground);
    await press('End');
    const last = await spot();
    assert.ok(Math.abs(last.at.right - last.bar.right) < 6, 'and so has the last');
    await press('Escape');
    await tip.waitFor({ state: 'detached' });
    await focused(/^Last 24 hours: up/);
  });

  it('F6 goes round the regions, both ways', async () => {
    const stops = [];
    for (let n = 0; n < 4; n += 1) {
      await press('F6');
      stops.push(await focus());
    }
    assert.match(stops.join(' | '), /^Overview \| Routing: Automatic \| nas, up \| Cancel this request: Claude Code/);
    await press('Shift+F6');
    await focused(/^nas, up/);
    await press('Control+1');
    await focused(/^Overview/);
  });

  it('a card: Enter unfolds its models, U frees it, and the status line tells', async () => {
    await press('F6', 'F6', 'F6');
    await tabTo(/^workstation, up/);
    await press('Enter');
    await page.getByRole('list', { name: 'Models on workstation' }).waitFor();
    await tabTo(/^Load gpt-oss:20b/);
    await press('Enter');
    await focused(/^Unload gpt-oss:20b/);
    await status('Loading gpt-oss:20b on workstation');
    await page.locator('[data-node="workstation"]').focus();
    await press('u');
    await page.locator('[data-node="workstation"]').getByText('no model loaded').waitFor();
    await status('Unloading everything from workstation');
    await press('Enter');
    await page.getByRole('list', { name: 'Models on workstation' }).waitFor({ state: 'detached' });
  });

  it('menus: arrows walk, Esc closes and gives the focus back, Enter chooses', async () => {
    await tabTo(/^Routing/);
    await press('Enter');
    await focused(/^Automatic/);
    await press('ArrowDown');
    await focused(/^Local only/);
    await press('End');
    await focused(/^Pause until/);
    await press('ArrowDown');
    await focused(/^Automatic/);
    await press('Escape');
    await focused(/^Routing/);
    await press('Space', 'ArrowDown', 'ArrowDown');
    await focused(/^Never wake/);
    await press('Enter');
    await page.getByRole('button', { name: 'Routing: Never wake', exact: true }).waitFor();
    await status('Routing: Never wake');
    assert.deepEqual(mock.asked().at(-1).body, { mode: 'no-wake' });
  });

  it('a request is cancelled', async () => {
    await tabTo(/^Cancel this request: Open WebUI/);
    await press('Enter');
    await page.getByRole('listitem').filter({ hasText: 'Open WebUI' }).waitFor({ state: 'detached' });
    await status('Request cancelled');
    await focused(/^Cancel this request: n8n/);
    await press('Enter');
    await focused(/^Cancel this request: Claude Code/);
    await press('Enter');
    await focused(/^Now$/);
  });

  it('a machine is added: identified when typing stops, named by its address, wrong input named', async () => {
    await tabTo(/^Add a machine$/);
    await press('Enter');
    await page.keyboard.type('Attic.local');
    await page.getByText('Ollama 0.14.2, 14').waitFor();
    const asks = mock.asked().filter((one) => one.does === 'POST identify');
    assert.deepEqual(asks, [{ does: 'POST identify', body: { url: 'Attic.local' } }], 'asked once, after the last letter');
    await press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.value), 'attic');
    await press('Control+A');
    await page.keyboard.type('nas');
    await press('Enter');
    await page.getByText('nas exists already').waitFor();
    await press('Control+A');
    await page.keyboard.type('attic');
    await press('Tab', 'ArrowUp', 'Enter');
    await focused(/^attic, looking/);
    await status('attic was added');
    const { body } = mock.asked().find((one) => one.does === 'POST nodes');
    assert.deepEqual(body, { url: 'http://Attic.local:11434', presence: 'sleeps', name: 'attic' });
  });

  it('a machine is edited: only what changed is sent; Esc leaves it as it was', async () => {
    await tabTo(/^More about nas/);
    await press('Enter');
    await focused(/^Unload all/);
    await press('ArrowDown', 'ArrowDown', 'Enter');
    await page.getByRole('dialog', { name: 'Edit nas' }).waitFor();
    await press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await tabTo(/^More about nas/);
    await press('Enter', 'ArrowDown', 'ArrowDown', 'Enter');
    await page.getByRole('dialog', { name: 'Edit nas' }).waitFor();
    await tabTo(/^More$/);
    await press('Enter', 'Tab', 'Control+A');
    await page.keyboard.type('Celeron');
    await press('Enter');
    await page.locator('[data-node="nas"]').getByText('Celeron').waitFor();
    assert.deepEqual(mock.asked().find((one) => one.does === 'PATCH nodes/nas').body, { gpu: 'Celeron' });
  });

  it('a machine is removed after it was asked', async () => {
    await tabTo(/^More about laptop/);
    await press('Enter', 'End', 'Enter');
    await page.getByRole('dialog', { name: 'Remove laptop' }).waitFor();
    await tabTo(/^Remove laptop$/);
    await press('Enter');
    await page.locator('[data-node="laptop"]').waitFor({ state: 'detached' });
    await status('laptop was removed');
    await rests();
  });

  it('the focus stays with a machine that is woken, and goes to its card when the button goes', async () => {
    await mock.mock({ house: 'lamp', say: 0, forget: true });
    await page.getByRole('heading', { name: 'tower' }).waitFor();
    await page.locator('[data-node="tower"]').focus();
    await tabTo(/^Wake$/);
    await press('Enter', 'Enter');
    await focused(/^Cancel$/);
    assert.deepEqual(mock.asked().map((one) => one.does), ['POST nodes/tower/wake'], 'a hasty second press takes nothing back');
    await mock.mock({ node: { name: 'tower', state: 'up', sleep: { ...IDLE, can_wake: true } } });
    await focused(/^tower, up/);
  });

  it('the focus goes from a question to its machine, from a problem too, and from a notice to the page', async () => {
    await mock.mock({ house: 'lamp', say: 0, forget: true });
    await page.locator('.notice').getByRole('button', { name: 'Wake' }).focus();
    await press('Enter');
    await focused(/^tower, /);
    await mock.mock({ house: 'naps', say: 0, forget: true });
    await page.getByRole('region', { name: 'To look at' }).getByRole('button', { name: 'Keep awake while it answers' }).focus();
    await press('Enter');
    await focused(/^workstation, /);
    await mock.mock({ house: 'paused', say: 0, forget: true });
    await page.getByRole('button', { name: 'Resume' }).focus();
    await press('Enter');
    await rests();
    await mock.mock({ house: 'lively', say: 0 });
    await page.getByRole('button', { name: /^Cancel this request: n8n/ }).focus();
    await mock.mock({ requests: [] });
    await focused(/^Now$/);
  });

  it('the keys that scroll go on working where the focus rests', async () => {
    await mock.mock({ house: 'paused', say: 0, forget: true });
    await page.setViewportSize({ width: 700, height: 400 });
    await page.getByRole('button', { name: 'Resume' }).focus();
    await press('Enter');
    await rests();
    await press('PageDown');
    await page.waitForFunction(() => document.querySelector('.page').scrollTop > 50);
  });

  it('the first machine of an empty house gets the focus, where its button was', async () => {
    await mock.mock({ house: 'empty', say: 0, forget: true });
    await page.locator('.empty').getByRole('button', { name: 'Add a machine…' }).focus();
    await press('Enter');
    await page.keyboard.type('attic');
    await press('Enter');
    await focused(/^attic, looking/);
  });

  it('? shows the keys, but not while typing', async () => {
    await press('?');
    await page.getByRole('dialog', { name: 'Keyboard shortcuts' }).waitFor();
    await press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await tabTo(/^Add a machine$/);
    await press('Enter');
    await page.keyboard.type('a?');
    assert.equal(await page.getByRole('dialog').count(), 1);
  });

  it('the status line tells what changes, and nothing of numbers', async () => {
    await mock.mock({ node: { name: 'laptop', state: 'up', since_ms: Date.now() } });
    await status('laptop is up');
    await mock.mock({ node: { name: 'workstation', active: 3 } });
    await page.locator('[data-node="workstation"]').getByText('3 active').waitFor();
    await page.waitForTimeout(700);
    assert.equal((await page.locator('[role="status"]').first().innerText()).trim(), 'laptop is up');
  });
});
