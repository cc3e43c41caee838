import { describe, expect, it } from 'vitest';
import type { Cell } from './api';
import { cellSentence, daySentence, upShare } from './day';
import { unit } from './words';

const cells = (count: number, cell: Cell): Cell[] => Array.from({ length: count }, () => cell);

describe('the last day', () => {
  it('says what the bar shows', () => {
    const day = [...cells(48, { cell: 'asleep' }), ...cells(24, { cell: 'up' }), ...cells(12, { cell: 'answered' }), ...cells(12, { cell: 'no-data' })];
    expect(daySentence(day)).toBe(`Last 24 hours: up ${unit('38', '%')}, asleep ${unit('50', '%')}, no data ${unit('13', '%')}`);
    expect(daySentence(cells(96, { cell: 'part', share: 50 }))).toBe(`Last 24 hours: up ${unit('50', '%')}, down ${unit('50', '%')}`);
  });

  it('says how much of what is known it was up', () => {
    expect(upShare([...cells(48, { cell: 'no-data' }), ...cells(24, { cell: 'up' }), ...cells(24, { cell: 'asleep' })])).toBe(`up ${unit('50', '%')} of the day`);
    expect(upShare(cells(96, { cell: 'no-data' }))).toBe('');
  });

  it('says what one quarter of an hour was', () => {
    expect(cellSentence({ cell: 'answered' }, '14:15')).toBe('14:15 up, answered requests');
    expect(cellSentence({ cell: 'part', share: 3 }, '14:15')).toBe('14:15 up part of the time');
  });
});
