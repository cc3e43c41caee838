// A machine's last day: what its cells say, in words and in numbers.
import type { Cell } from './api';
import { span } from './format';
import { words } from './words';

const KINDS = ['up', 'asleep', 'away', 'down', 'part', 'no-data'] as const;
const MINUTE_MS = 60_000;
const QUARTER_MS = 15 * MINUTE_MS;
const HOUR_MS = 60 * MINUTE_MS;
/** Less than this says nothing about a day; from here on it is as good as one. */
const [SOME_MS, DAY_MS] = [4 * HOUR_MS, 20 * HOUR_MS];
type Kind = (typeof KINDS)[number];

/** How much of a cell was of each kind, in per cent. What a part cell was besides up is not told. */
function shares(cell: Cell): Partial<Record<Kind, number>> {
  if (cell.cell === 'part') return { up: cell.share, part: 100 - cell.share };
  return { [cell.cell === 'answered' ? 'up' : cell.cell]: 100 };
}

/** The day of a machine of which nothing is known yet. */
export const NO_DAY: readonly Cell[] = Array.from({ length: 96 }, () => ({ cell: 'no-data' }) as const);

/** One sentence that says what the bar shows. */
export function daySentence(cells: readonly Cell[]): string {
  const sum: Record<Kind, number> = { up: 0, asleep: 0, away: 0, down: 0, part: 0, 'no-data': 0 };
  for (const cell of cells) for (const [kind, share] of Object.entries(shares(cell)) as [Kind, number][]) sum[kind] += share;
  const percent = (kind: Kind): number => Math.round(sum[kind] / Math.max(1, cells.length));
  const parts = KINDS.filter((kind) => percent(kind) > 0).map((kind) => words.day.part(kind === 'part' ? words.day.notUp : words.day.cell[kind], percent(kind)));
  return words.day.of(parts.join(', '));
}

/** How much of what is known of the day it was up, in words; empty while too little is known to tell. */
export function upShare(cells: readonly Cell[]): string {
  const known = cells.filter((cell) => cell.cell !== 'no-data');
  const known_ms = known.length * QUARTER_MS;
  if (known_ms < SOME_MS) return '';
  const up = Math.round(known.reduce((sum, cell) => sum + (shares(cell).up ?? 0), 0) / known.length);
  return known_ms < DAY_MS ? words.day.upOf(up, Math.round(known_ms / HOUR_MS)) : words.day.up(up);
}

/** What one cell says, with its time. The newest one has only lasted until now. */
export function cellSentence(cell: Cell, from_ms: number, slot_ms: number, now_ms: number): string {
  const to_ms = Math.min(from_ms + slot_ms, Math.max(now_ms, from_ms + MINUTE_MS));
  const time = span(from_ms, to_ms < from_ms + slot_ms ? null : to_ms, now_ms);
  if (cell.cell !== 'part') return words.day.at(time, words.day.cell[cell.cell]);
  const all = Math.round((to_ms - from_ms) / MINUTE_MS);
  const up = Math.min(all, Math.max(1, Math.round((all * cell.share) / 100)));
  return words.day.at(time, words.day.partOf(up, all));
}
