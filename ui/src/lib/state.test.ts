// Contact with the gateway: fresh, lost after a grace, back again, locked; with backoff, and no clock that runs on old data.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Locked } from './api';
import { house as snapshot, NOON } from './fixture';
import { backoff, House, type Source } from './state.svelte';
import type { Snapshot } from './types/Snapshot';

/** A stream that a test plays by hand: each try of the house is one entry. */
class Stage {
  tries: { send: (one: Snapshot) => void; fail: (why?: Error) => void; end: () => void; aborted: () => boolean }[] = [];
  source: Source = (signal) => {
    const queue: (Snapshot | Error | null)[] = [];
    let wake = (): void => undefined;
    const put = (one: Snapshot | Error | null): void => {
      queue.push(one);
      wake();
    };
    signal.addEventListener('abort', () => put(null));
    this.tries.push({ send: put, fail: (why = new Error('gone')) => put(why), end: () => put(null), aborted: () => signal.aborted });
    return (async function* () {
      for (;;) {
        while (queue.length === 0) await new Promise<void>((go) => (wake = go));
        const one = queue.shift();
        if (one instanceof Error) throw one;
        if (!one) return;
        yield one;
      }
    })();
  };
  get last() {
    return this.tries.at(-1)!;
  }
}

let stage: Stage;
let house: House;
const settle = (ms = 0): Promise<void> => vi.advanceTimersByTimeAsync(ms).then(() => undefined);

beforeEach(() => {
  vi.useFakeTimers({ now: NOON });
  stage = new Stage();
  house = new House(stage.source);
  house.start();
});
afterEach(() => {
  house.stop();
  vi.useRealTimers();
});

describe('backoff', () => {
  it('grows from half a second to five', () => {
    expect([1, 2, 3, 4, 5, 6, 60].map(backoff)).toEqual([500, 1_000, 2_000, 4_000, 5_000, 5_000, 5_000]);
  });
});

describe('the house', () => {
  it('is live from the first snapshot on', async () => {
    expect(house.contact).toBe('starting');
    stage.last.send(snapshot());
    await settle();
    expect([house.contact, house.ready, house.snapshot?.seq]).toEqual(['live', true, 1]);
  });

  it('does not flinch when the gateway restarts within a second', async () => {
    stage.last.send(snapshot());
    await settle();
    stage.last.end();
    await settle(500);
    expect([house.contact, stage.tries.length]).toEqual(['live', 2]);
    stage.last.send(snapshot({ seq: 2 }));
    await settle(5_000);
    expect([house.contact, house.snapshot?.seq]).toEqual(['live', 2]);
  });

  it('says so when contact stays lost, keeps what it knew, and tries again with growing waits', async () => {
    stage.last.send(snapshot());
    await settle();
    stage.last.fail();
    await settle(1_000);
    expect([house.contact, house.snapshot?.seq]).toEqual(['lost', 1]);
    const at: number[] = [];
    for (let n = 0; n < 4; n += 1) {
      const before = stage.tries.length;
      stage.last.fail();
      const began = Date.now();
      while (stage.tries.length === before) await settle(100);
      at.push(Date.now() - began);
    }
    expect(at).toEqual([1_000, 2_000, 4_000, 5_000]);
  });

  it('starts over with short waits after it was back', async () => {
    for (let n = 0; n < 5; n += 1) {
      stage.last.fail();
      await settle(5_000);
    }
    stage.last.send(snapshot());
    await settle();
    const tries = stage.tries.length;
    stage.last.fail();
    await settle(499);
    expect(stage.tries.length).toBe(tries);
    await settle(1);
    expect(stage.tries.length).toBe(tries + 1);
  });

  it('tries at once when asked', async () => {
    for (let n = 0; n < 5; n += 1) {
      stage.last.fail();
      await settle(5_000);
    }
    stage.last.fail();
    await settle();
    const tries = stage.tries.length;
    expect(house.retry_ms).toBe(Date.now() + 5_000);
    house.tryNow();
    await settle();
    expect([stage.tries.length, house.retry_ms]).toEqual([tries + 1, 0]);
  });

  it('is lost, not live, when it never heard anything', async () => {
    stage.last.fail();
    await settle();
    expect([house.contact, house.snapshot]).toEqual(['lost', null]);
  });

  it('waits for a person when there is no key', async () => {
    stage.last.fail(new Locked('spent'));
    await settle(600_000);
    expect([house.contact, house.lock, stage.tries.length]).toEqual(['locked', 'spent', 1]);
    house.tryNow();
    await settle();
    stage.last.send(snapshot());
    await settle();
    expect(house.contact).toBe('live');
  });

  it('runs on the gateway’s clock, and stands still on old data', async () => {
    const theirs = NOON + 3_600_000;
    stage.last.send(snapshot({ at_ms: theirs }));
    await settle();
    expect(house.now_ms).toBe(theirs);
    await settle(3_000);
    expect(house.now_ms).toBe(theirs + 3_000);
    stage.last.fail();
    await settle(1_000);
    stage.last.fail();
    await settle(60_000);
    expect(house.now_ms).toBe(theirs);
  });

  it('ends its stream when stopped', async () => {
    const { last } = stage;
    house.stop();
    await settle(60_000);
    expect([last.aborted(), stage.tries.length]).toEqual([true, 1]);
  });
});
