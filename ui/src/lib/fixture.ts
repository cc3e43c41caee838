// Small complete values for the tests: a node, a model, a request and a house, each changed where a test needs it.
import type { Model } from './types/Model';
import type { Node } from './types/Node';
import type { Request } from './types/Request';
import type { Snapshot } from './types/Snapshot';
import type { State } from './types/State';

/** Noon on a Friday. */
export const NOON = Date.UTC(2026, 10, 20, 12, 0, 0);

export function model(change: Partial<Model> = {}): Model {
  return {
    name: 'qwen3-coder:30b',
    aliases: [],
    digest: null,
    size_bytes: 18_556_700_000,
    context_tokens: null,
    capabilities: ['completion'],
    loaded: false,
    vram_bytes: null,
    loaded_bytes: null,
    expires_at: null,
    modified_at: null,
    family: null,
    parameter_size: '30.5B',
    quantization: 'Q4_K_M',
    remote: false,
    ...change,
  };
}

type Plain = Omit<Node, 'state' | 'stage'>;

export function node(state: State = { state: 'up' }, change: Partial<Plain> = {}): Node {
  const plain: Plain = {
    name: 'workstation',
    url: 'http://192.168.1.20:11434',
    engine: 'ollama',
    version: '0.14.2',
    presence: 'comes-and-goes',
    since_ms: NOON - 42 * 60_000,
    why: null,
    gpu: 'RTX 4090',
    vram_bytes: 24 * 2 ** 30,
    vram_typed: true,
    dialects: { openai: true, responses: false, anthropic: true, count_tokens: false, ollama: true },
    slots: 1,
    priority: 0,
    active: 0,
    waiting: 0,
    engine_waiting: null,
    models: [model()],
    probe_ms: 2,
    cloud: false,
    can_load: true,
    sleep: { can_wake: false, can_sleep: false, waking: null, failure: null, usual_ms: null, elsewhere: false, kept_awake: 'no', naps: false, gpu_lost: false },
  };
  return { ...plain, ...change, ...state };
}

export function request(change: Partial<Request> = {}): Request {
  return {
    id: 'r1',
    client: 'Claude Code',
    operation: 'messages',
    model: 'coder',
    node: 'workstation',
    node_model: 'qwen3-coder:30b',
    stage: 'sent',
    ahead: null,
    started_ms: NOON - 8_000,
    first_byte_ms: null,
    events: 0,
    stream: true,
    ...change,
  };
}

export function house(change: Partial<Snapshot> = {}): Snapshot {
  return {
    seq: 1,
    at_ms: NOON,
    gateway: { version: '0.1.0', pid: 1, started_ms: NOON - 3_600_000, base_url: 'http://127.0.0.1:11400', listening: [], config_path: '/home/ada/.config/lamplighter/config.toml', demo: false, mode: 'auto', paused_until_ms: null, found_only: false },
    nodes: [],
    models: [],
    aliases: [],
    requests: [],
    totals: { requests: 0, answered: 0, failed: 0, cancelled: 0, tokens_in: 0, tokens_out: 0 },
    problems: [],
    prompts: [],
    offers: [],
    ...change,
  };
}
