// The last day of every machine: asked for once, again when a machine comes, goes or changes, and every few minutes besides.
import { availability, type Availability } from './api';

const EVERY_MS = 5 * 60_000;
/** Changes that come together are asked about together. */
const SOON_MS = 500;
/** The gateway notes time every 30 s: only then is there any in the new state. */
const NOTED_MS = 35_000;

export class Days {
  /** `null` before the first answer, or when there is none. */
  known = $state.raw<Availability | null>(null);
  #source: () => Promise<Availability>;
  #timer: ReturnType<typeof setInterval> | null = null;
  #soon: ReturnType<typeof setTimeout>[] = [];
  #states: string | null = null;

  constructor(source = availability) {
    this.#source = source;
  }

  start(): void {
    this.#timer ??= setInterval(() => void this.#ask(), EVERY_MS);
    void this.#ask();
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    this.#calm();
  }

  /** The machines and their states, as one text: when it is another than before, so is the newest quarter of an hour. */
  follow(states: string): void {
    const before = this.#states;
    this.#states = states;
    if (before === null || before === states || this.#timer === null) return;
    this.#calm();
    this.#soon = [SOON_MS, NOTED_MS].map((wait_ms) => setTimeout(() => void this.#ask(), wait_ms));
  }

  #calm(): void {
    this.#soon.forEach(clearTimeout);
    this.#soon = [];
  }

  async #ask(): Promise<void> {
    try {
      this.known = await this.#source();
    } catch {
      // History is no reason for a complaint: the last one stays.
    }
  }
}
