// What the page says back: one polite line for screen readers, and at most two notes in the corner.
import { Locked, Refusal } from './api';
import { words } from './words';

/** A note in the corner; a problem stays until it is dismissed. */
export type Note = { id: number; text: string; hint: string; problem: boolean };

const NOTES_AT_MOST = 2;
const NOTE_LASTS_MS = 4_000;
/** Sentences that come together are read together. */
const GATHER_MS = 600;

/** Speaks for the page. */
export class Talk {
  /** The text of the one live region. */
  line = $state('');
  notes = $state<Note[]>([]);
  #pending: string[] = [];
  #gather: ReturnType<typeof setTimeout> | null = null;
  #last = 0;

  /** Reads a sentence out, with those that come within the same moment. */
  say(text: string): void {
    if (!this.#pending.includes(text)) this.#pending.push(text);
    this.#gather ??= setTimeout(() => {
      this.#gather = null;
      const line = this.#pending.splice(0).slice(-3).join('. ');
      // A no-break space makes the same sentence a new one, else it would not be read again.
      this.line = line === this.line ? `${line}\u00A0` : line;
    }, GATHER_MS);
  }

  /** Shows a note and reads it out. */
  note(text: string, hint = '', problem = false): void {
    const id = ++this.#last;
    this.notes = [...this.notes.filter((note) => note.text !== text), { id, text, hint, problem }].slice(-NOTES_AT_MOST);
    this.say(hint === '' ? text : `${text}. ${words.talk.hint} ${hint}`);
    if (!problem) setTimeout(() => this.dismiss(id), NOTE_LASTS_MS);
  }

  dismiss(id: number): void {
    this.notes = this.notes.filter((note) => note.id !== id);
  }

  /** Runs something a person asked for: says `done` when it went well, else what went wrong. True when it went well. */
  async act(work: Promise<void>, done = ''): Promise<boolean> {
    try {
      await work;
      if (done !== '') this.note(done);
      return true;
    } catch (error) {
      if (error instanceof Refusal) this.note(error.message, error.hint, true);
      else if (error instanceof Locked) this.note(words.contact.lockedRefused, `${words.contact.lockedHint} ${words.contact.open}`, true);
      else throw error;
      return false;
    }
  }
}

export const talk = new Talk();
