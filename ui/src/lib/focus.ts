// Keeps the keyboard's place: when what has the focus goes away or is switched off, the focus goes to what it was about, and
// never back to the top of the page.

/** Can it have the focus, and is it more than the page itself? */
function holds(one: Element | null): one is HTMLElement {
  return one instanceof HTMLElement && one !== document.body && one.isConnected && !one.matches(':disabled');
}

/** What lies in the page's frame, and scrolls there. */
const page = (): HTMLElement | null => document.querySelector('.page');
const card = (node: string): HTMLElement | null => document.querySelector(`[data-node="${CSS.escape(node)}"]`);

/** Remembers what has the focus. What it gives is called once the page has changed, and finds the focus a new place if it needs one. */
export function heldFocus(): () => void {
  const held = document.activeElement;
  if (!holds(held)) return () => undefined;
  // What is taken out of the page no longer knows where it was.
  const about = held.closest<HTMLElement>('[data-about]')?.dataset['about'];
  const way: Element[] = [];
  for (let one = held.parentElement; one !== null; one = one.parentElement) way.push(one);
  return () => {
    if (holds(held) || holds(document.activeElement)) return;
    heir(way.filter((one) => one.isConnected), about).focus({ preventScroll: true });
  };
}

/** The machine it was about, an open menu, the card or the heading of the part that it stood in, else the page. */
function heir(way: Element[], about: string | undefined): HTMLElement {
  const told = about === undefined ? null : card(about);
  if (told !== null) return told;
  for (const one of way) {
    const next = one.matches('[popover]') ? one.querySelector<HTMLElement>('button:not(:disabled)') : one.matches('[data-node]') ? (one as HTMLElement) : one.querySelector<HTMLElement>(':scope > .sec-head [data-heir]');
    if (next !== null) return next;
  }
  return page() ?? document.body;
}

/** Nothing has the focus, or only what scrolls. */
export function isIdle(): boolean {
  return !holds(document.activeElement) || document.activeElement === page();
}

/** The page itself, when nothing else has the focus. */
export function settleFocus(): void {
  if (!holds(document.activeElement)) page()?.focus({ preventScroll: true });
}

/** A machine's card, brought into sight; false when there is none. */
export function focusCard(node: string): boolean {
  const found = card(node);
  found?.scrollIntoView({ block: 'nearest' });
  found?.focus();
  return found !== null;
}
