/**
 * Small things: drafts, and what was open last. Written at once, so that a reload loses nothing;
 * and by each tab for itself too.
 */

import { signal } from "@preact/signals";

const LAST = "peregrine.chat";
const DRAFT = "peregrine.draft.";

type Place = "local" | "session";
const storage = (place: Place) => (place === "local" ? localStorage : sessionStorage);

function get(key: string, place: Place = "local"): string | null {
  try {
    return storage(place).getItem(key);
  } catch {
    return null;
  }
}

function set(key: string, value: string | null, place: Place = "local"): void {
  try {
    if (value === null) storage(place).removeItem(key);
    else storage(place).setItem(key, value);
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

const MODE = "peregrine.mode.";

/**
 * How a document beside the box is read, or that it was removed, by what was chosen last; null
 * where the database has it.
 */
export const modeOf = (document: string): string | null => get(MODE + document);
/** Keeps it until the database does. */
export const keepMode = (document: string, mode: string): void => set(MODE + document, mode);
/** The database has it now, unless another one has been chosen meanwhile. */
export function forgetMode(document: string, mode = modeOf(document)): void {
  if (modeOf(document) === mode) set(MODE + document, null);
}

/** Told when a draft was changed by anything but the box that it stands in. */
export const redrawn = signal(0);

/**
 * What a person has written in a chat and not sent: in this tab, else in the one that wrote last.
 */
export function draftOf(chat: string | null): string {
  const name = nameOf(chat);
  return drafts.get(name) ?? get(name, "session") ?? get(name) ?? "";
}

/**
 * Keeps it. Tabs that write in the same place, as in two new chats, do not take each other's away.
 */
export function keepDraft(chat: string | null, text: string): void {
  const name = nameOf(chat);
  const before = draftOf(chat);
  drafts.set(name, text);
  set(name, text === "" ? null : text, "session");
  if (text !== "" || get(name) === before) set(name, text === "" ? null : text);
}

/** Keeps it, and shows it where its chat is open. */
export function putDraft(chat: string | null, text: string): void {
  keepDraft(chat, text);
  redrawn.value += 1;
}

/** Puts texts one below the other into a draft. */
export const joined = (...texts: string[]): string => [...new Set(texts)].filter((text) => text.trim() !== "").join("\n");
