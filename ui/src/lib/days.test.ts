// When the last day of the machines is asked for.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Days } from './days.svelte';

describe('the days', () => {
  let asked = 0;
  let days: Days;
  beforeEach(() => {
    vi.useFakeTimers();
    asked = 0;
    days = new Days(async () => ({ from_ms: ++asked, slot_ms: 900_000, nodes: {} }));
  });
  afterEach(() => vi.useRealTimers());

  it('are asked for at the start, and every five minutes', async () => {
    days.start();
    days.follow('nas up');
    await vi.advanceTimersByTimeAsync(60_000);
    expect([asked, days.known?.from_ms]).toEqual([1, 1]);
    await vi.advanceTimersByTimeAsync(4 * 60_000);
    expect(asked).toBe(2);
  });

  it('are asked for soon after a change, once for several, and again when time in the new state was noted', async () => {
    days.start();
    days.follow('tower asleep');
    days.follow('tower waking');
    days.follow('tower up');
    await vi.advanceTimersByTimeAsync(2_000);
    expect(asked).toBe(2);
    days.follow('tower up');
    await vi.advanceTimersByTimeAsync(40_000);
    expect(asked).toBe(3);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(asked).toBe(3);
  });

  it('rest when nobody looks, and keep the last one when there is no answer', async () => {
    days.start();
    days.follow('a up');
    days.follow('a down');
    days.stop();
    await vi.advanceTimersByTimeAsync(600_000);
    expect(asked).toBe(1);
    let fails = false;
    const shaky = new Days(() => (fails ? Promise.reject(new Error('gone')) : Promise.resolve({ from_ms: 7, slot_ms: 1, nodes: {} })));
    shaky.start();
    await vi.advanceTimersByTimeAsync(0);
    fails = true;
    await vi.advanceTimersByTimeAsync(300_000);
    expect(shaky.known?.from_ms).toBe(7);
    shaky.stop();
  });
});
