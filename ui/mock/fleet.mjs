// The houses that the mock gateway can show: a lively one, and the hard cases of layout and state.

const GB = 1e9;
const GIB = 2 ** 30;
const MIN = 60_000;
const speaks = { openai: true, responses: false, anthropic: true, count_tokens: false, ollama: true };

/** A model as a node lists it; `more` overrides. */
export const model = (name, size_gb, parameter_size, quantization, more = {}) => ({
  name,
  digest: null,
  size_bytes: Math.round(size_gb * GB),
  context_tokens: 32768,
  capabilities: ['completion', 'tools'],
  loaded: false,
  vram_bytes: null,
  loaded_bytes: null,
  expires_at: null,
  modified_at: null,
  family: null,
  parameter_size,
  quantization,
  remote: false,
  ...more,
});

const inMemory = (gb, expires_at, vram_gb = gb) => ({
  loaded: true,
  loaded_bytes: Math.round(gb * GB) + 131_072,
  vram_bytes: Math.round(vram_gb * GB) + (vram_gb > 0 ? 131_072 : 0),
  expires_at,
});

/** A node; `state` is `{state}` or `{state: 'waking', stage}`. */
export const node = (name, state, more = {}) => ({
  name,
  url: `http://${name}:11434`,
  engine: 'ollama',
  version: '0.14.2',
  presence: 'comes-and-goes',
  ...state,
  since_ms: Date.now() - 42 * MIN,
  why: null,
  gpu: null,
  vram_bytes: null,
  vram_typed: true,
  dialects: speaks,
  slots: 1,
  priority: 0,
  active: 0,
  waiting: 0,
  models: [],
  probe_ms: 3,
  cloud: false,
  can_load: true,
  ...more,
  sleep: { can_wake: false, can_sleep: false, waking: null, failure: null, usual_ms: null, elsewhere: false, kept_awake: 'no', naps: false, gpu_lost: false, ...more.sleep },
});

const NEVER = '2318-01-01T00:00:00Z';
const inMinutes = (minutes) => new Date(Date.now() + minutes * MIN).toISOString().replace('Z', '123456Z');

const nasModels = () => [
  model('bge-m3', 1.2, '567M', 'F16', { ...inMemory(1.2, NEVER, 0), capabilities: ['embedding'] }),
  model('gemma3:4b', 3.3, '4.3B', 'Q4_K_M', inMemory(4.1, inMinutes(4), 0)),
  model('llama3.2:3b', 2.0, '3.2B', 'Q4_K_M'),
  model('qwen3:8b', 5.2, '8.2B', 'Q4_K_M'),
  model('gpt-oss:120b-cloud', 0.0004, '116.8B', 'MXFP4', { remote: true }),
];
const workstationModels = () => [
  model('qwen3-coder:30b', 18.6, '30.5B', 'Q4_K_M', inMemory(19.9, inMinutes(27))),
  model('gpt-oss:20b', 13.8, '20.9B', 'MXFP4'),
  model('qwen3:32b', 20.2, '32.8B', 'Q4_K_M'),
  model('devstral:24b', 14.3, '23.6B', 'Q4_K_M'),
];
const laptopModels = () => [model('qwen3.5:9b', 6.6, '9.0B', 'Q4_K_M'), model('gemma3:4b', 3.3, '4.3B', 'Q4_K_M'), model('glm-ocr', 2.2, '1.1B', 'BF16')];

const nas = (more) => node('nas', { state: 'up' }, { presence: 'always-on', gpu: 'Pentium Gold, CPU', since_ms: Date.now() - 12 * 24 * 60 * MIN, models: nasModels(), ...more });
const workstation = (more) => node('workstation', { state: 'up' }, { presence: 'sleeps', gpu: 'RTX 4090', vram_bytes: 24 * GIB, active: 1, waiting: 1, since_ms: Date.now() - 3 * 60 * MIN, models: workstationModels(), ...more });
const laptop = (more) => node('laptop', { state: 'away' }, { engine: 'llamacpp', version: 'b6710', gpu: 'M3', since_ms: Date.now() - 4 * 60 * MIN, models: laptopModels(), ...more });

let serial = 0;
/** A request under way since `seconds`; `rate` tokens per second once it streams. */
export const request = (client, asked, where, more = {}, seconds = 4) => ({
  id: `req-${++serial}`,
  client,
  operation: 'chat_completions',
  model: asked,
  node: where,
  node_model: null,
  stage: 'sent',
  ahead: null,
  started_ms: Date.now() - seconds * 1000,
  first_byte_ms: null,
  events: 0,
  stream: true,
  ...more,
});

const streaming = (seconds, wait, rate) => ({ stage: 'streaming', first_byte_ms: Date.now() - (seconds - wait) * 1000, events: Math.round((seconds - wait) * rate), rate });

const claude = () => request('Claude Code', 'coder', 'workstation', { operation: 'messages', node_model: 'qwen3-coder:30b', ...streaming(12, 1.4, 93) }, 12);
const webui = () => request('Open WebUI', 'llama3.2:3b', 'nas', { operation: 'ollama_chat', stage: 'sent' }, 6);
const batch = () => request('n8n nightly', 'qwen3-coder:30b', 'workstation', { stage: 'queued', ahead: 0 }, 3);

const drift = { code: 'digest_drift', level: 'notice', message: 'gemma3:4b has different contents on nas and laptop', hint: 'requests stay with nas', node: null };
const down = (name) => ({ code: 'node_down', level: 'problem', message: `${name} is down`, hint: 'connection refused on port 11434, the host answers', node: name });

const base = {
  gateway: {
    version: '0.1.0',
    pid: 4711,
    started_ms: Date.now() - 190 * MIN,
    base_url: 'http://127.0.0.1:11400',
    listening: ['127.0.0.1:11400', '[::1]:11400'],
    config_path: '/home/ada/.config/lamplighter/config.toml',
    demo: false,
    mode: 'auto',
    paused_until_ms: null,
    found_only: false,
  },
  aliases: [{ name: 'coder', models: ['qwen3-coder:30b', 'llama3.2:3b@nas'] }],
  totals: { requests: 138, answered: 133, failed: 2, cancelled: 3, tokens_in: 311_402, tokens_out: 100_873 },
};

/** What each name shows: nodes, requests, problems, and changes to the gateway. */
export const houses = {
  lively: () => ({ nodes: [nas({ active: 1 }), workstation(), laptop()], requests: [claude(), webui(), batch()], problems: [drift] }),
  demo: () => ({ ...houses.lively(), gateway: { demo: true, base_url: 'http://127.0.0.1:11499' } }),
  empty: () => ({ nodes: [], requests: [], problems: [], totals: { requests: 0, answered: 0, failed: 0, cancelled: 0, tokens_in: 0, tokens_out: 0 } }),
  idle: () => ({ nodes: [nas(), workstation({ active: 0, models: workstationModels().map((one) => ({ ...one, loaded: false, vram_bytes: null, loaded_bytes: null, expires_at: null })) })], requests: [], problems: [] }),
  one: () => ({ nodes: [nas()], requests: [], problems: [], gateway: { found_only: true } }),
  cloud: () => ({ nodes: [nas(), workstation(), node('openrouter', { state: 'up' }, { url: 'https://openrouter.ai/api/v1', engine: 'openai', version: null, cloud: true, can_load: false, models: [model('anthropic/claude-opus', 0, null, null, { size_bytes: null, loaded: null, remote: true })] })], requests: [], problems: [] }),
  naps: () => ({
    nodes: [nas(), workstation({ active: 0, sleep: { can_wake: true, can_sleep: true, naps: true } })],
    requests: [],
    problems: [{ code: 'naps', level: 'notice', message: 'workstation fell asleep twice within ten minutes while it was answering.', hint: 'Its idle timer does not count that work: have it kept awake while it answers, or give it more time.', node: 'workstation' }],
  }),
  paused: () => ({ ...houses.lively(), gateway: { mode: 'paused', paused_until_ms: Date.now() + 58 * MIN } }),
  states: () => ({
    nodes: [
      workstation({ models: [model('qwen3-coder:30b', 18.6, '30.5B', 'Q4_K_M', inMemory(25.4, inMinutes(27), 21.9)), ...workstationModels().slice(1)] }),
      node('tower', { state: 'waking', stage: 'api' }, { gpu: 'RTX 3090', since_ms: Date.now() - 23_000, models: workstationModels().map((one) => ({ ...one, loaded: false })) }),
      node('devbox', { state: 'asleep' }, { engine: 'llamacpp', version: 'b6710', gpu: 'RTX 5060 Ti 16 GB', presence: 'sleeps', since_ms: Date.now() - 125 * MIN, models: laptopModels() }),
      laptop(),
      node('attic', { state: 'unknown' }, { engine: null, version: null }),
      node('garage', { state: 'degraded' }, { engine: 'vllm', version: '0.11.0', gpu: 'A4000', why: '3 of the last 5 requests failed', models: [model('mistral-small', 47, '24B', 'BF16', { loaded: null })] }),
      node('office', { state: 'refusing' }, { engine: 'lmstudio', version: '0.3.30', why: 'it wants a key: set api_key in the configuration', models: [] }),
      node('cellar', { state: 'down' }, { presence: 'always-on', why: 'connection refused on port 11434, the host answers', since_ms: Date.now() - 29 * MIN, models: nasModels().map((one) => ({ ...one, loaded: false })) }),
    ],
    requests: [],
    problems: [down('cellar'), { code: 'refusing', level: 'problem', message: 'office refuses our requests', hint: 'set its api_key', node: 'office' }],
  }),
  lamp: () => ({
    nodes: [
      workstation({ sleep: { can_wake: true, can_sleep: true, usual_ms: 41_000 } }),
      node('tower', { state: 'asleep' }, { gpu: 'RTX 3090', presence: 'sleeps', since_ms: Date.now() - 125 * MIN, models: laptopModels(), sleep: { can_wake: true, can_sleep: true, usual_ms: 41_000 } }),
      node('devbox', { state: 'waking', stage: 'reachable' }, { gpu: 'RTX 5060 Ti 16 GB', presence: 'sleeps', since_ms: Date.now() - 23_000, models: laptopModels(), sleep: { can_wake: true, usual_ms: 41_000, waking: { stage: 'reachable', started_ms: Date.now() - 23_000, timeout_ms: 120_000, rounds: 4, waiters: 3, by_person: false, asked_by: 'open-webui for coder' } } }),
      node('garage', { state: 'asleep' }, { gpu: 'A4000', presence: 'sleeps', since_ms: Date.now() - 600 * MIN, models: laptopModels(), sleep: { can_wake: true, failure: { code: 'never_answered', words: 'did not wake: called 14 times, nothing heard for 120 s', at_ms: Date.now() - 5 * MIN, checklist: [{ what: 'The lights at its network socket', how: 'Dark while it sleeps: the card has no power. Turn off ErP in the firmware.' }, { what: 'The address', how: '`ip link` shows it: it must be the MAC of the cable\u2019s own card.' }] } } }),
    ],
    requests: [],
    problems: [],
    prompts: [{ node: 'tower', model: 'coder', client: 'cline', until_ms: Date.now() + 17_000 }],
  }),
  /** What is wrong with machines beyond their states: a lost GPU, wakes that led nowhere, a strange network, a machine that refuses. */
  trouble: () => ({
    nodes: [
      workstation({ sleep: { can_wake: true, can_sleep: true, usual_ms: 41_000, gpu_lost: true } }),
      node('garage', { state: 'down' }, { gpu: 'A4000', presence: 'always-on', why: 'no answer in 2 s', since_ms: Date.now() - 600 * MIN, models: laptopModels(), sleep: houses.lamp().nodes[3].sleep }),
      node('tower', { state: 'asleep' }, { gpu: 'RTX 3090', presence: 'sleeps', since_ms: Date.now() - 125 * MIN, models: laptopModels(), sleep: { can_wake: true, failure: { code: 'engine_closed', words: 'is awake since second 31, but its engine does not answer', at_ms: Date.now() - 2 * MIN, checklist: [{ what: 'The engine starts by itself', how: '`systemctl enable --now ollama`, or a container with `restart: unless-stopped`.' }] } } }),
      node('macbook', { state: 'away' }, { gpu: 'M3', since_ms: Date.now() - 90 * MIN, models: laptopModels(), sleep: { can_wake: true, elsewhere: true } }),
      node('office', { state: 'refusing' }, { why: 'it wants a key: set api_key in the configuration', sleep: { can_wake: true } }),
      node('attic', { state: 'unknown' }, { engine: null, version: null, sleep: { can_wake: true } }),
    ],
    requests: [],
    problems: [],
  }),
  /** Two machines lead, the others stand in compact cards: each state of a wake in one of them. */
  crowd: () => ({
    nodes: [
      nas(),
      workstation({ sleep: { can_wake: true, can_sleep: true, usual_ms: 41_000 }, models: [model('qwen3-coder:30b', 18.6, '30.5B', 'Q4_K_M', inMemory(19.9, inMinutes(27))), model('gpt-oss:20b', 13.8, '20.9B', 'MXFP4', inMemory(13.8, inMinutes(3))), model('devstral:24b', 14.3, '23.6B', 'Q4_K_M', inMemory(14.3, NEVER))] }),
      ...houses.lamp().nodes.slice(1),
      node('attic', { state: 'asleep' }, { presence: 'sleeps', since_ms: Date.now() - 90 * MIN }),
      node('hall', { state: 'up' }, { gpu: 'RTX 3060', vram_bytes: 12 * GIB, models: [model('hf.co/unsloth/Qwen3-Coder-480B-A35B-Instruct-1M-GGUF:UD-Q4_K_XL', 276.8, '480B', 'Q4_K_XL', inMemory(281.2, inMinutes(1), 180)), model('gemma3:4b', 3.3, '4.3B', 'Q4_K_M', inMemory(4.1, inMinutes(4)))] }),
    ],
    requests: [request('open-webui', 'coder', 'devbox', { stage: 'waking' }, 9), request('n8n nightly', 'gpt-oss:20b', 'tower', { stage: 'sent' }, 6), claude()],
    problems: [],
  }),
  many: () => ({
    nodes: Array.from({ length: 30 }, (_, n) => node(`gpu-${String(n + 1).padStart(2, '0')}`, { state: n % 4 === 3 ? 'asleep' : 'up' }, { gpu: 'RTX 4090', vram_bytes: 24 * GIB, models: n % 3 === 0 ? workstationModels() : laptopModels(), active: n % 3 })),
    requests: Array.from({ length: 12 }, (_, n) => request(`client ${n + 1}`, 'qwen3-coder:30b', `gpu-0${(n % 9) + 1}`, n % 2 ? streaming(n + 3, 1, 40 + n) : {}, n + 3)),
    problems: [],
  }),
  long: () => {
    const name = 'a-machine-with-the-longest-name-there-is';
    const longModel = 'hf.co/unsloth/Qwen3-Coder-480B-A35B-Instruct-1M-GGUF:UD-Q4_K_XL-and-then-some';
    return {
      nodes: [
        node(name, { state: 'up' }, { gpu: '2 × NVIDIA RTX PRO 6000 Blackwell Workstation Edition 96 GB, water-cooled, on the second PCIe slot', vram_bytes: 192 * GIB, active: 11, waiting: 104, models: [model(longModel, 276.8, '480B', 'Q4_K_XL', inMemory(281.2, inMinutes(1), 180)), ...workstationModels()] }),
        node('b', { state: 'down' }, { why: 'the certificate of https://inference.very-long-subdomain.example.internal:8443/openai/v1 is for another host, and it ended 12 days ago', url: 'https://inference.very-long-subdomain.example.internal:8443/openai/v1' }),
        node(`${name.slice(0, 38)}-2`, { state: 'degraded' }, { why: 'flaps', since_ms: Date.now() - 50 * 60 * MIN }),
        laptop({ models: [] }),
        node('c', { state: 'up' }, { models: [model(longModel, 276.8, '480B', 'Q4_K_XL', inMemory(281.2, inMinutes(1), 180))] }),
      ],
      requests: [
        request('Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36', longModel, name, { node_model: longModel + '2', ...streaming(3720, 65, 0.8) }, 3720),
        request('', 'x', null, { stage: 'queued', ahead: null }, 0),
      ],
      problems: [{ code: 'long', level: 'problem', message: 'the certificate of https://inference.very-long-subdomain.example.internal:8443/openai/v1 is for another host', hint: 'ask whoever runs it for a new one, or take the address that the certificate names', node: 'b' }, drift],
      gateway: { base_url: 'http://a-rather-long-host-name.home.arpa:11400' },
    };
  },
};

/** A whole snapshot of the named house. */
export function build(name) {
  const { gateway = {}, ...rest } = houses[name]();
  return { seq: 1, at_ms: Date.now(), models: [], offers: [], prompts: [], ...structuredClone(base), ...rest, gateway: { ...base.gateway, ...gateway } };
}

/** Lets a quarter of a second go by: streams stream, the rest stays. */
export function live(snapshot) {
  const now = Date.now();
  snapshot.seq += 1;
  snapshot.at_ms = now;
  for (const one of snapshot.requests) {
    if (one.stage === 'streaming' && one.rate) one.events = Math.round(((now - one.first_byte_ms) / 1000) * one.rate);
  }
}

/** A day of quarters of an hour: asleep at night, up and busy by day, a hole, a bad moment. */
export function day(seed) {
  return Array.from({ length: 96 }, (_, at) => {
    const hour = (at / 4 + seed * 3) % 24;
    if (at < 6) return { cell: 'no-data' };
    if (hour < 7) return { cell: seed === 0 ? 'up' : 'asleep' };
    if (at === 60) return { cell: 'down' };
    if (at % 17 === 0) return { cell: 'part', share: 40 };
    return { cell: at % 3 ? 'up' : 'answered' };
  });
}
