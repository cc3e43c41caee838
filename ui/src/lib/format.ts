// Numbers as people read them: sizes, durations, times of day, counts. Units are words and live in words.ts.
import { unit, words } from './words';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Size on disk in decimal units, as model registries print it: `19.9 GB`, `274 MB`. */
export function size(bytes: number): string {
  if (bytes >= 1e12) return unit(threeDigits(bytes / 1e12), 'TB');
  if (bytes >= 1e9) return unit(threeDigits(bytes / 1e9), 'GB');
  if (bytes >= 1e6) return unit(String(Math.round(bytes / 1e6)), 'MB');
  return unit(String(Math.max(bytes > 0 ? 1 : 0, Math.round(bytes / 1e3))), 'kB');
}

/** Memory in units of 2^30 bytes, the `GB` that graphics cards are sold by: `21.4`. */
export function memory(bytes: number): string {
  return threeDigits(bytes / 2 ** 30);
}

function threeDigits(value: number): string {
  const digits = value < 9.995 ? 1 : value < 99.95 ? 1 : 0;
  return value.toFixed(digits).replace(/\.0$/, '');
}

/** How long something has lasted, in its largest unit: `12 s`, `42 min`, `2 h`, `12 d`. Never negative. */
export function age(ms: number): string {
  const time = Math.max(0, ms);
  if (time < MINUTE) return unit(String(Math.floor(time / SECOND)), 's');
  if (time < 2 * HOUR) return unit(String(Math.floor(time / MINUTE)), 'min');
  if (time < 2 * DAY) return unit(String(Math.floor(time / HOUR)), 'h');
  return unit(String(Math.floor(time / DAY)), 'd');
}

/** How long until something, rounded up so that it never says less than is left: `20 s`, `4 min`, `2 h`. */
export function until(ms: number): string {
  const time = Math.max(0, ms);
  if (time < MINUTE) return unit(String(Math.ceil(time / SECOND)), 's');
  if (time < 90 * MINUTE) return unit(String(Math.ceil(time / MINUTE)), 'min');
  if (time < 2 * DAY) return unit(String(Math.ceil(time / HOUR)), 'h');
  return unit(String(Math.ceil(time / DAY)), 'd');
}

/** A running clock: `0:23`, `12:05`, `1:02:03`. Never negative. */
export function watch(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / SECOND));
  const two = (n: number): string => String(n).padStart(2, '0');
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** How long something usually takes, in whole seconds: rounded up, as the tray and the command line do it. */
export const usually = (ms: number): string => watch(Math.max(SECOND, Math.ceil(ms / SECOND) * SECOND));

const HOUR_MINUTE = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const HOUR_MINUTE_SECOND = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const WEEKDAY = new Intl.DateTimeFormat('en-GB', { weekday: 'short', hour: '2-digit', minute: '2-digit' });
const DATE = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });

/** A moment, as short as it can be told: `14:02`, `Tue 14:02`, `3 Nov 14:02`. */
export function moment(at_ms: number, now_ms: number): string {
  const gone = Math.abs(now_ms - at_ms);
  if (gone < 20 * HOUR) return HOUR_MINUTE.format(at_ms);
  return (gone < 6 * DAY ? WEEKDAY : DATE).format(at_ms).replace(',', '');
}

/** From when to when: `14:00–14:15`, `Thu 14:00–14:15`; without an end `14:00–now`. */
export function span(from_ms: number, to_ms: number | null, now_ms: number): string {
  return `${moment(from_ms, now_ms)}–${to_ms === null ? words.day.now : HOUR_MINUTE.format(to_ms)}`;
}

/** Since when, as the tray says it: `since 14:02`, `since yesterday 14:02`, `for 4 days`. */
export function since(at_ms: number, now_ms: number): string {
  const midnight = (ms: number): number => new Date(ms).setHours(0, 0, 0, 0);
  const days = Math.round((midnight(now_ms) - midnight(at_ms)) / DAY);
  if (days <= 0) return words.node.since(HOUR_MINUTE.format(at_ms));
  return days === 1 ? words.node.yesterday(HOUR_MINUTE.format(at_ms)) : words.node.days(days);
}

/** A time of day with seconds: `14:31:40`. */
export function second(at_ms: number): string {
  return HOUR_MINUTE_SECOND.format(at_ms);
}

const PLAIN = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

/** A count: exact to 9,999, then in thousands and millions: `138`, `412 k`, `1.2 M`. */
export function count(n: number): string {
  if (n < 10_000) return PLAIN.format(n);
  if (n < 999_500) return unit(n < 99_950 ? threeDigits(n / 1e3) : String(Math.round(n / 1e3)), 'k');
  return unit(threeDigits(n / 1e6), 'M');
}

/** A rate: whole from ten on, one digit below: `93`, `9.4`, `0.8`. */
export function rate(perSecond: number): string {
  return perSecond < 9.95 ? perSecond.toFixed(1) : PLAIN.format(perSecond);
}

/** Milliseconds since 1970 of an RFC 3339 time, or null. Engines write up to nine digits of a second. */
export function parseTime(text: string | null): number | null {
  if (text === null) return null;
  const at = Date.parse(text.replace(/(\.\d{3})\d+/, '$1'));
  return Number.isNaN(at) ? null : at;
}
