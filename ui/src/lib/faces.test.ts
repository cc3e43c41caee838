// From data to glyphs and words: every state, loaded models, requests, the line and the lamp of the house.
import { describe, expect, it } from 'vitest';
import { houseLamp, houseLine, isNodeName, loadedNote, mayBeWoken, memoryInUse, nodeFace, nodeMeta, openCommand, otherName, requestFace, routing, suggestName, tokensPerSecond, unloadsIn, wakeSteps, wakeWaiters } from './faces';
import { house, model, node, NOON, request } from './fixture';
import type { Gateway } from './types/Gateway';
import type { State } from './types/State';

const plain = (text: string | null): string | null => (text === null ? null : text.replace(/\u00A0/g, ' '));

describe('a node', () => {
  it.each([
    [{ state: 'unknown' }, 'away', 'looking', '', 'away'],
    [{ state: 'up' }, 'up', 'up', '42 min', 'low'],
    [{ state: 'asleep' }, 'asleep', 'asleep', '42 min', 'asleep'],
    [{ state: 'waking', stage: 'api' }, 'waking', 'waking', '42:00', 'waking'],
    [{ state: 'waking', stage: 'loading' }, 'waking', 'loading', '42:00', 'waking'],
    [{ state: 'away' }, 'away', 'away', '42 min', 'away'],
  ] as const)('%o shows as %s', (state, glyph, word, more, lamp) => {
    const face = nodeFace(node(state), NOON);
    expect([face.glyph, face.word, plain(face.more), face.lamp]).toEqual([glyph, word, more, lamp]);
  });

  it.each([
    ['degraded', 'unsteady'],
    ['refusing', 'refusing'],
    ['down', 'down'],
  ] as const)('%s is a problem, named, with its time', (state, word) => {
    const face = nodeFace(node({ state }), NOON);
    expect([face.glyph, face.word, face.lamp]).toEqual(['problem', word, 'problem']);
    expect(face.more).toMatch(/^since \d\d:\d\d$/);
  });

  it('leads out of the house visibly', () => {
    const face = nodeFace(node({ state: 'up' }, { cloud: true, models: [model({ loaded: true })] }), NOON);
    expect([face.glyph, face.word, face.lamp, face.lit]).toEqual(['cloud', 'cloud', 'cloud', false]);
    expect(nodeFace(node({ state: 'down' }, { cloud: true }), NOON).glyph).toBe('problem');
  });

  it('is lit only with a model in memory, and tells what runs and waits', () => {
    const warm = node({ state: 'up' }, { models: [model({ loaded: true })], active: 2, waiting: 1 });
    const face = nodeFace(warm, NOON);
    expect([face.lamp, face.lit, plain(face.more)]).toEqual(['lit', true, '2 active, 1 waiting']);
    expect(plain(nodeFace({ ...warm, engine_waiting: 3 }, NOON).more)).toBe('2 active, 1 waiting, 3 in its own line');
  });

  it('tells GPU, engine and version, or else its address', () => {
    expect(nodeMeta(node())).toBe('RTX 4090 · Ollama 0.14.2');
    expect(nodeMeta(node({ state: 'up' }, { gpu: null, version: null }))).toBe('Ollama');
    expect(nodeMeta(node({ state: 'unknown' }, { gpu: null, engine: null, version: null }))).toBe('http://192.168.1.20:11434');
  });

  it('shows memory against the size of the card only when that was typed', () => {
    const models = [model({ loaded: true, vram_bytes: 22_978_000_000, loaded_bytes: 22_978_000_000 })];
    expect(plain(memoryInUse(node({ state: 'up' }, { models })))).toBe('89 % of 24 GB');
    expect(plain(memoryInUse(node({ state: 'up' }, { models, vram_bytes: 22_978_000_001, vram_typed: false })))).toBe('23 GB in use');
    expect(memoryInUse(node())).toBe('');
    const all = [model({ loaded: true, vram_bytes: 2 ** 31, loaded_bytes: 2 ** 31 })];
    expect(plain(memoryInUse(node({ state: 'up' }, { models: all, vram_bytes: 2 ** 31 + 1, vram_typed: false })))).toBe('2.1 GB in use');
  });

  it('tells how long it has been waking, not how long it slept, and of how long', () => {
    const { sleep } = node();
    const waking = { stage: 'reachable' as const, started_ms: NOON - 23_000, timeout_ms: 120_000, rounds: 2, waiters: 0, by_person: true, asked_by: null };
    const face = (change: Partial<typeof sleep>): string => nodeFace(node({ state: 'waking', stage: 'reachable' }, { sleep: { ...sleep, can_wake: true, ...change } }), NOON).more;
    expect(face({ waking })).toBe('0:23');
    expect(face({ waking, usual_ms: 41_000 })).toBe('0:23 of ~0:41');
    expect([face({ waking, usual_ms: 40_100 }), face({ waking, usual_ms: 300 })]).toEqual(['0:23 of ~0:41', '0:23 of ~0:01']);
    expect(face({ usual_ms: 41_000 })).toBe('42:00');
  });

  it('says who waits for its wake, how many first', () => {
    const waking = { stage: 'reachable' as const, started_ms: NOON, timeout_ms: 120_000, rounds: 2, waiters: 3, by_person: false, asked_by: 'open-webui for coder' };
    const who = (change: Partial<typeof waking>, state = 'waking' as 'waking' | 'asleep'): string | null =>
      plain(wakeWaiters(node({ state, stage: 'reachable' } as State, { sleep: { ...node().sleep, waking: { ...waking, ...change } } })));
    expect(who({})).toBe('3 waiting · open-webui for coder');
    expect(who({ waiters: 0, asked_by: null as unknown as string })).toBe('');
    expect(who({}, 'asleep')).toBe('');
  });

  it('that did not wake is a problem, named, until it is tried again', () => {
    const failure = { code: 'never_answered', words: 'did not wake: called 5 times', at_ms: NOON - 5 * 60_000, checklist: [] };
    const face = (state: State, change = {}): string[] => {
      const { glyph, word, lamp } = nodeFace(node(state, { sleep: { ...node().sleep, can_wake: true, failure, ...change } }), NOON);
      return [glyph, word, lamp];
    };
    for (const state of ['asleep', 'away', 'down', 'unknown'] as const) expect(face({ state })).toEqual(['problem', 'did not wake', 'problem']);
    expect(face({ state: 'away' }, { elsewhere: true })[1]).toBe('away');
    expect(face({ state: 'refusing' })[1]).toBe('refusing');
    const since = (at_ms: number | null): string => plain(nodeFace(node({ state: 'asleep' }, { sleep: { ...node().sleep, failure: { ...failure, at_ms } } }), NOON).more) ?? '';
    expect([since(failure.at_ms), since(null)]).toEqual(['5 min ago', '']);
    expect(face({ state: 'asleep' }, { failure: null })).toEqual(['asleep', 'asleep', 'asleep']);
    expect(face({ state: 'up' })[1]).toBe('up');
    expect(face({ state: 'waking', stage: 'packet' })[1]).toBe('waking');
  });

  it('that is awake is not said to sleep', () => {
    const says = (code: string): string[] => {
      const failure = { code, words: '', at_ms: null, checklist: [] };
      const { word, says, glyph } = nodeFace(node({ state: 'down' }, { sleep: { ...node().sleep, failure } }), NOON);
      return [glyph, word, says];
    };
    expect(says('engine_closed')).toEqual(['problem', 'no engine', 'is awake, but its engine does not answer']);
    expect(says('still_loading')).toEqual(['problem', 'still loading', 'is awake, and its engine is still loading']);
    expect(says('without_model')).toEqual(['problem', 'model missing', 'is awake, but without the model that was asked for']);
    expect(says('nothing_sent')).toEqual(['problem', 'did not wake', 'did not wake']);
  });

  it('that lost its GPU is a problem while it answers, and still tells what runs', () => {
    const lost = { sleep: { ...node().sleep, gpu_lost: true }, active: 2, models: [model({ loaded: true })] };
    const face = nodeFace(node({ state: 'up' }, lost), NOON);
    expect([face.glyph, face.word, face.lamp, face.lit, plain(face.more)]).toEqual(['problem', 'no GPU', 'problem', false, '2 active']);
    expect(nodeFace(node({ state: 'asleep' }, lost), NOON).word).toBe('asleep');
    expect(nodeFace(node({ state: 'degraded' }, lost), NOON).word).toBe('unsteady');
  });

  it('is woken only where it is not there', () => {
    const may = (state: State, change: Partial<ReturnType<typeof node>['sleep']> = {}): boolean => mayBeWoken(node(state, { sleep: { ...node().sleep, can_wake: true, ...change } }));
    expect((['asleep', 'away', 'down', 'unknown', 'refusing', 'degraded', 'up'] as const).filter((state) => may({ state }))).toEqual(['asleep', 'away', 'down']);
    expect([may({ state: 'waking', stage: 'packet' }), may({ state: 'away' }, { elsewhere: true }), may({ state: 'asleep' }, { can_wake: false })]).toEqual([false, false, false]);
  });

  it('has the steps of its wake', () => {
    expect(wakeSteps(node({ state: 'waking', stage: 'api' })).map((step) => `${step.word} ${step.at}`)).toEqual(['packet done', 'reachable done', 'Ollama now', 'load model next']);
    expect(wakeSteps(node())).toEqual([]);
  });
});

describe('a loaded model', () => {
  const at = (expires_at: string | null): string | null => plain(unloadsIn(model({ expires_at }), NOON));
  it('says when it goes', () => {
    expect(at(new Date(NOON + 4 * 60_000).toISOString())).toBe('unloads in 4 min');
    expect(at(new Date(NOON + 20_100).toISOString())).toBe('unloads in 21 s');
    expect(at(new Date(NOON - 1).toISOString())).toBe('unloads now');
    expect(at('2318-01-01T00:00:00Z')).toBe('kept warm');
    expect(at(null)).toBeNull();
  });

  it('says its size in memory, and what share is on the GPU when it spilled', () => {
    const note = (change: object): string | null => plain(loadedNote(model({ loaded: true, ...change }), NOON));
    expect(note({ loaded_bytes: 20e9, vram_bytes: 20e9 })).toBe('20 GB');
    expect(note({ loaded_bytes: 20e9, vram_bytes: 12.5e9 })).toBe('20 GB · 62 % on the GPU');
    expect(note({ loaded_bytes: 2.1e9, vram_bytes: 0, expires_at: '2318-01-01T00:00:00Z' })).toBe('2.1 GB · kept warm');
  });
});

describe('a request', () => {
  const text = (change: object, nodes = [node({ state: 'up' }, { models: [model({ loaded: true })] })]): string => requestFace(request(change), nodes, NOON, NOON).text;

  it('says where it has got to', () => {
    expect(text({ stage: 'queued', ahead: 0 })).toBe('next in line');
    expect(text({ stage: 'queued', ahead: 1 })).toBe('2nd in line');
    expect(text({ stage: 'queued', ahead: 11 })).toBe('12th in line');
    expect(text({ stage: 'queued', node: null })).toBe('queued');
    expect(text({ stage: 'queued', ahead: 1 }, [node({ state: 'waking', stage: 'packet' })])).toBe('waking workstation');
    expect(text({ stage: 'sent' })).toBe('waiting for the first token');
    expect(text({ stage: 'sent' }, [node()])).toBe('loading the model');
    expect(text({ stage: 'sent', stream: false, operation: 'embeddings' })).toBe('embedding');
    expect(text({ stage: 'streaming' })).toBe('streaming');
  });

  it('waits for its turn, a machine, a model or the first token', () => {
    const wait = (change: object, nodes = [node({ state: 'up' }, { models: [model({ loaded: true })] })]): string => requestFace(request(change), nodes, NOON, NOON).wait;
    expect(wait({ stage: 'queued' })).toBe('q');
    expect(wait({ stage: 'queued' }, [node({ state: 'waking', stage: 'packet' })])).toBe('w');
    expect(wait({ stage: 'waking' })).toBe('w');
    expect(wait({ stage: 'sent' }, [node()])).toBe('l');
    expect(wait({ stage: 'sent' })).toBe('f');
    expect(wait({ stage: 'streaming' })).toBe('f');
  });

  it('says how long it will wait for a machine, whenever that wake began', () => {
    const line = (ago: number, usual_ms: number | null): string | null => {
      const waking = { stage: 'packet' as const, started_ms: NOON - ago, timeout_ms: 120_000, rounds: 1, waiters: 1, by_person: false, asked_by: null };
      const tower = node({ state: 'waking', stage: 'packet' }, { sleep: { ...node().sleep, waking, usual_ms } });
      return plain(requestFace(request({ stage: 'waking' }), [tower], NOON, NOON).line);
    };
    expect(line(8_000, 41_000)).toBe('waking 0:08 of ~0:41');
    expect(line(20_000, 41_000)).toBe('waking 0:08 of ~0:29');
    expect(line(8_000, null)).toBe('0:08 · waking workstation');
    expect(plain(requestFace(request({ stage: 'queued', ahead: 0 }), [], NOON, NOON).line)).toBe('0:08 · next in line');
  });

  it('has a speed from events since the first byte, once that means something', () => {
    const streaming = request({ stage: 'streaming', first_byte_ms: NOON - 2_000, events: 187 });
    expect(tokensPerSecond(streaming, NOON)).toBe(93);
    expect(plain(requestFace(streaming, [], NOON, NOON).rate)).toBe('93 tok/s');
    expect(tokensPerSecond({ ...streaming, events: 2 }, NOON)).toBeNull();
    expect(tokensPerSecond({ ...streaming, first_byte_ms: NOON - 100 }, NOON)).toBeNull();
    expect(tokensPerSecond({ ...streaming, stream: false }, NOON)).toBeNull();
  });

  it('names the model on its node only when that says more', () => {
    const other = (model: string, node_model: string | null, node: string | null = 'nas'): string | null => otherName(request({ model, node_model, node }));
    expect(other('coder', 'qwen3-coder:30b')).toBe('qwen3-coder:30b');
    expect(other('llama3.2:3b@nas', 'llama3.2:3b')).toBeNull();
    expect(other('llama3', 'llama3:latest')).toBeNull();
    expect(other('llama3@nas', 'llama3:latest')).toBeNull();
    expect(other('hf.co/a@b/c', 'hf.co/a')).toBe('hf.co/a');
    expect(other('x', null)).toBeNull();
  });

  it('splits its time into waiting and streaming', () => {
    const face = requestFace(request({ first_byte_ms: NOON - 3_000 }), [], NOON, NOON);
    expect([face.waited_ms, face.streamed_ms, face.clock]).toEqual([5_000, 3_000, '0:08']);
  });
});

describe('the house', () => {
  it('says itself in one line', () => {
    expect(plain(houseLine(house()))).toBe('no machines yet');
    const nodes = [node(), node({ state: 'degraded' }, { name: 'b' }), node({ state: 'waking', stage: 'packet' }, { name: 'c' })];
    const problems = [{ code: 'x', level: 'problem' as const, message: 'm', hint: null, node: null }];
    expect(plain(houseLine(house({ nodes, problems })))).toBe('2 of 3 machines up, 1 waking, 1 to look at');
    expect(plain(houseLine(house({ nodes: [node()] })))).toBe('1 of 1 machine up');
    const failure = { code: 'never_answered', words: 'did not wake', at_ms: 0, checklist: [] };
    expect(plain(houseLine(house({ nodes: [node(), node({ state: 'asleep' }, { name: 'b', sleep: { ...node().sleep, failure } })], problems })))).toBe('1 of 2 machines up, 1 did not wake, 1 to look at');
    const closed = { ...failure, code: 'engine_closed' };
    const troubled = [node({ state: 'up' }, { sleep: { ...node().sleep, gpu_lost: true } }), node({ state: 'down' }, { name: 'b', sleep: { ...node().sleep, failure: closed } })];
    expect(plain(houseLine(house({ nodes: troubled })))).toBe('1 of 2 machines up, 1 not ready, 1 without its GPU');
  });

  it('has one lamp, the most pressing first', () => {
    const cpu = node({ state: 'up' }, { gpu: null, vram_bytes: null });
    const notice = [{ code: 'x', level: 'notice' as const, message: 'm', hint: null, node: null }];
    const paused: Gateway = { ...house().gateway, mode: 'paused' };
    expect(houseLamp(house())).toBe('dark');
    expect(houseLamp(house({ nodes: [cpu], problems: notice }))).toBe('low');
    expect(houseLamp(house({ nodes: [node()] }))).toBe('lit');
    expect(houseLamp(house({ nodes: [node()], requests: [request()] }))).toBe('busy');
    expect(houseLamp(house({ nodes: [node({ state: 'waking', stage: 'api' })], requests: [request()] }))).toBe('waking');
    expect(houseLamp(house({ gateway: paused, nodes: [node()] }))).toBe('paused');
    expect(houseLamp(house({ gateway: paused, problems: [{ ...notice[0]!, level: 'problem' }] }))).toBe('alert');
    const { sleep } = node();
    const failure = { code: 'never_answered', words: 'did not wake', at_ms: 0, checklist: [] };
    expect(houseLamp(house({ nodes: [node(), node({ state: 'asleep' }, { sleep: { ...sleep, failure } })] }))).toBe('alert');
    expect(houseLamp(house({ nodes: [node({ state: 'up' }, { sleep: { ...sleep, gpu_lost: true } })] }))).toBe('alert');
    expect(houseLamp(house({ nodes: [node({ state: 'asleep' }, { sleep: { ...sleep, gpu_lost: true } })] }))).toBe('dark');
  });

  it('is found again by the file it runs with', () => {
    const { gateway } = house();
    expect(openCommand(null)).toBe('lamplighter open');
    expect(openCommand(gateway)).toBe('lamplighter open');
    expect(openCommand({ ...gateway, config_path: 'C:\\Users\\Ada\\AppData\\Roaming\\lamplighter\\config.toml' })).toBe('lamplighter open');
    expect(openCommand({ ...gateway, demo: true })).toBe('lamplighter --demo open');
    expect(openCommand({ ...gateway, config_path: '/srv/house.toml' })).toBe('lamplighter --config /srv/house.toml open');
    expect(openCommand({ ...gateway, config_path: '/srv/my house.toml' })).toBe('lamplighter --config "/srv/my house.toml" open');
  });

  it('routes by itself unless the gateway says otherwise', () => {
    const { gateway } = house();
    expect(routing(gateway)).toEqual({ mode: 'auto', until_ms: null });
    expect(routing({ ...gateway, mode: 'paused', paused_until_ms: NOON })).toEqual({ mode: 'paused', until_ms: NOON });
    expect(routing({ ...gateway, mode: 'local', paused_until_ms: NOON }).until_ms).toBeNull();
  });
});

describe('a name for a machine', () => {
  it.each([
    ['nas', 'nas'],
    ['http://NAS.local:11434/v1', 'nas'],
    ['gpu_box:8080', 'gpu-box'],
    ['192.168.1.20:11434', '192-168-1-20'],
    ['https://user:pw@api.example.org/x?y', 'api'],
    ['[fd00::1]:11434', 'fd00-1'],
    ['', ''],
  ])('from %s is %s', (address, name) => {
    expect(suggestName(address)).toBe(name);
    expect(name === '' || isNodeName(name)).toBe(true);
  });
});
