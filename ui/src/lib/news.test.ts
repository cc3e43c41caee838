// What a screen reader hears, and the notes in the corner.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Locked, Refusal } from './api';
import { house, node } from './fixture';
import { news } from './news';
import { Talk } from './talk.svelte';

describe('news', () => {
  const before = house({ nodes: [node(), node({ state: 'away' }, { name: 'laptop' })] });

  it('is silent at first, and about numbers', () => {
    expect(news(null, before)).toEqual([]);
    expect(news(before, house({ nodes: [node({ state: 'up' }, { active: 5 }), before.nodes[1]!] }))).toEqual([]);
  });

  it('tells who changed, came and left, and a problem once', () => {
    const problems = [{ code: 'node_down', level: 'problem' as const, message: 'workstation is down', hint: null, node: 'workstation' }];
    const after = house({ nodes: [node({ state: 'down' }), node({ state: 'up' }, { name: 'nas' })], problems });
    expect(news(before, after)).toEqual(['workstation is down', 'nas was added', 'laptop was removed', 'workstation is down']);
    expect(news(after, { ...after, seq: 2 })).toEqual([]);
  });

  it('reads out each question once: it stands there for seconds only', () => {
    const prompt = { node: 'tower', model: 'coder', client: 'cline', until_ms: 20_000 };
    const asked = { ...before, prompts: [prompt] };
    expect(news(before, asked)).toEqual(['Wake tower? cline asks for coder']);
    expect(news(asked, { ...asked, prompts: [{ ...prompt }] })).toEqual([]);
    expect(news(asked, { ...asked, prompts: [{ ...prompt, until_ms: 40_000 }] })).toEqual(['Wake tower? cline asks for coder']);
    expect(news(asked, before)).toEqual([]);
  });

  it('tells that a machine did not wake', () => {
    const failure = { code: 'never_answered', words: 'did not wake', at_ms: 0, checklist: [] };
    const failed = house({ nodes: [node({ state: 'asleep' }, { sleep: { ...node().sleep, failure } })] });
    expect(news(house({ nodes: [node({ state: 'waking', stage: 'packet' })] }), failed)).toEqual(['workstation did not wake']);
    const lost = house({ nodes: [node({ state: 'up' }, { sleep: { ...node().sleep, gpu_lost: true } })] });
    expect(news(house({ nodes: [node({ state: 'waking', stage: 'api' })] }), lost)).toEqual(['workstation is up, but without its GPU']);
  });
});

describe('talk', () => {
  let talk: Talk;
  beforeEach(() => {
    vi.useFakeTimers();
    talk = new Talk();
  });
  afterEach(() => vi.useRealTimers());

  it('reads together what comes together, each sentence once', () => {
    talk.say('a is up');
    talk.say('b is down');
    talk.say('a is up');
    expect(talk.line).toBe('');
    vi.advanceTimersByTime(600);
    expect(talk.line).toBe('a is up. b is down');
  });

  it('reads the same sentence again when it is said again', () => {
    talk.say('copied');
    vi.advanceTimersByTime(600);
    const first = talk.line;
    talk.say('copied');
    vi.advanceTimersByTime(600);
    expect(talk.line).not.toBe(first);
    expect(talk.line.trim()).toBe('copied');
  });

  it('keeps two notes, lets good news go by itself, and bad news stay', () => {
    talk.note('one');
    talk.note('two');
    talk.note('three', 'because', true);
    expect(talk.notes.map((note) => note.text)).toEqual(['two', 'three']);
    vi.advanceTimersByTime(60_000);
    expect(talk.notes.map((note) => note.text)).toEqual(['three']);
    talk.dismiss(talk.notes[0]!.id);
    expect(talk.notes).toEqual([]);
  });

  it('says what became of an order', async () => {
    expect(await talk.act(Promise.resolve(), 'done')).toBe(true);
    expect(await talk.act(Promise.reject(new Refusal(409, 'no_room', 'it does not fit', 'unload something')))).toBe(false);
    expect(talk.notes.map((note) => [note.text, note.hint, note.problem])).toEqual([
      ['done', '', false],
      ['it does not fit', 'unload something', true],
    ]);
    expect(await talk.act(Promise.reject(new Locked('refused')))).toBe(false);
    await expect(talk.act(Promise.reject(new TypeError('a bug')))).rejects.toThrow('a bug');
  });
});
