// The one picture of the house that every part shows: fed by one event stream, and honest about losing it.
import { Locked, Refusal, snapshots as stream, type LockReason } from './api';
import type { Snapshot } from './types/Snapshot';

/** `starting`: nothing heard yet. `live`: the picture is fresh. `lost`: it is old. `locked`: there is no way in. */
export type Contact = 'starting' | 'live' | 'lost' | 'locked';

/** Where snapshots come from; a test brings its own. */
export type Source = (signal: AbortSignal) => AsyncIterable<Snapshot>;

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 5_000;
/** A gateway that restarts is back within this: no alarm for that. */
const GRACE_MS = 1_000;
/** Clocks of two machines that differ by less are taken as equal, so that seconds tick evenly. */
const SAME_CLOCK_MS = 1_500;

/** How long to wait after the nth failure in a row: 0.5, 1, 2, 4, 5, 5 … seconds. */
export function backoff(failures: number): number {
  return Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.max(0, failures - 1));
}

/** The house as last heard of, and how fresh that is. */
export class House {
  /** The newest snapshot; null until the first. Never changed in place. */
  snapshot = $state.raw<Snapshot | null>(null);
  contact = $state<Contact>('starting');
  lock = $state<LockReason>('none');
  /** Why there is no gateway, in the shell's words; empty when it did not say. */
  why = $state('');
  /** When the next try begins, by this machine's clock; 0 while one is under way. */
  retry_ms = $state(0);
  /** When the last snapshot came, by this machine's clock. */
  heard_ms = $state(0);
  /** The second hand, by this machine's clock. */
  tick_ms = $state(Date.now());

  #source: Source;
  #ahead_ms = 0;
  #stop: AbortController | null = null;
  #wake: (() => void) | null = null;
  #grace: ReturnType<typeof setTimeout> | null = null;
  #second: ReturnType<typeof setInterval> | null = null;

  constructor(source: Source = stream) {
    this.#source = source;
  }

  /** Now by the gateway's clock; stands still while contact is lost, so that no old count runs on. */
  get now_ms(): number {
    if (this.snapshot !== null && this.contact !== 'live') return this.snapshot.at_ms;
    return Math.max(this.tick_ms + this.#ahead_ms, this.snapshot?.at_ms ?? 0);
  }

  /** May buttons that ask the gateway for something be pressed? */
  get ready(): boolean {
    return this.contact === 'live';
  }

  /** Begins to listen, and goes on until `stop`. */
  start(): void {
    if (this.#stop) return;
    this.#stop = new AbortController();
    this.#second = setInterval(() => (this.tick_ms = Date.now()), 1_000);
    void this.#listen(this.#stop.signal);
  }

  /** Ends the stream and every timer. */
  stop(): void {
    this.#stop?.abort();
    this.#stop = null;
    this.#wake?.();
    if (this.#second) clearInterval(this.#second);
    this.#forgive();
  }

  /** Does not wait for the next try. */
  tryNow(): void {
    this.#wake?.();
  }

  async #listen(signal: AbortSignal): Promise<void> {
    let failures = 0;
    while (!signal.aborted) {
      this.retry_ms = 0;
      let locked = false;
      try {
        for await (const snapshot of this.#source(signal)) {
          failures = 0;
          this.#hear(snapshot);
        }
      } catch (error) {
        this.why = error instanceof Refusal && error.code === 'not_started' ? error.message : '';
        if (error instanceof Locked) {
          locked = true;
          this.#forgive();
          this.lock = error.why;
          this.contact = 'locked';
        }
      }
      if (signal.aborted) return;
      failures += 1;
      if (!locked) this.#miss();
      await this.#pause(locked ? null : backoff(failures));
    }
  }

  #hear(snapshot: Snapshot): void {
    this.#forgive();
    const here = Date.now();
    if (Math.abs(snapshot.at_ms - here - this.#ahead_ms) > SAME_CLOCK_MS) {
      this.#ahead_ms = snapshot.at_ms - here;
      this.tick_ms = here;
    }
    this.heard_ms = here;
    this.snapshot = snapshot;
    this.contact = 'live';
  }

  /** Contact is gone; it shows when it does not come back soon. */
  #miss(): void {
    if (this.contact !== 'live') this.contact = 'lost';
    else this.#grace ??= setTimeout(() => (this.contact = 'lost'), GRACE_MS);
  }

  #forgive(): void {
    if (this.#grace) clearTimeout(this.#grace);
    this.#grace = null;
  }

  /** Waits so long, or for ever when null, or until `tryNow` or `stop`. */
  async #pause(wait_ms: number | null): Promise<void> {
    this.retry_ms = wait_ms === null ? 0 : Date.now() + wait_ms;
    await new Promise<void>((go) => {
      const timer = wait_ms === null ? null : setTimeout(go, wait_ms);
      this.#wake = () => {
        if (timer) clearTimeout(timer);
        go();
      };
    });
    this.#wake = null;
  }
}
