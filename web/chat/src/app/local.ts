/** Small things in localStorage: drafts, and what was open last. Written at once, so that a reload loses nothing. */

const LAST = "peregrine.chat";
const DRAFT = "peregrine.draft.";

function get(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function set(key: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    // Then it lasts as long as the page.
  }
}

/** The chat that was open last. */
export const lastChat = (): string | null => get(LAST);
/** Remembers the chat that is open. */
export const rememberChat = (id: string | null): void => set(LAST, id);

/** What was written and not sent, as long as the page is open; for browsers that keep nothing. */
const drafts = new Map<string, string>();
const nameOf = (chat: string | null) => `${DRAFT}${chat ?? "new"}`;

/** What a person has written in a chat and not sent. */
export const draftOf = (chat: string | null): string => drafts.get(nameOf(chat)) ?? get(nameOf(chat)) ?? "";
/** Keeps it. */
export function keepDraft(chat: string | null, text: string): void {
  drafts.set(nameOf(chat), text);
  set(nameOf(chat), text === "" ? null : text);
}
