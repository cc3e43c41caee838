// Puts text on the clipboard, also where the page's address is not a secure one.
import { talk } from './talk.svelte';
import { words } from './words';

/** Copies `text` and says so; true when it worked. */
export async function copy(text: string): Promise<boolean> {
  const done = (await modern(text)) || old(text);
  if (done) talk.note(words.copy.done(text));
  else talk.note(words.copy.failed, words.copy.failedHint(text), true);
  return done;
}

async function modern(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // plain http to another machine has no clipboard API
  }
}

function old(text: string): boolean {
  const field = document.createElement('textarea');
  const before = document.activeElement;
  field.value = text;
  field.className = 'sr';
  document.body.append(field);
  field.select();
  const done = document.execCommand('copy');
  field.remove();
  if (before instanceof HTMLElement) before.focus();
  return done;
}
