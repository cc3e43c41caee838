// The event reader under every way of cutting a stream.
import { describe, expect, it } from 'vitest';
import { EventReader, type ServerEvent } from './sse';

const read = (pieces: string[]): ServerEvent[] => {
  const reader = new EventReader();
  return pieces.flatMap((piece) => reader.push(piece));
};

const STREAM =
  '\uFEFF: heartbeat\r\n\r\nevent: snapshot\r\ndata: {"a":\r\ndata: 1}\r\n\r\ndata:x\r\rid: 7\nevent:two\ndata\n\ndata: ☾ é 🏮\n\nevent: only a name\n\ndata: cut';
const EVENTS: ServerEvent[] = [
  { event: 'snapshot', data: '{"a":\n1}' },
  { event: 'message', data: 'x' },
  { event: 'two', data: '' },
  { event: 'message', data: '☾ é 🏮' },
];

describe('EventReader', () => {
  it('reads a stream in one piece, and leaves out what was never finished', () => {
    expect(read([STREAM])).toEqual(EVENTS);
  });

  it('reads the same events however the stream is cut', () => {
    for (let size = 1; size <= 7; size += 1) {
      const pieces: string[] = [];
      for (let at = 0; at < STREAM.length; at += size) pieces.push(STREAM.slice(at, at + size));
      expect(read(pieces), `pieces of ${size}`).toEqual(EVENTS);
    }
    for (let at = 0; at <= STREAM.length; at += 1) {
      expect(read([STREAM.slice(0, at), STREAM.slice(at)]), `cut at ${at}`).toEqual(EVENTS);
    }
  });

  it('refuses an event without an end', () => {
    const reader = new EventReader();
    const line = `data: ${'x'.repeat(1024 * 1024)}\n`;
    expect(() => {
      for (let n = 0; n < 40; n += 1) reader.push(line);
    }).toThrow(/too long/);
  });
});
