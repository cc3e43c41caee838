// Every word that people read in the window, in one place. Short, plain, sentence case; errors in lower case without a full stop.
import type { Engine } from './types/Engine';
import type { Mode } from './types/Mode';
import type { Operation } from './types/Operation';
import type { Presence } from './types/Presence';
import type { Stage } from './types/Stage';
import type { State } from './types/State';

/** A number and its unit, with a space that does not break. */
export const unit = (n: string, u: string): string => `${n}\u00A0${u}`;
const n = (count: number, one: string, many = `${one}s`): string => unit(String(count), count === 1 ? one : many);

export const engineTitle: Record<Engine, string> = {
  ollama: 'Ollama',
  vllm: 'vLLM',
  llamacpp: 'llama.cpp',
  lmstudio: 'LM Studio',
  openai: 'OpenAI-compatible',
};

export const stateWord: Record<State['state'], string> = {
  unknown: 'looking',
  up: 'up',
  degraded: 'unsteady',
  refusing: 'refusing',
  asleep: 'asleep',
  waking: 'waking',
  away: 'away',
  down: 'down',
};

/** A machine that leads out of the house, while it answers. */
export const cloudWord = 'cloud';

/** What stands for a machine on its card, and what is said of it: words that follow its name. */
export type Said = { word: string; says: string };

const NOT_WOKEN: Said = { word: 'did not wake', says: 'did not wake' };
const AWAKE: Partial<Record<string, Said>> = {
  card_only: { word: 'no answer', says: 'is on the network, but no port of it answers' },
  engine_closed: { word: 'no engine', says: 'is awake, but its engine does not answer' },
  still_loading: { word: 'still loading', says: 'is awake, and its engine is still loading' },
  without_model: { word: 'model missing', says: 'is awake, but without the model that was asked for' },
};
/** A wake that led nowhere, by its code: a machine that is awake is not said to sleep. */
export const notWoken = (code: string): Said => AWAKE[code] ?? NOT_WOKEN;

/** A machine that answers without its GPU. */
export const noGpu: Said = { word: 'no GPU', says: 'is up, but without its GPU' };

/** A waking node whose engine is up already. */
export const loadingWord = 'loading';

export const stageWord: Record<Stage, string> = {
  packet: 'packet',
  reachable: 'reachable',
  api: 'engine',
  loading: 'load model',
};

export const presence: Record<Presence, { title: string; effect: string }> = {
  'always-on': { title: 'Always on', effect: 'Should answer at any hour. Silence is a problem.' },
  sleeps: { title: 'Sleeps', effect: 'Off by plan, quiet is normal. To wake it, write `[node.wake]` into the configuration file.' },
  'comes-and-goes': { title: 'Comes and goes', effect: 'A laptop: gone without alarm.' },
};

export const route: Record<Mode, { title: string; effect: string }> = {
  auto: { title: 'Automatic', effect: 'Every machine takes part' },
  local: { title: 'Local only', effect: 'Nothing leaves the house' },
  'no-wake': { title: 'Never wake', effect: 'Only machines that are up' },
  paused: { title: 'Paused', effect: 'New requests are turned away' },
};

const listing = new Intl.ListFormat('en', { type: 'conjunction' });

export const words = {
  app: 'Lamplighter',
  demo: 'demo',
  title: (demo: boolean) => `Overview · Lamplighter${demo ? ' (demo)' : ''}`,
  dot: '·',

  rail: {
    sections: 'Sections',
    overview: 'Overview',
    nodes: 'Nodes',
    add: 'Add a machine',
    row: (name: string, state: string) => `${name}, ${state}`,
    version: (version: string) => `version ${version}`,
    shortcuts: 'Keyboard shortcuts',
  },

  house: {
    none: 'no machines yet',
    up: (up: number, all: number) => `${up} of ${n(all, 'machine')} up`,
    waking: (count: number) => `${count} waking`,
    failed: (count: number) => `${count} did not wake`,
    notReady: (count: number) => `${count} not ready`,
    noGpu: (count: number) => `${count} without its GPU`,
    problem: (count: number) => `${count} to look at`,
    connecting: 'connecting',
    lost: 'not connected',
    locked: 'no access',
    lamp: {
      dark: 'no machine answers',
      low: 'machines are up, none with a GPU',
      lit: 'a machine with a GPU is up',
      busy: 'requests are running',
      waking: 'a machine is waking',
      paused: 'routing is paused',
      alert: 'something needs a look',
    },
  },

  copy: {
    base: 'Copy base URL',
    address: 'Copy address',
    command: (text: string) => `Copy ${text}`,
    done: (text: string) => `Copied ${text}`,
    failed: 'could not copy',
    failedHint: (text: string) => `select it by hand: ${text}`,
  },

  routing: {
    label: 'Routing',
    pauseHour: 'Pause for an hour',
    pauseOpen: 'Pause until I resume',
    resume: 'Resume',
    paused: 'Routing is paused',
    pausedUntil: (time: string) => `Routing is paused until ${time}`,
    pausedHint: 'new requests get a 503, running ones finish',
    set: (title: string) => `Routing: ${title}`,
  },

  node: {
    section: 'Machines',
    card: (name: string, state: string) => `${name}, ${state}`,
    models: (count: number) => n(count, 'model'),
    modelsOf: (name: string) => `Models on ${name}`,
    active: (count: number) => `${count} active`,
    waiting: (count: number) => `${count} waiting`,
    /** Waiting in the engine itself: ours, and those of programs that ask it directly. */
    engineWaiting: (count: number) => `${count} in its own line`,
    since: (time: string) => `since ${time}`,
    yesterday: (time: string) => `since yesterday ${time}`,
    days: (count: number) => `for ${n(count, 'day')}`,
    noneLoaded: 'no model loaded',
    loadedUnknown: 'this engine does not tell what is loaded',
    looking: 'first look under way',
    cannotWake: (path: string) => `cannot be woken yet: write \`[node.wake]\` for it into \`${path}\``,
    keptWarm: 'kept warm',
    unloadsIn: (time: string) => `unloads in ${time}`,
    unloadsNow: 'unloads now',
    onGpu: (percent: number) => `${unit(String(percent), '%')} on the GPU`,
    moreLoaded: (count: number) => `${count} more`,
    memoryOf: (percent: number, all: string) => `${unit(String(percent), '%')} of ${unit(all, 'GB')}`,
    memory: (used: string) => `${used} in use`,
    free: 'Free the GPU',
    unloadAll: 'Unload all',
    load: 'Load',
    unload: 'Unload',
    loadModel: (model: string) => `Load ${model}`,
    unloadModel: (model: string) => `Unload ${model}`,
    loading: (model: string, node: string) => `Loading ${model} on ${node}`,
    unloading: (model: string, node: string) => `Unloading ${model} from ${node}`,
    loadedNow: (model: string, node: string) => `${model} is loaded on ${node}`,
    loadingNow: 'Loading…',
    unloadingNow: 'Unloading…',
    freeing: (node: string) => `Unloading everything from ${node}`,
    nothingLoaded: (node: string) => `nothing is loaded on ${node}`,
    more: (name: string) => `More about ${name}`,
    wake: 'Wake',
    cancelWake: 'Cancel',
    cancelled: (name: string) => `${name} is not being woken any more`,
    putToSleep: 'Put to sleep',
    toldToSleep: (name: string) => `${name} was told to sleep`,
    elsewhere: 'on another network',
    home: 'This is home too',
    homeNow: (name: string) => `${name} is at home here too`,
    ago: (long: string) => `${long} ago`,
    waited: (now: string, usual: string) => `${now} of ~${usual}`,
    waiters: (count: number) => `${count} waiting`,
    whyNot: 'Why?',
    again: 'Try again',
    failed: (words: string) => `It ${words}.`,
    gpuLost: 'It woke without its GPU: its models would run on the CPU',
    gpuFix: 'On that machine: reload `nvidia_uvm` (`rmmod`, then `modprobe`), set `NVreg_PreserveVideoMemoryAllocations=1`, restart the engine or its container.',
    keepAwake: 'Keep awake while it answers',
    keepAwakeNo: 'Do not keep awake any more',
    keptAwake: (name: string) => `${name} is kept awake while it answers`,
    notKeptAwake: (name: string) => `${name} is not kept awake any more`,
    past: 'Past wakes',
    pastHide: 'Hide past wakes',
    pastNone: 'Never woken by Lamplighter yet.',
    pastFailed: 'The past cannot be read just now.',
    pastBy: { person: 'by you', request: 'by a request' } as const,
    pastNotReady: 'not ready',
    pastOutcome: { ready: 'awake', failed: 'did not wake', cancelled: 'cancelled', interrupted: 'interrupted' } as const,
    pastLost: 'led nowhere',
    pastSeconds: (count: string) => unit(count, 's'),
    pastStage: { network: 'on the network', engine: 'engine answers', ready: 'ready' } as const,
    edit: 'Edit…',
    remove: 'Remove…',
    remote: 'leaves the house',
    loaded: 'loaded',
    asLastSeen: 'as last seen',
    wakeProgress: (name: string, stage: string, time: string) => `waking ${name}, ${stage}, ${time}`,
    engineStage: (engine: string) => engine,
    is: (state: string) => `is ${state}`,
    nowState: (name: string, says: string) => `${name} ${says}`,
    added: (name: string) => `${name} was added`,
    gone: (name: string) => `${name} was removed`,
  },

  day: {
    /** `Last 24 hours: up 71 %, asleep 20 %, no data 9 %` */
    of: (parts: string) => `Last 24 hours: ${parts}`,
    part: (what: string, percent: number) => `${what} ${unit(String(percent), '%')}`,
    up: (percent: number) => `up ${unit(String(percent), '%')} of the day`,
    upOf: (percent: number, hours: number) => `up ${unit(String(percent), '%')} of ${unit(String(hours), 'h')}`,
    notUp: 'not up',
    partOf: (up: number, all: number) => `up ${up} of ${unit(String(all), 'min')}`,
    now: 'now',
    cell: { 'no-data': 'no data', up: 'up', answered: 'up, answered requests', asleep: 'asleep', away: 'away', down: 'down' } as const,
    at: (time: string, what: string) => `${time} ${what}`,
  },

  prompt: {
    section: 'Questions',
    said: (title: string, asks: string) => `${title} ${asks}`,
    title: (node: string) => `Wake ${node}?`,
    asks: (client: string, model: string) => `${client} asks for ${model}`,
    left: (seconds: number) => `answered elsewhere in ${seconds} s`,
    wake: 'Wake',
    elsewhere: 'Answer elsewhere',
  },

  now: {
    section: 'Now',
    count: (count: number) => n(count, 'request'),
    none: 'Nothing running',
    noneHint: 'Requests show here while they wait, load and stream.',
    nextInLine: 'next in line',
    inLine: (place: number) => `${ordinal(place)} in line`,
    queued: 'queued',
    waking: (node: string) => `waking ${node}`,
    loading: 'loading the model',
    firstToken: 'waiting for the first token',
    working: (operation: Operation) => (EMBEDS.has(operation) ? 'embedding' : 'working'),
    streaming: 'streaming',
    rate: (rate: string) => unit(rate, 'tok/s'),
    cancel: (client: string, model: string) => `Cancel this request: ${client}, ${model}`,
    cancelled: 'Request cancelled',
    ended: 'That request had ended already',
    bar: (waited: string, streamed: string) => `waited ${waited}, streaming ${streamed}`,
    barWaiting: (waited: string) => `waiting ${waited}`,
    to: 'to',
    unknownClient: 'unknown app',
  },

  totals: {
    section: 'Since start',
    since: (time: string, long: string) => `${time}, ${long} ago`,
    requests: 'requests',
    answered: 'answered',
    failed: 'failed',
    cancelled: 'cancelled',
    tokensIn: 'tokens read',
    tokensOut: 'tokens written',
  },

  problems: {
    section: 'To look at',
    show: (name: string) => `Show ${name}`,
    more: (count: number) => `${count} more`,
    fewer: 'Show fewer',
    use: (url: string) => `Use the Ollama at ${url} as a node`,
    used: (url: string) => `${url} is a node now`,
  },

  contact: {
    connecting: 'Connecting to the gateway',
    lost: 'No contact with the gateway',
    lostSince: (time: string) => `what you see is from ${time}`,
    retryIn: (time: string) => `trying again in ${time}`,
    retrying: 'trying again',
    tryNow: 'Try now',
    back: 'Connected again',
    never: 'No contact with the gateway',
    neverHint: 'Is it running? Start it with',
    serve: 'lamplighter serve',
    tray: 'The menu in the tray offers what can be done.',
    lockedNone: 'This page needs a key',
    lockedSpent: 'This link has been used, or is older than a minute',
    lockedRefused: 'The key of this page is no longer valid',
    lockedHint: 'For a fresh one run this on the computer where Lamplighter runs:',
    open: 'lamplighter open',
    openDemo: 'lamplighter --demo open',
    openOf: (path: string) => `lamplighter --config ${path} open`,
  },

  empty: {
    title: 'No machines yet',
    body: 'Lamplighter looked on this computer and found no model server. Add the machine that runs your models.',
    add: 'Add a machine…',
    config: 'or write it into',
    copyPath: 'Copy the path',
    tile: 'Add a machine…',
    foundOnly: 'Found on this computer, and not written down yet. The first change writes it to',
  },

  machine: {
    addTitle: 'Add a machine',
    editTitle: (name: string) => `Edit ${name}`,
    removeTitle: (name: string) => `Remove ${name}`,
    address: 'Address',
    addressHint: 'A name, an IP address or a URL, with or without a port: nas, 192.168.1.20, gpu:8080',
    asking: 'asking…',
    found: (engine: string, version: string, models: number) => listOf([`${engine} ${version}`.trim(), n(models, 'model')]),
    notYet: 'You can add it all the same: it will show as soon as it answers.',
    name: 'Name',
    nameHint: 'Small letters, digits and hyphens',
    nameWrong: 'use 1 to 40 small letters, digits or hyphens',
    nameTaken: (name: string) => `${name} exists already`,
    addressMissing: 'an address is needed',
    presence: 'How it comes and goes',
    more: 'More',
    gpu: 'GPU',
    gpuHint: 'In your words, for people: RTX 4090',
    vram: 'Video memory',
    vramHint: 'For example 24GB',
    vramWrong: 'write it like 24GB or 512MB',
    priority: 'Priority',
    priorityHint: 'Higher goes first among equals',
    slots: 'Answers at once',
    slotsHint: 'Per loaded model; empty: what the engine can do',
    numberWrong: 'a whole number is needed',
    slotsWrong: 'a whole number from 1 on is needed',
    add: 'Add machine',
    save: 'Save',
    cancel: 'Cancel',
    remove: 'Remove…',
    removeSure: (name: string) => `The models of ${name} leave the list. The machine itself is not touched.`,
    removeYes: (name: string) => `Remove ${name}`,
    removeNo: 'Keep it',
    added: (name: string) => `${name} was added`,
    saved: (name: string) => `${name} was saved`,
    keyDropped: (name: string) => `${name} was saved without its API key`,
    keyDroppedHint: 'the key belonged to the old address: write it into the file if the new one needs it',
    removed: (name: string) => `${name} was removed`,
  },

  shortcuts: {
    title: 'Keyboard shortcuts',
    close: 'Close',
    overview: 'Overview',
    region: 'Next and previous region',
    card: 'On a machine: its models',
    wake: 'On a machine: wake it',
    sleep: 'On a machine: put it to sleep',
    unload: 'On a machine: unload everything',
    day: 'On a machine\u2019s day: quarter by quarter',
    copy: 'Copy base URL',
    sheet: 'This list',
    escape: 'Close what is open',
  },

  talk: {
    region: 'Messages',
    dismiss: 'Dismiss',
    hint: 'hint:',
    unreachable: 'the gateway does not answer',
    unreachableHint: 'the page tries again by itself',
    tooSlow: 'the gateway took too long to answer',
    unclear: (status: number) => `the gateway answered ${status}`,
  },

  and: (parts: string[]): string => listing.format(parts),
};

const EMBEDS: ReadonlySet<Operation> = new Set<Operation>(['embeddings', 'ollama_embed', 'ollama_embeddings']);

function listOf(parts: string[]): string {
  return parts.filter((part) => part !== '').join(', ');
}

/** `2nd`, `3rd`, `11th`. */
export function ordinal(place: number): string {
  const tens = place % 100;
  const ending = tens > 10 && tens < 14 ? 'th' : (['th', 'st', 'nd', 'rd'][place % 10] ?? 'th');
  return `${place}${ending}`;
}
