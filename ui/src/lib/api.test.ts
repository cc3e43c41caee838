// The way in: the code in the address bar, the kept key, refusals; the stream; and the places for calls.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type * as Api from './api';
import { house } from './fixture';

type Answer = Response | Error | Promise<Response>;
let asked: { path: string; method: string; token: string | null; body: unknown }[];
let answers: Record<string, Answer[]>;
let api: typeof Api;

const json = (body: unknown, status = 200): Response => new Response(JSON.stringify(body), { status });
const no = (status: number, message: string, hint = ''): Response => json({ code: 'no', message, hint }, status);
const stream = (...pieces: string[]): Response =>
  new Response(
    new ReadableStream<Uint8Array>({
      start(out) {
        for (const piece of pieces) out.enqueue(new TextEncoder().encode(piece));
        out.close();
      },
    }),
  );
const event = (seq: number): string => `event: snapshot\ndata: ${JSON.stringify(house({ seq }))}\n\n`;

async function seqs(): Promise<number[]> {
  const seen: number[] = [];
  for await (const one of api.snapshots(new AbortController().signal)) seen.push(one.seq);
  return seen;
}

beforeEach(async () => {
  asked = [];
  answers = {};
  sessionStorage.clear();
  history.replaceState(null, '', '/ui/');
  vi.stubGlobal('fetch', async (url: string, init: RequestInit = {}) => {
    const path = url.replace(`${location.origin}/control/v1/`, '');
    const headers = new Headers(init.headers);
    asked.push({ path, method: init.method ?? 'GET', token: headers.get('authorization'), body: init.body ? JSON.parse(String(init.body)) : null });
    const next = answers[path]?.shift();
    if (next === undefined) throw new Error(`not expected: ${path}`);
    if (next instanceof Error) throw next;
    return next;
  });
  vi.resetModules();
  api = await import('./api');
});
afterEach(() => vi.unstubAllGlobals());

const isLocked = (why: string) => (error: unknown) => error instanceof api.Locked && error.why === why;

describe('the way in', () => {
  it('trades the code in the address for a key, keeps the key, and wipes the address', async () => {
    history.replaceState(null, '', '/ui/?theme=dark#once=abc%2F1');
    answers['session'] = [json({ token: 'T' })];
    expect(await api.connect()).toEqual({ url: location.origin, token: 'T' });
    expect(asked).toEqual([{ path: 'session', method: 'POST', token: null, body: { once: 'abc/1' } }]);
    expect([location.hash, location.search, sessionStorage.getItem('lamplighter.token')]).toEqual(['', '?theme=dark', 'T']);
    expect(await api.connect()).toEqual({ url: location.origin, token: 'T' });
    expect(asked.length).toBe(1);
  });

  it('wipes the address before it asks, and keeps the code through a gateway that is not there yet', async () => {
    history.replaceState(null, '', '/ui/#once=abc');
    answers['session'] = [new TypeError('Load failed'), json({ token: 'T' })];
    await expect(api.connect()).rejects.toThrow(api.Refusal);
    expect(location.hash).toBe('');
    expect((await api.connect()).token).toBe('T');
  });

  it('says when there is no key, and when the link was used already', async () => {
    await expect(api.connect()).rejects.toSatisfy(isLocked('none'));
    history.replaceState(null, '', '/ui/#once=old');
    answers['session'] = [no(401, 'used')];
    await expect(api.connect()).rejects.toSatisfy(isLocked('spent'));
    await expect(api.connect()).rejects.toSatisfy(isLocked('none'));
  });

  it('stays with the key it has when the link is stale', async () => {
    sessionStorage.setItem('lamplighter.token', 'mine');
    history.replaceState(null, '', '/ui/#once=old');
    answers['session'] = [no(401, 'used')];
    expect((await api.connect()).token).toBe('mine');
  });

  it('forgets a key that is refused', async () => {
    sessionStorage.setItem('lamplighter.token', 'old');
    answers['events'] = [no(401, 'wrong token')];
    await expect(seqs()).rejects.toSatisfy(isLocked('refused'));
    expect(sessionStorage.getItem('lamplighter.token')).toBeNull();
  });

  it('works where sessionStorage is switched off', async () => {
    const storage = vi.spyOn(Storage.prototype, 'setItem').mockImplementation(() => {
      throw new DOMException('no', 'SecurityError');
    });
    history.replaceState(null, '', '/ui/#once=abc');
    answers['session'] = [json({ token: 'T' })];
    await api.connect();
    expect((await api.connect()).token).toBe('T');
    storage.mockRestore();
  });
});

describe('the stream', () => {
  beforeEach(() => sessionStorage.setItem('lamplighter.token', 'T'));

  it('carries the key and gives snapshots, and nothing else', async () => {
    answers['events'] = [stream(': hi\n\nevent: other\ndata: {}\n\n', event(1), event(2).slice(0, 30), event(2).slice(30))];
    expect(await seqs()).toEqual([1, 2]);
    expect(asked[0]).toMatchObject({ path: 'events', token: 'Bearer T' });
  });

  it('keeps letters whole that are cut between two pieces', async () => {
    const bytes = new TextEncoder().encode(`event: snapshot\ndata: {"seq":7,"x":"☾"}\n\n`);
    const cut = bytes.indexOf(0xe2) + 1;
    const body = new ReadableStream<Uint8Array>({
      start(out) {
        out.enqueue(bytes.slice(0, cut));
        out.enqueue(bytes.slice(cut));
        out.close();
      },
    });
    answers['events'] = [new Response(body)];
    const seen: unknown[] = [];
    for await (const one of api.snapshots(new AbortController().signal)) seen.push(one);
    expect(seen).toEqual([{ seq: 7, x: '☾' }]);
  });

  it('gives up a stream that has gone silent', async () => {
    vi.useFakeTimers();
    vi.stubGlobal('fetch', async (_: string, init: RequestInit) => {
      const body = new ReadableStream<Uint8Array>({
        start(out) {
          out.enqueue(new TextEncoder().encode(event(1)));
          init.signal?.addEventListener('abort', () => out.error(new DOMException('cut', 'AbortError')));
        },
      });
      return new Response(body);
    });
    const seen: number[] = [];
    const reading = (async () => {
      for await (const one of api.snapshots(new AbortController().signal)) seen.push(one.seq);
    })().catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(24_000);
    expect(seen).toEqual([1]);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(await reading).toMatchObject({ name: 'AbortError' });
    vi.useRealTimers();
  });
});

describe('calls', () => {
  beforeEach(() => sessionStorage.setItem('lamplighter.token', 'T'));

  it('go where the contract says', async () => {
    const path = 'nodes/a%2Fb/load';
    answers[path] = [json(null, 202)];
    await api.loadModel('a/b', 'x:7b');
    answers['requests/r%3F'] = [new Response(null, { status: 204 })];
    await api.cancelRequest('r?');
    answers['route'] = [new Response(null, { status: 204 })];
    await api.setRoute({ mode: 'pause', for: '1h' });
    expect(asked.map(({ path, method, body }) => [method, path, body])).toEqual([
      ['POST', path, { model: 'x:7b' }],
      ['DELETE', 'requests/r%3F', null],
      ['PUT', 'route', { mode: 'pause', for: '1h' }],
    ]);
  });

  it('hand on what the gateway says when it refuses, and make a sentence of anything else', async () => {
    answers['nodes/nas'] = [no(409, 'nas is in use', 'wait'), new Response('<html>', { status: 502 }), new TypeError('Load failed')];
    await expect(api.removeNode('nas')).rejects.toMatchObject({ status: 409, message: 'nas is in use', hint: 'wait' });
    await expect(api.removeNode('nas')).rejects.toMatchObject({ status: 502, message: 'the gateway answered 502' });
    await expect(api.removeNode('nas')).rejects.toMatchObject({ status: 0, code: 'unreachable' });
  });

  it('a load that takes long holds up nothing else', async () => {
    const never = (): Promise<Response> => new Promise(() => undefined);
    answers['nodes/a/load'] = [never(), never(), never()];
    answers['route'] = [new Response(null, { status: 204 })];
    for (let n = 0; n < 3; n += 1) void api.loadModel('a', 'x');
    await api.setRoute({ mode: 'auto' });
    expect(asked.map(({ path }) => path).sort()).toEqual(['nodes/a/load', 'nodes/a/load', 'route']);
  });

  it('take three places at most', async () => {
    const open: ((response: Response) => void)[] = [];
    const slow = (): Promise<Response> => new Promise((go) => open.push(go));
    answers['route'] = [slow(), slow(), slow(), slow(), slow()];
    const calls = [1, 2, 3, 4, 5].map(() => api.setRoute({ mode: 'auto' }));
    await vi.waitFor(() => expect(asked.length).toBe(3));
    await new Promise((go) => setTimeout(go, 20));
    expect(asked.length).toBe(3);
    open[0]!(new Response(null, { status: 204 }));
    await Promise.race(calls);
    await vi.waitFor(() => expect(asked.length).toBe(4));
    open.forEach((go) => go(new Response(null, { status: 204 })));
    await Promise.all(calls);
    expect(asked.length).toBe(5);
  });
});
