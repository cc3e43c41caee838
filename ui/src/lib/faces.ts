// What the data looks like: pure functions from the snapshot to glyphs and words. Times in milliseconds by the gateway's clock.
import { age, memory, parseTime, rate, since, size, until, usually, watch } from './format';
import type { Gateway } from './types/Gateway';
import type { Mode } from './types/Mode';
import type { Model } from './types/Model';
import type { Node } from './types/Node';
import type { Request } from './types/Request';
import type { Snapshot } from './types/Snapshot';
import type { Stage } from './types/Stage';
import { cloudWord, engineTitle, loadingWord, noGpu, notWoken, stageWord, stateWord, words, type Said } from './words';

/** The glyphs of the design: six shapes for the eight states of the gateway. */
export type Glyph = 'up' | 'asleep' | 'waking' | 'away' | 'problem' | 'cloud';
/** The lanterns of the design. */
export type LampShape = 'dark' | 'low' | 'lit' | 'busy' | 'waking' | 'paused' | 'asleep' | 'away' | 'problem' | 'cloud';

/** Glyph, word and lamp of a node. `more` is the detail after the word, `says` the state as words that follow the node's name. */
export type NodeFace = { glyph: Glyph; word: string; says: string; more: string; lamp: LampShape; lit: boolean };

const GLYPHS: Record<Node['state'], Glyph> = {
  unknown: 'away',
  up: 'up',
  degraded: 'problem',
  refusing: 'problem',
  asleep: 'asleep',
  waking: 'waking',
  away: 'away',
  down: 'problem',
};

/** Its last wake led nowhere, nobody tries again, and it is not there: a person should look, whatever it was before. Elsewhere nobody can know, and who refuses says itself what is wrong. */
export function failedToWake(node: Node): boolean {
  const gone = !answers(node) && node.state !== 'refusing' && node.state !== 'waking';
  return gone && node.sleep.failure !== null && node.sleep.waking === null && !node.sleep.elsewhere;
}

/** Does waking it make sense now? Who is on and refuses, or is being looked for, is not woken; elsewhere it would be somebody else's machine. The tray offers the same. */
export function mayBeWoken(node: Node): boolean {
  const sleeps = node.state === 'asleep' || node.state === 'away' || node.state === 'down';
  return sleeps && node.sleep.can_wake && node.sleep.waking === null && !node.sleep.elsewhere;
}

/** It answers, an order of magnitude slower than it could. */
export function lostGpu(node: Node): boolean {
  return node.sleep.gpu_lost && answers(node);
}

/** How long a wake has lasted, of how long it usually does: `0:23 of ~0:41`. */
export function wakeClock(node: Node, now_ms: number): string {
  const { waking, usual_ms } = node.sleep;
  const now = watch(now_ms - (waking?.started_ms ?? node.since_ms));
  return waking === null || usual_ms === null ? now : words.node.waited(now, usually(usual_ms));
}

/** Who waits for a machine that wakes: how many first, because a long name is cut at its end. */
export function wakeWaiters(node: Node): string {
  const { waking } = node.sleep;
  if (node.state !== 'waking' || waking === null) return '';
  return [waking.waiters > 0 ? words.node.waiters(waking.waiters) : null, waking.asked_by].filter(Boolean).join(` ${words.dot} `);
}

/** How a node's state is shown. */
export function nodeFace(node: Node, now_ms: number): NodeFace {
  const glyph = GLYPHS[node.state];
  const lasted = now_ms - node.since_ms;
  const lit = node.state === 'up' && loaded(node).length > 0;
  const face = { glyph, ...saying(stateWord[node.state]), more: '', lamp: glyph as LampShape, lit };
  const { failure } = node.sleep;
  if (failure !== null && failedToWake(node)) {
    const more = failure.at_ms === null ? '' : words.node.ago(age(now_ms - failure.at_ms));
    return { ...face, glyph: 'problem', lamp: 'problem', ...notWoken(failure.code), more };
  }
  switch (node.state) {
    case 'unknown':
      return face;
    case 'up': {
      const busy = node.active > 0 ? words.node.active(node.active) : age(lasted);
      if (node.cloud) return { ...face, glyph: 'cloud', ...saying(cloudWord), more: node.active > 0 ? words.node.active(node.active) : '', lamp: 'cloud', lit: false };
      const engine = node.engine_waiting ?? 0;
      const more = [busy, node.waiting > 0 ? words.node.waiting(node.waiting) : '', engine > 0 ? words.node.engineWaiting(engine) : ''].filter(Boolean).join(', ');
      if (lostGpu(node)) return { ...face, glyph: 'problem', lamp: 'problem', ...noGpu, more, lit: false };
      return { ...face, more, lamp: lit ? 'lit' : 'low' };
    }
    case 'waking':
      return { ...face, ...(node.stage === 'loading' ? saying(loadingWord) : {}), more: wakeClock(node, now_ms) };
    case 'asleep':
    case 'away':
      return { ...face, more: age(lasted) };
    case 'degraded':
    case 'refusing':
    case 'down':
      return { ...face, more: since(node.since_ms, now_ms) };
  }
}

const saying = (word: string): Said => ({ word, says: words.node.is(word) });

/** Does this node answer? What a machine that is gone had in memory is no longer there. */
export function answers(node: Node): boolean {
  return node.state === 'up' || node.state === 'degraded';
}

/** The models of a node that are in memory. */
export function loaded(node: Node): Model[] {
  return !answers(node) ? [] : node.models.filter((model) => model.loaded === true);
}

/** What a loaded model's line says after its name: size, share on the GPU, and when it goes. */
export function loadedNote(model: Model, now_ms: number): string {
  const bytes = model.loaded_bytes ?? model.vram_bytes ?? model.size_bytes;
  const parts: string[] = bytes === null ? [] : [size(bytes)];
  if (model.vram_bytes !== null && model.loaded_bytes !== null && model.vram_bytes > 0 && model.vram_bytes < model.loaded_bytes) {
    parts.push(words.node.onGpu(Math.floor((100 * model.vram_bytes) / model.loaded_bytes)));
  }
  const leaving = unloadsIn(model, now_ms);
  if (leaving !== null) parts.push(leaving);
  return parts.join(` ${words.dot} `);
}

/** Engines write a time centuries ahead for "never"; a month is already for ever. */
const FOR_EVER_MS = 30 * 24 * 3600 * 1000;

/** `unloads in 4 min`, `kept warm`, or null when the engine does not tell. */
export function unloadsIn(model: Model, now_ms: number): string | null {
  const at = parseTime(model.expires_at);
  if (at === null) return null;
  const left = at - now_ms;
  if (left > FOR_EVER_MS) return words.node.keptWarm;
  return left <= 0 ? words.node.unloadsNow : words.node.unloadsIn(until(left));
}

/** GPU as typed, engine with version: the line under a node's name. */
export function nodeMeta(node: Node): string {
  const engine = node.engine === null ? null : [engineTitle[node.engine], node.version ?? ''].join(' ').trim();
  return [node.gpu, engine].filter((part) => part !== null && part !== '').join(` ${words.dot} `) || node.url;
}

/** Memory that loaded models hold: `89 % of 24 GB` of a card, `4.9 GB in use` elsewhere, '' when nothing is known. */
export function memoryInUse(node: Node): string {
  const models = loaded(node);
  const video = models.reduce((sum, model) => sum + (model.vram_bytes ?? 0), 0);
  const used = video > 0 ? video : models.reduce((sum, model) => sum + (model.loaded_bytes ?? 0), 0);
  if (used === 0) return '';
  // The most that was ever seen in use is no capacity: only what the owner wrote is shown as one.
  if (video > 0 && node.vram_bytes !== null && used < node.vram_bytes && node.vram_typed) {
    return words.node.memoryOf(Math.round((100 * used) / node.vram_bytes), memory(node.vram_bytes));
  }
  return words.node.memory(size(used));
}

/** Parameters, quantization and size on disk: what the folded list says of a model. */
export function modelNote(model: Model): string {
  const parts = [model.parameter_size, model.quantization, model.size_bytes === null ? null : size(model.size_bytes)];
  if (model.remote) parts.push(words.node.remote);
  return parts.filter((part) => part !== null && part !== '').join(` ${words.dot} `);
}

/** The stages of a wake, each done, under way or still to come. */
export function wakeSteps(node: Node): { stage: Stage; word: string; at: 'done' | 'now' | 'next' }[] {
  if (node.state !== 'waking') return [];
  const order: Stage[] = ['packet', 'reachable', 'api', 'loading'];
  const current = order.indexOf(node.stage);
  const engine = node.engine === null ? stageWord.api : engineTitle[node.engine];
  return order.map((stage, place) => ({
    stage,
    word: stage === 'api' ? engine : stageWord[stage],
    at: place < current ? 'done' : place === current ? 'now' : 'next',
  }));
}

/** Routing as it is now. `until_ms` only when a pause ends by itself. */
export function routing(gateway: Gateway): { mode: Mode; until_ms: number | null } {
  return { mode: gateway.mode, until_ms: gateway.mode === 'paused' ? gateway.paused_until_ms : null };
}

/** Where the configuration file is when no other is named, on every system. */
const USUAL_PATH = /[\\/]lamplighter[\\/]config\.toml$/;

/** What to run for a fresh way in: each gateway is found by the file that it runs with. */
export function openCommand(gateway: Gateway | null): string {
  if (gateway?.demo) return words.contact.openDemo;
  if (gateway === null || USUAL_PATH.test(gateway.config_path)) return words.contact.open;
  const path = gateway.config_path;
  return words.contact.openOf(/\s/.test(path) ? `"${path}"` : path);
}

/** The one line beside the title: `2 of 3 machines up, 1 waking, 1 did not wake, 1 to look at`. */
export function houseLine(snapshot: Snapshot): string {
  if (snapshot.nodes.length === 0) return words.house.none;
  const count = (state: Node['state']): number => snapshot.nodes.filter((node) => node.state === state).length;
  const parts = [words.house.up(count('up') + count('degraded'), snapshot.nodes.length)];
  if (count('waking') > 0) parts.push(words.house.waking(count('waking')));
  const failed = snapshot.nodes.filter(failedToWake);
  const silent = failed.filter((node) => notWoken(node.sleep.failure?.code ?? '') === notWoken('')).length;
  if (silent > 0) parts.push(words.house.failed(silent));
  if (failed.length > silent) parts.push(words.house.notReady(failed.length - silent));
  const slow = snapshot.nodes.filter(lostGpu).length;
  if (slow > 0) parts.push(words.house.noGpu(slow));
  if (snapshot.problems.length > 0) parts.push(words.house.problem(snapshot.problems.length));
  return parts.join(', ');
}

/** The lamp of the whole house, as the tray shows it: the first that holds wins. */
export function houseLamp(snapshot: Snapshot): Exclude<LampShape, 'asleep' | 'away' | 'problem' | 'cloud'> | 'alert' {
  if (snapshot.problems.some((problem) => problem.level === 'problem') || snapshot.nodes.some((node) => failedToWake(node) || lostGpu(node))) return 'alert';
  if (routing(snapshot.gateway).mode === 'paused') return 'paused';
  if (snapshot.nodes.some((node) => node.state === 'waking')) return 'waking';
  if (snapshot.requests.length > 0) return 'busy';
  const up = snapshot.nodes.filter((node) => node.state === 'up' || node.state === 'degraded');
  if (up.some((node) => node.gpu !== null || (node.vram_bytes ?? 0) > 0)) return 'lit';
  return up.length > 0 ? 'low' : 'dark';
}

/** Tokens per second since the first byte, from events; null while that says nothing yet. */
export function tokensPerSecond(request: Request, at_ms: number): number | null {
  if (!request.stream || request.first_byte_ms === null || request.events < 3) return null;
  const seconds = (at_ms - request.first_byte_ms) / 1000;
  return seconds >= 0.5 ? (request.events - 1) / seconds : null;
}

/** The model's name on its node, where that says more than the name that was asked for. */
export function otherName(request: Request): string | null {
  const bare = (name: string): string => name.replace(/:latest$/, '');
  const { model, node_model, node } = request;
  if (node_model === null || bare(model) === bare(node_model)) return null;
  return node !== null && model.endsWith(`@${node}`) && bare(model.slice(0, -node.length - 1)) === bare(node_model) ? null : node_model;
}

/** What a live request says: its words, and how long it waited and streamed. */
export type RequestFace = { text: string; line: string; wait: WaitKind; rate: string; clock: string; waited_ms: number; streamed_ms: number };
/** What a request waits for, as the design colours it: its turn, a machine, a model, the first token. */
export type WaitKind = 'q' | 'w' | 'l' | 'f';

/** How a request under way is shown. `at_ms` is when its counts were taken. */
export function requestFace(request: Request, nodes: readonly Node[], now_ms: number, at_ms: number): RequestFace {
  const clock = watch(now_ms - request.started_ms);
  const first = request.first_byte_ms;
  const waited_ms = Math.max(0, (first ?? now_ms) - request.started_ms);
  const streamed_ms = first === null ? 0 : Math.max(0, now_ms - first);
  const speed = tokensPerSecond(request, at_ms);
  const text = requestText(request, nodes);
  const told = speed === null ? '' : words.now.rate(rate(speed));
  const wait = waitKind(request, nodes);
  const usual = wait === 'w' ? wakeExpected(request, nodes) : null;
  const line = usual === null ? `${clock} ${words.dot} ${told || text}` : `${stateWord.waking} ${words.node.waited(clock, usually(usual))}`;
  return { text, line, wait, rate: told, clock, waited_ms, streamed_ms };
}

function waitKind(request: Request, nodes: readonly Node[]): WaitKind {
  const node = nodes.find((one) => one.name === request.node);
  if (request.stage === 'waking' || (request.stage === 'queued' && node?.state === 'waking')) return 'w';
  if (request.stage === 'queued') return 'q';
  return request.stage === 'sent' && loads(request, node) ? 'l' : 'f';
}

/** Is the model read into memory first? */
function loads(request: Request, node: Node | undefined): boolean {
  return node?.models.find((one) => one.name === (request.node_model ?? request.model))?.loaded === false;
}

/** How long a request will have waited when its machine is usually awake: the wake may have begun before it or after. */
function wakeExpected(request: Request, nodes: readonly Node[]): number | null {
  const sleep = nodes.find((one) => one.name === request.node)?.sleep;
  if (!sleep?.waking || sleep.usual_ms === null) return null;
  return sleep.waking.started_ms + sleep.usual_ms - request.started_ms;
}

function requestText(request: Request, nodes: readonly Node[]): string {
  const node = nodes.find((one) => one.name === request.node);
  switch (request.stage) {
    case 'queued':
      if (node?.state === 'waking') return words.now.waking(node.name);
      if (request.ahead === null) return words.now.queued;
      return request.ahead === 0 ? words.now.nextInLine : words.now.inLine(request.ahead + 1);
    case 'waking':
      return words.now.waking(request.node ?? request.model);
    case 'sent':
      if (loads(request, node)) return words.now.loading;
      return request.stream ? words.now.firstToken : words.now.working(request.operation);
    case 'streaming':
      return words.now.streaming;
  }
}

/** A name for a node that is added: the first part of its host, made to fit `[a-z0-9-]{1,40}`. */
export function suggestName(address: string): string {
  const host = address.trim().replace(/^[a-z][a-z0-9+.-]*:\/\//i, '').replace(/^[^@/]*@/, '').replace(/[/?#].*$/, '').replace(/:\d*$/, '');
  if (/^[\d.]+$/.test(host) || host.includes(':')) return host.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-+|-+$/g, '').slice(0, 40);
  return (host.split('.')[0] ?? '').toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-+|-+$/g, '').slice(0, 40);
}

/** Is this a node name that the configuration accepts? */
export function isNodeName(name: string): boolean {
  return /^[a-z0-9-]{1,40}$/.test(name);
}
