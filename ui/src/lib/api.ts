// The only file that talks: to the gateway's control API over HTTP, and to the desktop shell for the address and the key.
import { invoke } from '@tauri-apps/api/core';
import { EventReader } from './sse';
import type { Engine } from './types/Engine';
import type { Presence } from './types/Presence';
import type { Snapshot } from './types/Snapshot';
import { words } from './words';

/** Why the page has no way in: no key at all, a link that was used or too old, a key that is refused. */
export type LockReason = 'none' | 'spent' | 'refused';

/** The page has no way in, and trying again by itself will not help. */
export class Locked extends Error {
  constructor(readonly why: LockReason) {
    super(why);
  }
}

/** The gateway said no, or nothing: what happened, and what to do. Status 0 means that no answer came. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly hint: string,
  ) {
    super(message);
  }
}

/** Where the gateway is, and the key to it. */
type Connection = { url: string; token: string };

/** How a pause is asked for, and the other ways of routing. */
export type RouteOrder = { mode: 'auto' | 'local' | 'no-wake' } | { mode: 'pause'; for?: string };

/** A node as it is added; only what is written is set. */
export type NewNode = {
  name: string;
  url: string;
  presence: Presence;
  gpu?: string | null;
  vram?: string | null;
  priority?: number | null;
  max_concurrent?: number | null;
};

/** A node as the file has it: what was left out is null. */
export type WrittenNode = { name: string; url: string; gpu: string | null; vram_bytes: number | null; priority: number | null; max_concurrent: number | null; has_key: boolean };

/** One quarter of an hour of a node. */
export type Cell = { cell: 'no-data' | 'up' | 'answered' | 'asleep' | 'away' | 'down' } | { cell: 'part'; share: number };

/** The last day of every node: from when, how long a cell is, and its cells, oldest first. */
export type Availability = { from_ms: number; slot_ms: number; nodes: Record<string, Cell[]> };

/** A wake as it is kept; stages count from its start. */
export type PastWake = {
  started_ms: number;
  cause: 'person' | 'request';
  asked_by: string | null;
  outcome: 'ready' | 'failed' | 'cancelled' | 'interrupted' | null;
  reason: string | null;
  rounds: number;
  reachable_ms: number | null;
  api_ms: number | null;
  ready_ms: number | null;
  ended_ms: number | null;
};

/** What answered at an address. */
export type Identity = { url: string; engine: Engine; version: string | null; models: number };

const TOKEN_KEY = 'lamplighter.token';
/** A short call that has no answer after this long has failed. */
const CALL_LIMIT_MS = 15_000;
/** Loading a model is answered when it is there; the engine may read it from a slow disk. */
const LOAD_LIMIT_MS = 600_000;
/** The head of the event stream comes at once, or something is wrong. */
const HEAD_LIMIT_MS = 5_000;
/** Heartbeats come every 10 s: two missed ones and a bit. */
const SILENCE_LIMIT_MS = 25_000;
/** WebKit opens six connections per host for all windows together: the stream, three short calls, and two that take long. */
const PLACES = { short: 3, long: 2 };

// ── the way in ────────────────────────────────────────────────────────────────

/** A code from the address bar that has not been answered yet: kept through a gateway that is not there. */
let once: string | null = null;
/** Used where sessionStorage is switched off. */
let remembered: string | null = null;
let known: Connection | null = null;

const inShell = (): boolean => '__TAURI_INTERNALS__' in window;

/** Finds the gateway and the key to it; throws `Locked` when there is none. */
export async function connect(): Promise<Connection> {
  if (inShell()) {
    const asked = invoke<Connection>('connection');
    // The shell says in a sentence why there is no gateway.
    return (known = await asked.catch((why: unknown) => Promise.reject<never>(new Refusal(0, 'not_started', String(why), ''))));
  }
  takeOnce();
  if (once !== null) await trade(location.origin, once);
  const token = keptToken();
  if (token === null) throw new Locked('none');
  return (known = { url: location.origin, token });
}

/** Takes the code out of the address bar, so that neither history nor a bookmark keeps it. */
function takeOnce(): void {
  const found = new URLSearchParams(location.hash.slice(1)).get('once');
  if (found === null) return;
  once = found;
  history.replaceState(null, '', location.pathname + location.search);
}

async function trade(url: string, code: string): Promise<void> {
  try {
    const { token } = await json<{ token: string }>(
      await answer(`${url}/control/v1/session`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ once: code }) }),
    );
    once = null;
    keepToken(token);
  } catch (error) {
    if (!(error instanceof Refusal) || error.status === 0 || error.status >= 500) throw error;
    once = null;
    // A page that was open already keeps its own key, so a stale bookmark does no harm.
    if (keptToken() === null) throw new Locked('spent');
  }
}

function keptToken(): string | null {
  try {
    return sessionStorage.getItem(TOKEN_KEY) ?? remembered;
  } catch {
    return remembered;
  }
}

function keepToken(token: string | null): void {
  remembered = token;
  try {
    if (token === null) sessionStorage.removeItem(TOKEN_KEY);
    else sessionStorage.setItem(TOKEN_KEY, token);
  } catch {
    // Switched off by the person: the key then lasts as long as the page.
  }
}

/** The key was refused: a browser has lost its way in, the shell asks for the new one at the next try. */
function refused(): Error {
  known = null;
  if (inShell()) return new Refusal(401, 'unauthorized', words.contact.lockedRefused, '');
  keepToken(null);
  return new Locked('refused');
}

// ── the stream ────────────────────────────────────────────────────────────────

/** Every snapshot from now on. Ends or throws when the gateway goes away; stops at once when `signal` does. */
export async function* snapshots(signal: AbortSignal): AsyncGenerator<Snapshot> {
  const { url, token } = await connect();
  const cut = new AbortController();
  const stop = (): void => cut.abort();
  signal.addEventListener('abort', stop);
  let alarm = setTimeout(stop, HEAD_LIMIT_MS);
  try {
    const response = await fetch(`${url}/control/v1/events`, { headers: authorized(token), cache: 'no-store', signal: cut.signal });
    if (response.status === 401) throw refused();
    if (!response.ok || response.body === null) throw await refusal(response);
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    const events = new EventReader();
    for (;;) {
      clearTimeout(alarm);
      alarm = setTimeout(stop, SILENCE_LIMIT_MS);
      const { done, value } = await reader.read();
      if (done) return;
      for (const { event, data } of events.push(decoder.decode(value, { stream: true }))) {
        if (event === 'snapshot') yield JSON.parse(data) as Snapshot;
      }
    }
  } finally {
    clearTimeout(alarm);
    signal.removeEventListener('abort', stop);
    stop();
  }
}

// ── the calls ─────────────────────────────────────────────────────────────────

/** Has every machine looked at, now; those that sleep are otherwise asked once a minute. */
export const look = (): Promise<void> => call('POST', 'look');
export const cancelRequest = (id: string): Promise<void> => call('DELETE', `requests/${encodeURIComponent(id)}`);
/** Done when the model is in memory. */
export const loadModel = (node: string, model: string): Promise<void> => call('POST', `nodes/${encodeURIComponent(node)}/load`, { model }, 'long');
/** Takes one model out of memory, or all of them. */
export const unloadModel = (node: string, model?: string): Promise<void> => call('POST', `nodes/${encodeURIComponent(node)}/unload`, model === undefined ? {} : { model }, 'long');
/** Wakes a machine; how it goes on stands in the snapshots. */
export const wakeNode = (node: string): Promise<void> => call('POST', `nodes/${encodeURIComponent(node)}/wake`);
export const cancelWake = (node: string): Promise<void> => call('DELETE', `nodes/${encodeURIComponent(node)}/wake`);
export const sleepNode = (node: string): Promise<void> => call('POST', `nodes/${encodeURIComponent(node)}/sleep`, undefined, 'long');
/** The network we are on is a home of this machine too. */
export const isHome = (node: string): Promise<void> => call('POST', `nodes/${encodeURIComponent(node)}/home`);
/** Has a machine called again and again while it answers, so that it does not fall asleep; or not any more. */
export const keepAwake = (node: string, on: boolean): Promise<void> => call('PATCH', `nodes/${encodeURIComponent(node)}`, { keep_awake: on });
/** Answers whether a machine is woken for a request that asks. */
export const answerPrompt = (node: string, choice: 'wake' | 'elsewhere'): Promise<void> => call('POST', `prompts/${encodeURIComponent(node)}`, { choice });
/** The last day of every node, in quarters of an hour. */
export const availability = (): Promise<Availability> => ask('GET', 'availability');
/** A machine's past wakes, newest first. */
export const pastWakes = async (node: string): Promise<PastWake[]> => (await ask<{ wakes: PastWake[] }>('GET', `nodes/${encodeURIComponent(node)}/wakes?limit=10`)).wakes;
export const setRoute = (order: RouteOrder): Promise<void> => call('PUT', 'route', order);
export const addNode = (node: NewNode): Promise<void> => call('POST', 'nodes', node);
/** Changes a node; its API key is dropped when its address changes, because it was given for the old one. */
export const changeNode = (name: string, change: Partial<NewNode>): Promise<{ key_dropped: boolean }> => ask('PATCH', `nodes/${encodeURIComponent(name)}`, change);
/** The nodes as the file has them. */
export const writtenNodes = async (): Promise<WrittenNode[]> => (await ask<{ nodes: WrittenNode[] }>('GET', 'config')).nodes;
export const removeNode = (name: string): Promise<void> => call('DELETE', `nodes/${encodeURIComponent(name)}`);
export const identify = (address: string, signal: AbortSignal): Promise<Identity> => ask('POST', 'identify', { url: address }, signal);

async function call(method: string, path: string, body?: object, kind: keyof typeof PLACES = 'short'): Promise<void> {
  await take(kind, async () => {
    const response = await send(method, path, body, kind === 'long' ? LOAD_LIMIT_MS : CALL_LIMIT_MS);
    await response.body?.cancel();
  });
}

async function ask<T>(method: string, path: string, body?: object, signal?: AbortSignal): Promise<T> {
  return take('short', async () => json<T>(await send(method, path, body, CALL_LIMIT_MS, signal)));
}

async function send(method: string, path: string, body: object | undefined, limit_ms: number, signal?: AbortSignal): Promise<Response> {
  const { url, token } = known ?? (await connect());
  const headers = body === undefined ? authorized(token) : { ...authorized(token), 'content-type': 'application/json' };
  const init: RequestInit = body === undefined ? { method, headers } : { method, headers, body: JSON.stringify(body) };
  const limit = AbortSignal.timeout(limit_ms);
  return answer(`${url}/control/v1/${path}`, { ...init, signal: signal ? AbortSignal.any([signal, limit]) : limit });
}

const authorized = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` });

async function answer(url: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { ...init, cache: 'no-store' });
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    const slow = error instanceof DOMException && error.name === 'TimeoutError';
    throw new Refusal(0, 'unreachable', slow ? words.talk.tooSlow : words.talk.unreachable, words.talk.unreachableHint);
  }
  if (response.ok) return response;
  throw await refusal(response);
}

async function json<T>(response: Response): Promise<T> {
  return (await response.json()) as T;
}

/** Reads `{code, message, hint}`; anything else becomes a sentence with the status in it. */
async function refusal(response: Response): Promise<Refusal> {
  const body: unknown = await response.json().catch(() => null);
  const said = (typeof body === 'object' && body !== null ? body : {}) as { code?: unknown; message?: unknown; hint?: unknown };
  const text = (value: unknown, otherwise: string): string => (typeof value === 'string' ? value : otherwise);
  return new Refusal(response.status, text(said.code, 'unclear'), text(said.message, words.talk.unclear(response.status)), text(said.hint, ''));
}

// ── places ────────────────────────────────────────────────────────────────────

const free = { ...PLACES };
const queues: Record<keyof typeof PLACES, (() => void)[]> = { short: [], long: [] };

/** Runs a call when one of the places of its kind is free; in order of arrival. */
async function take<T>(kind: keyof typeof PLACES, work: () => Promise<T>): Promise<T> {
  if (free[kind] === 0) await new Promise<void>((go) => queues[kind].push(go));
  else free[kind] -= 1;
  try {
    return await work();
  } finally {
    const next = queues[kind].shift();
    if (next) next();
    else free[kind] += 1;
  }
}
