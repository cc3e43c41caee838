// Past wakes as bars and words.
import { describe, expect, it } from 'vitest';
import type { PastWake } from './api';
import { pastLength, pastOutcome, pastStages } from './past';
import { unit } from './words';

const wake = (change: Partial<PastWake> = {}): PastWake => ({
  started_ms: 0,
  cause: 'person',
  asked_by: null,
  outcome: 'ready',
  reason: null,
  rounds: 3,
  reachable_ms: 9_000,
  api_ms: 31_000,
  ready_ms: 41_000,
  ended_ms: 41_000,
  ...change,
});
const bar = (change: Partial<PastWake>): string => pastStages(wake(change)).map(({ kind, ms }) => `${kind} ${ms}`).join(', ');

describe('a past wake', () => {
  it('is told by its stages, without those that took no time', () => {
    expect(bar({})).toBe('network 9000, engine 22000, ready 10000');
    expect(bar({ reachable_ms: 9_000, api_ms: 9_000, ready_ms: 9_000 })).toBe('network 9000');
    expect(bar({ reachable_ms: null })).toBe('engine 31000, ready 10000');
  });

  it('that led nowhere shows where it was lost', () => {
    const failed = { outcome: 'failed', api_ms: null, ready_ms: null, ended_ms: 120_000 } as const;
    expect(bar(failed)).toBe('network 9000, lost 111000');
    expect(bar({ ...failed, reachable_ms: null })).toBe('lost 120000');
    expect(bar({ outcome: null, reachable_ms: null, api_ms: null, ready_ms: null, ended_ms: null })).toBe('');
  });

  it('says how it ended and how long it took', () => {
    expect(pastOutcome(wake())).toBe(`awake, ${unit('41', 's')}`);
    expect(pastOutcome(wake({ ready_ms: 9_040 }))).toBe(`awake, ${unit('9.0', 's')}`);
    expect(pastOutcome(wake({ outcome: 'cancelled', ready_ms: null, ended_ms: null }))).toBe('cancelled');
    const failed = { outcome: 'failed', api_ms: null, ready_ms: null, ended_ms: 120_000 } as const;
    expect(pastOutcome(wake({ ...failed, reachable_ms: null }))).toBe(`did not wake, ${unit('120', 's')}`);
    expect(pastOutcome(wake(failed))).toBe(`not ready, ${unit('120', 's')}`);
    expect(pastLength(wake({ outcome: 'failed', ready_ms: null, ended_ms: 120_000 }))).toBe(120_000);
  });
});
