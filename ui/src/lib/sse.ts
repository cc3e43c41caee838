// Reads server-sent events from text that arrives cut anywhere (HTML Living Standard, section 9.2.6).

/** One event of a stream: its name (`message` when none is given) and its data, lines joined by a newline. */
export type ServerEvent = { event: string; data: string };

/** Longest event that is read, in characters; a stream that never ends a line must not eat the memory. */
const LONGEST = 32 * 1024 * 1024;

/** Turns pieces of text into events. Feed it with `push`; it keeps what is not complete yet. */
export class EventReader {
  #rest = '';
  #event = '';
  #data: string[] = [];
  #held = 0;
  #first = true;
  /** The last piece ended with a carriage return: a line feed that follows belongs to the same line end. */
  #afterReturn = false;

  /** The events that this piece completes, in order. Throws when one event grows beyond reason. */
  push(piece: string): ServerEvent[] {
    if (piece === '') return [];
    if (this.#first) {
      this.#first = false;
      if (piece.startsWith('\uFEFF')) piece = piece.slice(1);
    }
    if (this.#afterReturn) {
      this.#afterReturn = false;
      if (piece.startsWith('\n')) piece = piece.slice(1);
    }
    this.#afterReturn = piece.endsWith('\r');
    const lines = (this.#rest + piece).split(/\r\n|\r|\n/);
    this.#rest = lines.pop() ?? '';
    const events: ServerEvent[] = [];
    for (const line of lines) {
      const done = this.#line(line);
      if (done) events.push(done);
    }
    if (this.#held + this.#rest.length > LONGEST) throw new Error('an event of the stream is too long');
    return events;
  }

  #line(line: string): ServerEvent | null {
    if (line === '') {
      const done = this.#data.length > 0 ? { event: this.#event || 'message', data: this.#data.join('\n') } : null;
      this.#event = '';
      this.#data = [];
      this.#held = 0;
      return done;
    }
    const colon = line.indexOf(':');
    if (colon === 0) return null; // a comment: the gateway's heartbeat
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? '' : line.slice(colon + 1);
    if (value.startsWith(' ')) value = value.slice(1);
    if (field === 'event') this.#event = value;
    if (field === 'data') {
      this.#data.push(value);
      this.#held += value.length;
    }
    return null;
  }
}
