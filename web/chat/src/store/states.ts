/**
 * What the engine had read of conversations, and of documents that they begin with, kept so that it
 * is not read again.
 */

import type { Database } from "./database.js";
import type { KeptState } from "./types.js";

/**
 * States are large: only those of the conversations that were used last are kept, and so many of
 * documents.
 */
const MOST_STATES = 5;
/** And at most so many bytes of them all, but always the last. */
const MOST_BYTES = 1e9;

/** What the engine had read of a conversation, or of documents. */
export async function stateOf(db: Database, id: string): Promise<KeptState | undefined> {
  return db.states.get(id).catch(() => undefined);
}

/** Keeps what the engine has read of a conversation. */
export function keepState(db: Database, id: string, state: Blob, read?: KeptState["read"]): Promise<void> {
  return db.transaction("rw", db.chats, db.states, async () => {
    // It may have been deleted meanwhile.
    if (!(await db.chats.get(id))) return;
    await db.states.put({ id, state, updated: Date.now(), ...(read && { read }) });
    await makeRoom(db);
  });
}

/** Keeps what the engine has read of documents, in a chat that begins with them. */
export function keepDocuments(db: Database, id: string, chat: string, state: Blob): Promise<void> {
  return db.transaction("rw", db.chats, db.states, async () => {
    if (!(await db.chats.get(chat))) return;
    await db.states.put({ id, state, updated: Date.now(), chats: [chat] });
    await makeRoom(db);
  });
}

/** Documents that had been read are used in another chat. */
export function useDocuments(db: Database, id: string, chat: string): Promise<void> {
  return db.transaction("rw", db.chats, db.states, async () => {
    const kept = await db.states.get(id);
    if (!kept || !(await db.chats.get(chat))) return;
    await db.states.put({ ...kept, updated: Date.now(), chats: [...new Set([...(kept.chats ?? []), chat])] });
  });
}

/**
 * What had been read of documents goes with the last chat that they were read in; within a
 * transaction.
 */
export async function leaveDocuments(db: Database, chats: readonly string[]): Promise<void> {
  const left = new Set(chats);
  for (const kept of await db.states.filter(({ chats }) => chats?.some((chat) => left.has(chat)) ?? false).toArray()) {
    const others = kept.chats?.filter((chat) => !left.has(chat)) ?? [];
    if (others.length === 0) await db.states.delete(kept.id);
    else await db.states.put({ ...kept, chats: others });
  }
}

/** Lets the oldest go; within a transaction. */
async function makeRoom(db: Database): Promise<void> {
  const newest = await db.states.orderBy("updated").reverse().toArray();
  const counts = { chats: 0, documents: 0 };
  let bytes = 0;
  const goes = newest.filter(({ state, chats }, at) => {
    const kind = chats ? "documents" : "chats";
    counts[kind] += 1;
    bytes += state.size;
    return at > 0 && (counts[kind] > MOST_STATES || bytes > MOST_BYTES);
  });
  await db.states.bulkDelete(goes.map(({ id }) => id));
}

/**
 * Writes something. On a full disk, what the engine had read of conversations goes first: that can
 * be read again. @throws what the database throws
 */
export async function withRoom<T>(db: Database, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    const { name, inner } = error as { name?: string; inner?: { name?: string } };
    if (![name, inner?.name].includes("QuotaExceededError") || (await db.states.count()) === 0) throw error;
    await db.states.clear();
    return write();
  }
}

/** Forgets it. */
export async function forgetState(db: Database, id: string): Promise<void> {
  await db.states.delete(id);
}
