// The pages as the real gateway serves them, in front of its demo fleet: what a newcomer sees, in a browser.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { launch, visit } from './browser.mjs';

/** Built by `cargo build`; say where it is with LAMPLIGHTER_BIN when it is elsewhere. */
const BIN = process.env.LAMPLIGHTER_BIN ?? fileURLToPath(new URL('../../target/debug/lamplighter', import.meta.url));

let home;
let env;
let gateway;
let address;
let browser;

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'lamplighter-e2e-'));
  // Nothing of the user's is read, and without a display `open` prints the address.
  env = { PATH: process.env.PATH, HOME: home, XDG_RUNTIME_DIR: join(home, 'run'), XDG_STATE_HOME: join(home, 'state'), XDG_CONFIG_HOME: join(home, 'config') };
  gateway = spawn(BIN, ['--demo', 'serve'], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const ready = await new Promise((resolve, reject) => {
    createInterface({ input: gateway.stdout }).once('line', resolve);
    gateway.once('error', reject);
    gateway.once('exit', (code) => reject(new Error(`lamplighter ended with ${code}: is it built?`)));
  });
  address = JSON.parse(ready).url;
  browser = await launch();
});
after(async () => {
  await browser?.close();
  gateway?.kill('SIGKILL');
  if (home) await rm(home, { recursive: true, force: true });
});

/** What `lamplighter open` would hand to a browser. */
async function link() {
  const { stdout } = await promisify(execFile)(BIN, ['--demo', 'open'], { env, timeout: 10_000 });
  return stdout.split('\n')[0];
}

/** A streamed request through the port, as any program sends it. */
function ask(model) {
  return fetch(`${address}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'user-agent': 'e2e/1' },
    body: JSON.stringify({ model, stream: true, messages: [{ role: 'user', content: 'hi' }] }),
  }).then((answer) => answer.text());
}

describe('the demo fleet in a browser', () => {
  it('shows the machines, and a request that moves and can be cancelled', async () => {
    const page = await visit(browser, { address }, { address: await link() });
    for (const name of ['workstation', 'nas', 'laptop']) await page.getByRole('heading', { name, exact: true }).waitFor();
    await page.getByText('RTX 4090').waitFor();
    await page.getByText('demo', { exact: true }).first().waitFor();
    const answer = ask('llama3.2:3b@nas');
    const row = page.locator('li, tr, [role="row"], [role="listitem"]').filter({ hasText: 'e2e/1' }).first();
    await row.waitFor();
    await row.getByText('tok/s').waitFor({ timeout: 15_000 });
    await row.getByRole('button').last().click();
    const text = await answer;
    assert.match(text, /"content":" demo:"/);
    assert.match(text, /"error"/);
    assert.doesNotMatch(text, /\[DONE\]/);
    await row.waitFor({ state: 'detached' });
    assert.deepEqual(page.wrong, []);
  });

  it('lets nobody in without the link, and keeps the token out of the page', async () => {
    const page = await visit(browser, { address }, { address: `${address}/ui/`, wait: false });
    await page.getByText('lamplighter open').waitFor();
    const inside = await visit(browser, { address }, { address: await link() });
    assert.equal(inside.url(), `${address}/ui/`);
    const token = await inside.evaluate(() => sessionStorage.getItem('lamplighter.token'));
    assert.match(token, /^[0-9a-f]{64}$/);
    assert.ok(!(await inside.content()).includes(token));
  });
});
