/**
 * The database: IndexedDB through Dexie, whose live queries tell every tab what another one has
 * changed.
 */

import Dexie, { type EntityTable, type Table, type Transaction } from "dexie";
import { newId, type Chat, type Draft, type Gone, type KeptAdapter, type KeptState, type Message, type Role, type Source } from "./types.js";

/** Where the database lives, where that is not the browser's own place. */
export interface Place {
  indexedDB: IDBFactory;
  IDBKeyRange: typeof IDBKeyRange;
}

/** A chat as version 1 of this page kept it: one list of messages. */
interface FirstChat {
  id: string;
  title: string;
  created: number;
  updated: number;
  messages: { role: Role; content: string; facts?: string }[];
}

/**
 * A list of messages as a tree of one branch. A system message that comes first is the chat's
 * instructions.
 */
export function treeOfList(chat: string, created: number, list: FirstChat["messages"]): { messages: Message[]; instructions?: string } {
  const [first] = list;
  const instructions = first?.role === "system" ? first.content : undefined;
  let parent: string | null = null;
  const messages = list.slice(instructions === undefined ? 0 : 1).map(({ role, content, facts }, i) => {
    const message: Message = { id: newId(), chat, parent, role, content, created: created + i };
    if (facts !== undefined) message.facts = facts;
    parent = message.id;
    return message;
  });
  return instructions === undefined ? { messages } : { messages, instructions };
}

async function fromFirst(transaction: Transaction): Promise<void> {
  const chats = transaction.table<FirstChat | Chat, string>("chats");
  for (const old of (await chats.toArray()) as FirstChat[]) {
    const { id, title, created, updated } = old;
    const { messages, instructions } = treeOfList(id, created, old.messages ?? []);
    await transaction.table("messages").bulkAdd(messages);
    const chat: Chat = { id, title, created, updated, head: messages.at(-1)?.id ?? null };
    if (instructions !== undefined) chat.instructions = instructions;
    await chats.put(chat);
  }
}

/** The tables. */
export class Database extends Dexie {
  declare chats: EntityTable<Chat, "id">;
  declare messages: EntityTable<Message, "id">;
  declare states: EntityTable<KeptState, "id">;
  declare gone: EntityTable<Gone, "id">;
  declare drafts: EntityTable<Draft, "id">;
  declare sources: EntityTable<Source, "id">;
  declare adapters: Table<KeptAdapter, [model: string, id: string]>;

  constructor(place?: Place, name = "peregrine") {
    // What another process has cleared must not be read from memory.
    super(name, { ...place, cache: "disabled" });
    // Version 1 was made without Dexie; its number there is ten times ours.
    this.version(2)
      .stores({ chats: "id, updated", messages: "id, chat, ending", states: "id, updated", gone: "id", drafts: "id" })
      .upgrade(fromFirst);
    this.version(3).stores({ sources: "id, chat" });
    this.version(4).stores({ adapters: "[model+id], model" });
    this.version(5).stores({ adapters: "[model+id], model, source" });
  }
}
