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

interface Schema extends DBSchema {
  chats: { key: string; value: Chat };
}

let database: Promise<IDBPDatabase<Schema> | undefined> | undefined;
const channel = "BroadcastChannel" in globalThis ? new BroadcastChannel("peregrine.chats") : undefined;

function open(): Promise<IDBPDatabase<Schema> | undefined> {
  // Where it is forbidden, opening throws or rejects, as the browser likes.
  const opening = async () => openDB<Schema>("peregrine", 1, { upgrade: (fresh) => void fresh.createObjectStore("chats", { keyPath: "id" }) });
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
  channel?.postMessage("changed");
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
