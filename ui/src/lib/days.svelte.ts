// The last day of every machine: asked for once, and again every few minutes while the page is open.
import { availability, type Availability } from './api';

const EVERY_MS = 5 * 60_000;

export class Days {
  /** `null` before the first answer, or when there is none. */
  known = $state<Availability | null>(null);
  #timer: ReturnType<typeof setInterval> | null = null;

  start(): void {
    this.#timer ??= setInterval(() => void this.#ask(), EVERY_MS);
    void this.#ask();
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  async #ask(): Promise<void> {
    try {
      this.known = await availability();
    } catch {
      // History is no reason for a complaint: the last one stays.
    }
  }
}
