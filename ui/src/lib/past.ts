// A past wake as a bar: its stages one after the other, on the scale of the longest.
import type { PastWake } from './api';
import { words } from './words';

/** A stage of a wake that took time; `lost`: it led nowhere. */
export type PastStage = { kind: 'network' | 'engine' | 'ready' | 'lost'; word: string; ms: number };

/** Where the time went. What took no time is left out. */
export function pastStages(wake: PastWake): PastStage[] {
  const marks = [
    ['network', wake.reachable_ms],
    ['engine', wake.api_ms],
    ['ready', wake.ready_ms],
    ['lost', wake.outcome === 'ready' ? null : wake.ended_ms],
  ] as const;
  let before = 0;
  const parts: PastStage[] = [];
  for (const [kind, at] of marks) {
    if (at === null || at <= before) continue;
    parts.push({ kind, word: kind === 'lost' ? words.node.pastLost : words.node.pastStage[kind], ms: at - before });
    before = at;
  }
  return parts;
}

/** How long a wake took, or was tried. */
export function pastLength(wake: PastWake): number {
  return Math.max(0, wake.ready_ms ?? wake.ended_ms ?? 0);
}

/** `41 s`, `9.0 s` */
export const seconds = (ms: number): string => words.node.pastSeconds((ms / 1000).toFixed(ms < 10_000 ? 1 : 0));

/** `awake, 41 s` */
export function pastOutcome(wake: PastWake): string {
  // A machine that was reached did wake.
  const notReady = wake.outcome === 'failed' && wake.reachable_ms !== null;
  const outcome = wake.outcome === null ? '' : notReady ? words.node.pastNotReady : words.node.pastOutcome[wake.outcome];
  return [outcome, pastLength(wake) > 0 ? seconds(pastLength(wake)) : ''].filter(Boolean).join(', ');
}
