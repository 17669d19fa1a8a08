/** What the page tells: short notices that go by themselves, and what a screen reader hears. */

import { signal } from "@preact/signals";

/** A notice, with something to do about it. */
export interface Notice {
  text: string;
  action?: { label: string; go: () => void };
  /** Stays until it is closed. */
  stays?: boolean;
}

/** The notice that is shown. */
export const notice = signal<Notice | undefined>(undefined);

/** Milliseconds that a notice is shown. */
const SHOWN = 10_000;
let timer: ReturnType<typeof setTimeout> | undefined;

/** Tells a screen reader; not more often than something worth hearing happens. */
export function announce(text: string): void {
  // Of the document itself: it must be there before the page is drawn.
  const announcer = document.getElementById("announcer");
  if (announcer) announcer.textContent = text;
}

/** Shows a notice. */
export function tell(text: string, more: Omit<Notice, "text"> = {}): void {
  const mine: Notice = { text, ...more };
  notice.value = mine;
  announce(text);
  holdNotice(false);
}

/** Whether somebody is at the notice: then it does not go. */
export function holdNotice(held: boolean): void {
  const { value } = notice;
  clearTimeout(timer);
  if (!held && value && !value.stays) timer = setTimeout(() => notice.value === value && (notice.value = undefined), SHOWN);
}
