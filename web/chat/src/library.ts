/** Conversations, kept in IndexedDB. Where a browser has none (private windows), the page works without, and says so once. */

import type { ChatMessage } from "peregrine";
import { openDB, type DBSchema, type IDBPDatabase } from "idb";

/** A message as the page keeps it. */
export interface Said extends ChatMessage {
  /** The small print under an answer: how it ended, how long it was, how fast it came. */
  facts?: string;
}

/** A conversation. */
export interface Chat {
  id: string;
  title: string;
  /** Milliseconds since 1970. */
  created: number;
  updated: number;
  messages: Said[];
}

/** What the engine had read of a conversation: with it the conversation goes on without being read again. */
interface KeptState {
  id: string;
  state: Blob;
  /** Milliseconds since 1970. */
  updated: number;
}

interface Schema extends DBSchema {
  chats: { key: string; value: Chat };
  states: { key: string; value: KeptState; indexes: { updated: number } };
}

/** States are large: only those of the conversations that were used last are kept. */
const MOST_STATES = 5;
/** And at most so many bytes of them, but always the last. */
const MOST_BYTES = 1e9;

let database: Promise<IDBPDatabase<Schema> | undefined> | undefined;
const channel = "BroadcastChannel" in globalThis ? new BroadcastChannel("peregrine.chats") : undefined;

function open(): Promise<IDBPDatabase<Schema> | undefined> {
  // Where it is forbidden, opening throws or rejects, as the browser likes.
  const opening = async () =>
    openDB<Schema>("peregrine", 1, {
      upgrade(fresh) {
        fresh.createObjectStore("chats", { keyPath: "id" });
        fresh.createObjectStore("states", { keyPath: "id" }).createIndex("updated", "updated");
      },
    });
  return (database ??= opening().catch(() => undefined));
}

/** Whether conversations are kept. */
export async function isKept(): Promise<boolean> {
  return (await open()) !== undefined;
}

/** All conversations, the one that was used last first. */
export async function allChats(): Promise<Chat[]> {
  const chats = (await (await open())?.getAll("chats").catch(() => [])) ?? [];
  return chats.sort((a, b) => b.updated - a.updated);
}

/** The conversation of that id, if it is (still) there. */
export async function chatOf(id: string): Promise<Chat | undefined> {
  return (await open())?.get("chats", id).catch(() => undefined);
}

/** Keeps conversations; the last who writes wins. */
export async function keep(...chats: Chat[]): Promise<void> {
  const kept = await open();
  if (!kept) return;
  const transaction = kept.transaction("chats", "readwrite");
  await Promise.all([...chats.map((chat) => transaction.store.put(chat)), transaction.done]);
  channel?.postMessage("changed");
}

/** Forgets a conversation. */
export async function forget(id: string): Promise<void> {
  await (await open())?.delete("chats", id);
  await forgetState(id);
  channel?.postMessage("changed");
}

/** What the engine had read of a conversation. */
export async function stateOf(id: string): Promise<Blob | undefined> {
  return (await (await open())?.get("states", id).catch(() => undefined))?.state;
}

/** Keeps what the engine has read of a conversation. */
export async function keepState(id: string, state: Blob): Promise<void> {
  const kept = await open();
  // It may have been deleted meanwhile.
  if (!kept || !(await kept.get("chats", id))) return;
  const transaction = kept.transaction("states", "readwrite");
  await transaction.store.put({ id, state, updated: Date.now() });
  const oldest = await transaction.store.index("updated").getAll();
  let bytes = oldest.reduce((sum, { state }) => sum + state.size, 0);
  const goes = ({ state }: KeptState, at: number) => {
    const left = oldest.length - at;
    if (left === 1 || (left <= MOST_STATES && bytes <= MOST_BYTES)) return false;
    bytes -= state.size;
    return true;
  };
  await Promise.all([...oldest.filter(goes).map((old) => transaction.store.delete(old.id)), transaction.done]);
}

/** Forgets it. */
export async function forgetState(id: string): Promise<void> {
  await (await open())?.delete("states", id);
}

/** Calls when another tab has changed something. */
export function onElsewhere(listener: () => void): void {
  channel?.addEventListener("message", listener);
}

/** A title for a conversation that has none yet. */
export function titleOf(messages: readonly ChatMessage[]): string {
  const first = messages.find(({ role }) => role === "user")?.content.trim().replace(/\s+/g, " ") ?? "";
  return first.length > 60 ? `${first.slice(0, 59).trimEnd()}…` : first || "New chat";
}
