import { describe, expect, it } from 'vitest';
import type { Cell } from './api';
import { cellSentence, daySentence, NO_DAY, upShare } from './day';
import { unit } from './words';

const cells = (count: number, cell: Cell): Cell[] => Array.from({ length: count }, () => cell);

describe('the last day', () => {
  it('says what the bar shows', () => {
    const day = [...cells(48, { cell: 'asleep' }), ...cells(24, { cell: 'up' }), ...cells(12, { cell: 'answered' }), ...cells(12, { cell: 'no-data' })];
    expect(daySentence(day)).toBe(`Last 24 hours: up ${unit('38', '%')}, asleep ${unit('50', '%')}, no data ${unit('13', '%')}`);
    expect(daySentence(cells(96, { cell: 'part', share: 50 }))).toBe(`Last 24 hours: up ${unit('50', '%')}, not up ${unit('50', '%')}`);
  });

  it('says how much of what is known it was up, and of how much, once that is enough', () => {
    const known = (hours: number): string => upShare([...cells(96 - 4 * hours, { cell: 'no-data' }), ...cells(2 * hours, { cell: 'up' }), ...cells(2 * hours, { cell: 'asleep' })]);
    expect(known(24)).toBe(`up ${unit('50', '%')} of the day`);
    expect(known(12)).toBe(`up ${unit('50', '%')} of ${unit('12', 'h')}`);
    expect(known(3)).toBe('');
    expect(upShare([...cells(95, { cell: 'no-data' }), { cell: 'up' }])).toBe('');
    expect(upShare(NO_DAY)).toBe('');
  });

  it('says what one quarter of an hour was', () => {
    const at = new Date(2026, 10, 20, 14, 15).getTime();
    const QUARTER = 900_000;
    const says = (cell: Cell, now_ms = at + 3_600_000): string => cellSentence(cell, at, QUARTER, now_ms).replace(/\u00A0/g, ' ');
    expect(says({ cell: 'answered' })).toBe('14:15–14:30 up, answered requests');
    expect(says({ cell: 'part', share: 60 })).toBe('14:15–14:30 up 9 of 15 min');
    expect(says({ cell: 'part', share: 3 })).toBe('14:15–14:30 up 1 of 15 min');
    expect(says({ cell: 'part', share: 50 }, at + 8 * 60_000)).toBe('14:15–now up 4 of 8 min');
    expect(says({ cell: 'part', share: 99 }, at)).toBe('14:15–now up 1 of 1 min');
    expect(says({ cell: 'asleep' }, at + QUARTER)).toBe('14:15–14:30 asleep');
  });
});
