// Sizes, durations, counts and rates at their edges.
import { describe, expect, it } from 'vitest';
import { age, count, memory, moment, parseTime, rate, since, size, until, watch } from './format';

const plain = (text: string): string => text.replace(/\u00A0/g, ' ');
const [S, MIN, H, D] = [1_000, 60_000, 3_600_000, 86_400_000];

describe('sizes', () => {
  it.each([
    [0, '0 kB'],
    [1, '1 kB'],
    [274_302_450, '274 MB'],
    [999_999_999, '1000 MB'],
    [1_000_000_000, '1 GB'],
    [19_851_349_856, '19.9 GB'],
    [142e9, '142 GB'],
    [1.5e12, '1.5 TB'],
  ])('%d bytes on disk is %s', (bytes, text) => expect(plain(size(bytes))).toBe(text));

  it('memory is counted as graphics cards are sold', () => {
    expect(memory(24 * 2 ** 30)).toBe('24');
    expect(memory(22_978_000_000)).toBe('21.4');
  });
});

describe('durations', () => {
  it.each([
    [-5, '0 s'],
    [59 * S, '59 s'],
    [60 * S, '1 min'],
    [119 * MIN, '119 min'],
    [2 * H, '2 h'],
    [47 * H, '47 h'],
    [2 * D, '2 d'],
    [12.9 * D, '12 d'],
  ])('an age of %d ms is %s', (ms, text) => expect(plain(age(ms))).toBe(text));

  it.each([
    [0, '0 s'],
    [200, '1 s'],
    [61 * S, '2 min'],
    [4 * MIN, '4 min'],
    [90 * MIN, '2 h'],
    [49 * H, '3 d'],
  ])('%d ms from now is in %s', (ms, text) => expect(plain(until(ms))).toBe(text));

  it.each([
    [-1, '0:00'],
    [23_999, '0:23'],
    [725_000, '12:05'],
    [3_723_000, '1:02:03'],
  ])('a clock at %d ms shows %s', (ms, text) => expect(watch(ms)).toBe(text));

  it('a moment is told as shortly as it can be', () => {
    const now = new Date(2026, 10, 20, 14, 31).getTime();
    expect(moment(new Date(2026, 10, 20, 14, 2).getTime(), now)).toBe('14:02');
    expect(moment(new Date(2026, 10, 17, 14, 2).getTime(), now)).toBe('Tue 14:02');
    expect(moment(new Date(2026, 10, 3, 14, 2).getTime(), now)).toMatch(/^3 Nov.* 14:02$/);
  });
});

describe('since when', () => {
  it('follows the calendar, not the clock', () => {
    const now = new Date(2026, 10, 20, 0, 30).getTime();
    expect(since(new Date(2026, 10, 20, 0, 10).getTime(), now)).toBe('since 00:10');
    expect(since(new Date(2026, 10, 19, 23, 50).getTime(), now)).toBe('since yesterday 23:50');
    expect(plain(since(new Date(2026, 10, 18, 23, 50).getTime(), now))).toBe('for 2 days');
    expect(since(now + 60_000, now)).toBe('since 00:31');
  });
});

describe('counts and rates', () => {
  it.each([
    [0, '0'],
    [9_999, '9,999'],
    [10_000, '10 k'],
    [41_260, '41.3 k'],
    [412_400, '412 k'],
    [999_600, '1 M'],
    [12_340_000, '12.3 M'],
  ])('%d is %s', (n, text) => expect(plain(count(n))).toBe(text));

  it('rates are whole from ten on', () => {
    expect([0.84, 9.4, 9.96, 93.4, 1204].map(rate)).toEqual(['0.8', '9.4', '10', '93', '1,204']);
  });
});

describe('times that engines write', () => {
  it('nine digits, an offset, nothing, nonsense', () => {
    expect(parseTime('2026-11-20T13:00:00.123456789+01:00')).toBe(Date.UTC(2026, 10, 20, 12, 0, 0, 123));
    expect(parseTime('2318-01-01T00:00:00Z')).toBe(Date.UTC(2318, 0, 1));
    expect(parseTime(null)).toBeNull();
    expect(parseTime('soon')).toBeNull();
  });
});
