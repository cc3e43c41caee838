// The pages against a gateway that moves: the way in, live requests, losing contact and getting it back.
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { start } from '../mock/server.mjs';
import { launch, visit } from './browser.mjs';

let browser;
let mock;
before(async () => {
  mock = await start();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await mock?.stop();
});
afterEach(() => Promise.all(browser.contexts().map((one) => one.close())));
beforeEach(() => mock.mock({ house: 'lively', say: 0, forget: true }));

const open = (look) => visit(browser, mock, look);
/** Waits until so many streams are open: the end of a page's connection is seen a moment later. */
async function streams(count) {
  for (let n = 0; n < 60 && mock.streams() !== count; n += 1) await new Promise((go) => setTimeout(go, 50));
  assert.equal(mock.streams(), count);
}

describe('the way in', () => {
  it('the code is traded once, leaves the address, and a reload needs no other', async () => {
    const page = await open();
    assert.equal(page.url(), `${mock.address}/ui/`);
    await page.reload();
    await page.waitForSelector('main[data-contact="live"]');
    assert.doesNotMatch(await page.content(), /mock-token/);
  });

  it('a used link says so', async () => {
    const address = mock.open();
    await open({ address });
    const page = await open({ address, wait: false });
    await page.getByText('This link has been used').waitFor();
    await page.getByText('lamplighter open').waitFor();
  });

  it('a key that is no longer valid says so, and a new link in the same tab helps', async () => {
    await mock.mock({ house: 'demo' });
    const page = await open();
    await mock.mock({ token: 'another', cut: true });
    await page.getByText('no longer valid').waitFor();
    assert.equal(await page.getByRole('navigation', { name: 'Nodes' }).count(), 0, 'no old states beside a locked page');
    await page.getByText('lamplighter --demo open').waitFor();
    await page.evaluate((hash) => (location.hash = hash), new URL(mock.open()).hash);
    await page.waitForSelector('main[data-contact="live"]');
  });
});

describe('whoever comes to look', () => {
  it('has every machine looked at when the page opens and when it is come back to, and not again and again', async () => {
    const before = mock.looks();
    const page = await open();
    const looks = async (count) => {
      for (let n = 0; n < 60 && mock.looks() - before < count; n += 1) await new Promise((go) => setTimeout(go, 50));
      assert.equal(mock.looks() - before, count);
    };
    await looks(1);
    const comeBack = () => page.evaluate(() => dispatchEvent(new Event('focus')));
    await comeBack();
    await comeBack();
    await new Promise((go) => setTimeout(go, 3_100));
    await looks(1);
    await comeBack();
    await looks(2);
  });
});

describe('waiting for the first picture', () => {
  it('shows its shapes only when it takes noticeably long', async () => {
    const page = await open({ address: 'about:blank', wait: false });
    await page.addInitScript(() => {
      globalThis.first = {};
      new MutationObserver(() => {
        for (const what of ['main', '.sk']) if (document.querySelector(what)) globalThis.first[what] ??= performance.now();
      }).observe(document, { childList: true, subtree: true });
    });
    let answer;
    await page.route('**/control/v1/session', (route) => (answer = () => route.continue()));
    await page.goto(mock.open());
    await page.getByText('connecting', { exact: true }).waitFor();
    await page.locator('.sk').first().waitFor();
    const waited = await page.evaluate(() => globalThis.first['.sk'] - globalThis.first.main);
    assert.ok(waited >= 380, `after ${waited} ms`);
    await answer();
    await page.waitForSelector('main[data-contact="live"]');
    assert.equal(await page.locator('.sk').count(), 0);
  });
});

describe('live', () => {
  it('one stream carries everything', async () => {
    const page = await open();
    await page.waitForTimeout(600);
    await streams(1);
    await page.context().close();
    await streams(0);
  });

  it('a request appears, counts, and can be cancelled', async () => {
    const page = await open();
    const row = page.getByRole('listitem').filter({ hasText: 'Claude Code' });
    await row.getByText('tok/s').waitFor();
    assert.match(await row.innerText(), /coder\s+qwen3-coder:30b\s*→\s*(to)?\s*workstation/);
    const clock = await row.locator('.when').innerText();
    await page.waitForFunction((before) => document.querySelector('.live .when')?.innerText !== before, clock);
    await row.getByRole('button', { name: /Cancel this request/ }).click();
    await row.waitFor({ state: 'detached' });
    await page.getByText('2 requests').waitFor();
    assert.match(mock.asked()[0].does, /^DELETE requests\/req-/);
    await mock.mock({ requests: [] });
    await page.getByText('Nothing running').waitFor();
  });

  it('models load and unload, and a refusal comes with its hint', async () => {
    const page = await open();
    const card = page.locator('[data-node="workstation"]');
    await card.getByRole('button', { name: '4 models' }).click();
    await card.getByRole('button', { name: 'Load gpt-oss:20b' }).click();
    await card.getByRole('button', { name: 'Unload gpt-oss:20b' }).waitFor();
    await card.getByRole('button', { name: 'Load qwen3:32b' }).click();
    await page.locator('.toast', { hasText: 'does not fit on workstation' }).getByText('unload something first').waitFor();
    await card.getByRole('button', { name: 'Free the GPU' }).click();
    await card.getByText('no model loaded').waitFor();
    assert.equal(await page.locator('.toast').count(), 2, 'two notes at most');
    assert.deepEqual(mock.asked().at(-1), { does: 'POST nodes/workstation/unload', body: {} });
  });

  it('a machine that falls asleep at work is kept awake by one click, and no more by another', async () => {
    await mock.mock({ house: 'naps', say: 0, forget: true });
    const page = await open();
    const told = page.getByRole('region', { name: 'To look at' });
    await told.getByText('fell asleep twice within ten minutes').waitFor();
    await told.getByRole('button', { name: 'Keep awake while it answers' }).click();
    await page.getByText('workstation is kept awake while it answers').first().waitFor();
    await told.getByRole('button', { name: 'Keep awake while it answers' }).waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'More about workstation' }).click();
    await page.getByRole('menuitem', { name: 'Do not keep awake any more' }).click();
    await page.getByText('workstation is not kept awake any more').first().waitFor();
    assert.deepEqual(mock.asked().map((one) => one.body), [{ keep_awake: true }, { keep_awake: false }]);
  });

  it('a question is read out, moves no card, and is answered by its button', async () => {
    const page = await open();
    const tops = () => page.evaluate(() => [...document.querySelectorAll('.node')].map((one) => one.getBoundingClientRect().top));
    const before = await tops();
    await mock.mock({ prompts: [{ node: 'laptop', model: 'coder', client: 'cline', until_ms: Date.now() + 20_000 }] });
    const question = page.getByRole('region', { name: 'Questions' });
    await question.getByText('cline asks for coder').waitFor();
    await page.getByRole('status').getByText('Wake laptop? cline asks for coder').waitFor();
    assert.deepEqual(await tops(), before);
    await question.getByRole('button', { name: 'Answer elsewhere' }).click();
    await question.waitFor({ state: 'detached' });
    assert.deepEqual(mock.asked().at(-1), { does: 'POST prompts/laptop', body: { choice: 'elsewhere' } });
  });

  it('past wakes are asked for once, and again when a wake begins or ends: never by what else moves', async () => {
    await mock.mock({ house: 'crowd', say: 0, forget: true });
    const page = await open();
    await page.getByRole('button', { name: 'More about tower' }).click();
    await page.getByRole('menuitem', { name: 'Past wakes' }).click();
    const rows = page.getByRole('region', { name: 'Past wakes' }).getByRole('listitem');
    await rows.nth(2).waitFor();
    await rows.first().evaluate((row) => (row.id = 'kept'));
    const asked = async (count) => {
      const asks = () => mock.asked().filter((one) => one.does === 'GET nodes/tower/wakes').length;
      for (let n = 0; n < 60 && asks() < count; n += 1) await new Promise((go) => setTimeout(go, 50));
      assert.equal(asks(), count);
    };
    await page.waitForTimeout(1_200);
    await asked(1);
    assert.equal(await page.locator('#kept').count(), 1, 'the list was never away');
    // A slow answer: what is known stands there meanwhile.
    let answer;
    await page.route('**/nodes/tower/wakes*', (route) => (answer = () => route.continue()));
    await page.locator('[data-node="tower"]').getByRole('button', { name: 'Wake' }).click();
    for (let n = 0; n < 60 && !answer; n += 1) await page.waitForTimeout(50);
    assert.equal(await rows.count(), 3);
    await answer();
    await asked(2);
    await page.waitForTimeout(600);
    await asked(2);
  });

  it('a machine on a strange network says so, and is at home there by the button of its card', async () => {
    await mock.mock({ house: 'trouble', say: 0, forget: true });
    const page = await open();
    const card = page.locator('[data-node="macbook"]');
    await card.getByText('on another network').waitFor();
    assert.equal(await card.getByRole('button', { name: 'Wake' }).count(), 0);
    await card.getByRole('button', { name: 'This is home too' }).click();
    await card.getByRole('button', { name: 'Wake' }).waitFor();
    assert.deepEqual(mock.asked().map((one) => one.does), ['POST nodes/macbook/home']);
  });

  it('a machine that is kept awake can be let go, however it comes and goes', async () => {
    await mock.mock({ house: 'naps', say: 0, forget: true, node: { name: 'workstation', presence: 'comes-and-goes' } });
    const page = await open();
    await page.getByRole('region', { name: 'To look at' }).getByRole('button', { name: 'Keep awake while it answers' }).click();
    await page.getByText('workstation is kept awake while it answers').first().waitFor();
    await page.getByRole('button', { name: 'More about workstation' }).click();
    await page.getByRole('menuitem', { name: 'Do not keep awake any more' }).click();
    await page.getByText('workstation is not kept awake any more').first().waitFor();
  });

  it('routing: another way, a pause, and back', async () => {
    const page = await open();
    const menu = page.getByRole('button', { name: /^Routing/ });
    await menu.click();
    await page.getByRole('menuitemradio', { name: /Local only/ }).click();
    await page.getByRole('button', { name: 'Routing: Local only', exact: true }).click();
    await page.getByRole('menuitem', { name: 'Pause for an hour' }).click();
    await page.getByText(/Routing is paused until \d\d:\d\d/).waitFor();
    await page.getByRole('button', { name: 'Resume' }).click();
    await page.getByText(/Routing is paused until/).waitFor({ state: 'detached' });
    assert.deepEqual(mock.asked().map((one) => one.body), [{ mode: 'local' }, { mode: 'pause', for: '1h' }, { mode: 'auto' }]);
  });

  it('another name and address: only those are sent, and a dropped key is told', async () => {
    await mock.mock({ node: { name: 'nas', has_key: true } });
    const page = await open();
    await page.getByRole('button', { name: 'More about nas' }).click();
    await page.getByRole('menuitem', { name: 'Edit…' }).click();
    await page.getByText('Ollama 0.14.2, 14').waitFor();
    await page.getByLabel('Address').fill('cellar:11434');
    await page.getByText('http://cellar:11434').waitFor();
    await page.getByLabel('Name', { exact: true }).fill('cellar');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.locator('.toast', { hasText: 'cellar was saved without its API key' }).waitFor();
    assert.deepEqual(mock.asked().find((one) => one.does === 'PATCH nodes/nas').body, { name: 'cellar', url: 'http://cellar:11434' });
  });

  it('what the file says fills the form, and is not sent back', async () => {
    const page = await open();
    await page.getByRole('button', { name: 'More about workstation' }).click();
    await page.getByRole('menuitem', { name: 'Edit…' }).click();
    await page.getByText('More', { exact: true }).click();
    await page.waitForFunction(() => [...document.querySelectorAll('dialog input')].some((one) => one.value === '24GB'));
    await page.getByLabel('Priority').fill('5');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    assert.deepEqual(mock.asked().find((one) => one.does === 'PATCH nodes/workstation').body, { priority: 5 });
  });

  it('the base URL is copied', async () => {
    const page = await open();
    await page.getByRole('button', { name: /Copy base URL/ }).click();
    await page.getByText('Copied http://127.0.0.1:11400').first().waitFor();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), 'http://127.0.0.1:11400');
  });
});

describe('contact', () => {
  it('lost: says from when the picture is, stops its clocks and its buttons; back: goes on', async () => {
    const page = await open();
    await mock.mock({ say: 503 });
    await page.getByText('what you see is from').waitFor();
    assert.match(await page.locator('.bar').innerText(), /not connected/);
    const frozen = await page.locator('.live').innerText();
    assert.equal(await page.locator('.live button:enabled').count(), 0);
    await page.waitForTimeout(1_300);
    assert.equal(await page.locator('.live').innerText(), frozen);
    await mock.mock({ say: 0 });
    await page.getByRole('button', { name: 'Try now' }).click();
    await page.waitForSelector('main[data-contact="live"]');
    await page.getByText('No contact').first().waitFor({ state: 'detached' });
  });

  it('a restart within a second shows nothing', async () => {
    const page = await open();
    await page.evaluate(() => {
      globalThis.seen = [];
      new MutationObserver(() => globalThis.seen.push(document.querySelector('main').dataset.contact)).observe(document.querySelector('main'), { attributes: true, attributeFilter: ['data-contact'] });
    });
    await mock.mock({ cut: true });
    await page.waitForTimeout(1_500);
    assert.deepEqual(await page.evaluate(() => globalThis.seen), []);
    await streams(1);
  });

  it('a gateway that is not there yet: the page says so and waits for it', async () => {
    const other = await start();
    const page = await visit(browser, other);
    await other.stop();
    await page.getByText('what you see is from').waitFor();
    const again = await start({ port: Number(new URL(other.address).port) });
    await page.waitForSelector('main[data-contact="live"]');
    assert.deepEqual(page.wrong, []);
    await page.context().close();
    await again.stop();
  });
});
