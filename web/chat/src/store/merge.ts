/** Importing: what a file has joins what is here; nothing that is here goes. */

import { Tree } from "./tree.js";
import type { Imported } from "./exchange.js";
import { newId, type Conversation, type Message } from "./types.js";

/** What an import has done. */
export interface ImportReport {
  /** Chats that were not here. */
  added: number;
  /** Chats that were here and got messages. */
  merged: number;
  /** Messages that those got. */
  messages: number;
  /** Chats of which everything was here. */
  unchanged: number;
}

/** The messages of `file` that `here` lacks, with parents that `here` has or that come before them. `taken` are ids of other chats. */
export function missingFrom(here: Conversation, file: Imported, taken: ReadonlySet<string>): Message[] {
  const tree = new Tree(here.messages);
  const coming = new Tree(file.messages);
  const added: Message[] = [];
  /** Ids in the file, and where they are here. */
  const places = new Map<string, string>();
  const children = new Map<string | null, Message[]>();
  const childrenOf = (parent: string | null) => {
    const known = children.get(parent) ?? [...tree.children(parent)];
    children.set(parent, known);
    return known;
  };
  const same = (a: Message, b: Message) => a.role === b.role && a.content === b.content;

  const place = (message: Message): void => {
    const parent = message.parent === null ? null : (places.get(message.parent) ?? null);
    const known = tree.get(message.id);
    // The same message, or the same at an earlier moment of its writing.
    if (known && known.role === message.role && known.content.startsWith(message.content)) {
      places.set(message.id, known.id);
      return;
    }
    const twin = childrenOf(parent).find((child) => same(child, message));
    if (twin && (file.linear || known || taken.has(message.id))) {
      places.set(message.id, twin.id);
      return;
    }
    const id = known || taken.has(message.id) ? newId() : message.id;
    places.set(message.id, id);
    const copy = { ...message, id, parent, chat: here.chat.id };
    childrenOf(parent).push(copy);
    added.push(copy);
  };
  const waiting = [...coming.children(null)];
  for (let next = waiting.shift(); next; next = waiting.shift()) {
    place(next);
    waiting.push(...coming.children(next.id));
  }
  return added;
}
