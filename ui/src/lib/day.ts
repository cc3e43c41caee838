// A machine's last day: what its cells say, in words and in numbers.
import type { Cell } from './api';
import { words } from './words';

const KINDS = ['up', 'asleep', 'away', 'down', 'no-data'] as const;
type Kind = (typeof KINDS)[number];

/** How much of a cell was of each kind, in per cent. */
function shares(cell: Cell): Partial<Record<Kind, number>> {
  if (cell.cell === 'part') return { up: cell.share, down: 100 - cell.share };
  return { [cell.cell === 'answered' ? 'up' : cell.cell]: 100 };
}

/** The day of a machine of which nothing is known yet. */
export const NO_DAY: readonly Cell[] = Array.from({ length: 96 }, () => ({ cell: 'no-data' }) as const);

/** One sentence that says what the bar shows. */
export function daySentence(cells: readonly Cell[]): string {
  const sum: Record<Kind, number> = { up: 0, asleep: 0, away: 0, down: 0, 'no-data': 0 };
  for (const cell of cells) for (const [kind, share] of Object.entries(shares(cell)) as [Kind, number][]) sum[kind] += share;
  const percent = (kind: Kind): number => Math.round(sum[kind] / Math.max(1, cells.length));
  const parts = KINDS.filter((kind) => percent(kind) > 0).map((kind) => words.day.part(words.day.cell[kind], percent(kind)));
  return words.day.of(parts.join(', '));
}

/** How much of what is known of the day it was up, in words; empty while nothing is known. */
export function upShare(cells: readonly Cell[]): string {
  const known = cells.filter((cell) => cell.cell !== 'no-data');
  if (known.length === 0) return '';
  const up = known.reduce((sum, cell) => sum + (shares(cell).up ?? 0), 0) / known.length;
  return words.day.up(Math.round(up));
}

/** What one cell says, with its time. */
export function cellSentence(cell: Cell, time: string): string {
  return words.day.at(time, words.day.cell[cell.cell]);
}
