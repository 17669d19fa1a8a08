/** Importing: what a file has joins what is here; nothing that is here goes. */

import type { Database } from "./database.js";
import type { Imported } from "./exchange.js";
import { Tree } from "./tree.js";
import { newId, type Attachment, type Chat, type Conversation, type Message, type Source } from "./types.js";

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

/**
 * The messages of `file` that `here` lacks, with parents that `here` has or that come before them.
 * `taken` are ids of other chats.
 */
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

/**
 * The documents of a chat's questions: those that the file has and this browser has not are kept.
 * What is known of a document that is nowhere goes from the new messages, since nothing of it can
 * be chosen anew.
 */
async function mergeSources(db: Database, chat: string, { messages: told, sources }: Imported, added: readonly Message[]): Promise<void> {
  const coming = new Map(sources.map((source) => [source.id, source]));
  const ids = [...new Set([...told, ...added].flatMap(({ attachments = [] }) => attachments.map(({ id }) => id)))];
  const found = (await db.sources.bulkGet(ids)).filter((source) => source !== undefined);
  const here = new Map(found.map((source) => [source.id, source]));
  const kept = new Map<string, Source>();
  const keep = (id: string, from: string): boolean => {
    const source = coming.get(from) ?? here.get(from);
    if (source && here.get(id)?.chat !== chat) kept.set(id, { ...source, id, chat });
    return source !== undefined;
  };
  for (const message of added) {
    message.attachments = message.attachments?.map((one): Attachment => {
      const { whole, ...rest } = one;
      if (whole === undefined) return rest;
      // One of another chat would go with that.
      const id = here.has(one.id) && here.get(one.id)?.chat !== chat ? newId() : one.id;
      return keep(id, one.id) ? { ...rest, id, whole } : rest;
    });
    if (!message.attachments) delete message.attachments;
  }
  // Of what was here before the document may be missing: an older file had none.
  const missing = told.flatMap(({ attachments = [] }) => attachments).filter(({ id, whole }) => whole !== undefined && coming.has(id) && !here.has(id) && !kept.has(id));
  const wholes = new Map(missing.map(({ id, whole }) => [id, whole as number]));
  await db.messages.where("chat").equals(chat).modify((message) => {
    for (const one of message.attachments ?? []) {
      const whole = wholes.get(one.id);
      if (whole === undefined) continue;
      one.whole = whole;
      keep(one.id, one.id);
    }
  });
  await db.sources.bulkPut([...kept.values()]);
}

/** Joins the conversations of a file with what is in the database; within a transaction. */
export async function importInto(db: Database, file: readonly Imported[]): Promise<ImportReport> {
  const report: ImportReport = { added: 0, merged: 0, messages: 0, unchanged: 0 };
  for (const coming of file) {
    const { id } = coming.chat;
    const here = await db.chats.get(id);
    const messages = await db.messages.where("chat").equals(id).toArray();
    const ids = await db.messages.bulkGet(coming.messages.map((message) => message.id));
    const taken = new Set(ids.filter((message) => message && message.chat !== id).map((message) => (message as Message).id));
    const missing = missingFrom({ chat: here ?? coming.chat, messages }, coming, taken);
    await mergeSources(db, id, coming, missing);
    await db.messages.bulkAdd(missing);
    await db.gone.delete(id);
    if (!here) {
      await db.chats.add(coming.chat);
      report.added += 1;
    } else {
      const what: Partial<Chat> = { updated: Math.max(here.updated, coming.chat.updated), deleted: undefined };
      if (here.instructions === undefined && coming.chat.instructions !== undefined) what.instructions = coming.chat.instructions;
      await db.chats.update(id, what);
      report.messages += missing.length;
      report[missing.length > 0 ? "merged" : "unchanged"] += 1;
    }
  }
  return report;
}
