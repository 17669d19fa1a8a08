/**
 * The one store of conversations. Every operation is one transaction that touches only what it is
 * about, so tabs cannot overwrite each other; nothing is removed but what a person deletes.
 */

import { liveQuery, type Observable } from "dexie";
import type { Database } from "./database.js";
import type { Exported, Imported } from "./exchange.js";
import { importInto, type ImportReport } from "./merge.js";
import { leaveDocuments, withRoom } from "./states.js";
import { Tree } from "./tree.js";
import { newId, titleOf, type Attachment, type Chat, type Conversation, type Ending, type Message } from "./types.js";

/** How long a deleted chat can be brought back, in milliseconds. */
export const KEPT_DELETED = 30 * 24 * 3600 * 1000;

/** A question as a person asks it. */
export interface Question {
  chat: string;
  /** The message that it follows. */
  parent: string | null;
  content: string;
  attachments?: Attachment[];
  /** Of a chat that is not there yet. */
  instructions?: string;
}

/** Who knows whether an answer is still being written, by this tab or another. */
export interface Liveness {
  isAlive(answer: string): Promise<boolean>;
}

/** The store. */
export class Store {
  readonly db: Database;
  readonly #liveness: Liveness;
  readonly #now: () => number;

  constructor(db: Database, liveness: Liveness, now: () => number = Date.now) {
    this.db = db;
    this.#liveness = liveness;
    this.#now = now;
  }

  /** Asks anew whenever any tab changes what the answer depends on. */
  live<T>(query: () => Promise<T>): Observable<T> {
    return liveQuery(query);
  }

  /** All chats that are not deleted: pinned ones first, then the one that was used last. */
  async chats(): Promise<Chat[]> {
    const all = await this.db.chats.orderBy("updated").reverse().toArray();
    return all.filter(({ deleted }) => deleted === undefined).sort((a, b) => Number(b.pinned ?? false) - Number(a.pinned ?? false));
  }

  /** Chats that were deleted and can be brought back, the last first. */
  async deletedChats(): Promise<Chat[]> {
    const all = await this.db.chats.toArray();
    return all.filter(({ deleted }) => deleted !== undefined).sort((a, b) => (b.deleted ?? 0) - (a.deleted ?? 0));
  }

  /** A chat with all of its branches, if it is there. */
  conversation(id: string): Promise<Conversation | undefined> {
    return this.db.transaction("r", this.db.chats, this.db.messages, async () => {
      const chat = await this.db.chats.get(id);
      return chat && { chat, messages: await this.db.messages.where("chat").equals(id).toArray() };
    });
  }

  /** Whether a chat was deleted for good. */
  async isGone(id: string): Promise<boolean> {
    return (await this.db.gone.get(id)) !== undefined;
  }

  /** A chat with all that belongs to it, for a file. */
  async whole(id: string): Promise<Exported | undefined> {
    const found = await this.conversation(id);
    return found && { ...found, sources: await this.db.sources.where("chat").equals(id).toArray() };
  }

  /** Everything, for a file. */
  async everything(): Promise<Exported[]> {
    const found = await Promise.all((await this.chats()).map(({ id }) => this.whole(id)));
    return found.filter((conversation) => conversation !== undefined);
  }

  #write<T>(act: () => Promise<T>): Promise<T> {
    const { db } = this;
    return withRoom(db, () => db.transaction("rw", db.chats, db.messages, db.gone, db.sources, act));
  }

  /** Puts back what the browser has lost of a conversation; what is there stays as it is. */
  restore({ chat, messages }: Conversation): Promise<void> {
    return this.#write(() => this.#putBack({ chat, messages }));
  }

  async #putBack({ chat, messages }: Conversation): Promise<void> {
    if (!(await this.db.chats.get(chat.id))) await this.db.chats.add(chat);
    await this.db.gone.delete(chat.id);
    const here = await this.db.messages.bulkGet(messages.map(({ id }) => id));
    await this.db.messages.bulkAdd(messages.filter((_, i) => !here[i]));
  }

  /**
   * Adds a message at the end of a branch; `known` is what the page shows, for the case that the
   * browser has lost it.
   */
  #append(message: Message, title: string, known?: Conversation, instructions?: string): Promise<Message> {
    return this.#write(async () => {
      const chat = await this.db.chats.get(message.chat);
      if (!chat && known) await this.#putBack(known);
      await this.db.messages.add(message);
      const updated = { updated: message.created, head: message.id };
      if (chat || known) {
        // Whoever goes on with a deleted chat wants it.
        await this.db.chats.update(message.chat, { ...updated, deleted: undefined });
      } else {
        await this.db.gone.delete(message.chat);
        const fresh: Chat = { id: message.chat, title, created: message.created, ...updated };
        if (instructions !== undefined) fresh.instructions = instructions;
        await this.db.chats.add(fresh);
      }
      return message;
    });
  }

  /** Adds a question; its chat begins with it where it is the first. */
  ask({ chat, parent, content, attachments, instructions }: Question, known?: Conversation): Promise<Message> {
    const message: Message = { id: newId(), chat, parent, role: "user", content, created: this.#now() };
    if (attachments && attachments.length > 0) message.attachments = attachments;
    const title = titleOf(content) || attachments?.[0]?.name || "";
    return this.#append(message, title, known, instructions);
  }

  /** Begins a version of the answer to a message. */
  beginAnswer(chat: string, parent: string, model: string, known?: Conversation, id = newId()): Promise<Message> {
    return this.#append({ id, chat, parent, role: "assistant", content: "", created: this.#now(), ending: "writing", model }, "", known);
  }

  /**
   * Begins to go on with an answer. False where it is not any more what the page has: another tab
   * has gone on with it.
   */
  resume(answer: Message, content: string, known?: Conversation): Promise<boolean> {
    return this.#write(async () => {
      const here = await this.db.messages.get(answer.id);
      if (here && (here.content !== content || here.ending === "writing")) return false;
      if (!here && known) await this.#putBack(known);
      await this.db.messages.put(answer);
      return true;
    });
  }

  /** Keeps what is written so far. False where the chat was deleted for good meanwhile. */
  writeAnswer(answer: Message, known?: Conversation): Promise<boolean> {
    return this.#put(answer, known);
  }

  /**
   * Keeps an answer as it ended. Where not a word came there is nothing to keep: then the branch
   * goes back to the version that was read before.
   */
  async endAnswer(answer: Message, ending: Ending | undefined, before: string | null, known?: Conversation): Promise<void> {
    const { ending: _ending, ...rest } = answer;
    const ended: Message = ending === undefined ? rest : { ...rest, ending };
    if (answer.content.trim() !== "") return void (await this.#put(ended, known));
    await this.#write(async () => {
      await this.#deleteEmpty(answer);
      const chat = await this.db.chats.get(answer.chat);
      if (chat?.head === answer.id) await this.db.chats.update(answer.chat, { head: before ?? answer.parent });
    });
  }

  /**
   * Deletes an answer without a word, within a transaction; what another tab has asked behind it
   * keeps its place.
   */
  async #deleteEmpty({ id, chat, parent }: Message): Promise<void> {
    await this.db.messages.delete(id);
    await this.db.messages.where("chat").equals(chat).filter((message) => message.parent === id).modify({ parent });
  }

  #put(message: Message, known?: Conversation): Promise<boolean> {
    return this.#write(async () => {
      if (await this.db.gone.get(message.chat)) return false;
      if (!(await this.db.chats.get(message.chat)) && known) await this.#putBack(known);
      await this.db.messages.put(message);
      return true;
    });
  }

  /** Notes how the reading for a question stands; undefined: there is nothing left to read. */
  async noteReading(question: string, reading: Message["reading"]): Promise<void> {
    await this.db.messages.update(question, { reading });
  }

  /** Which branch a chat opens with. */
  async show(chat: string, head: string | null): Promise<void> {
    await this.db.chats.update(chat, { head });
  }

  /** Changes what a person says about a chat. */
  async change(chat: string, what: Partial<Pick<Chat, "title" | "named" | "pinned" | "instructions">>): Promise<void> {
    await this.db.chats.update(chat, what);
  }

  /** What the model is told first in a chat. */
  async instructions(chat: string, fallback: string): Promise<string> {
    return (await this.db.chats.get(chat))?.instructions ?? fallback;
  }

  /** Deletes a chat, so that it can be brought back. */
  async delete(chat: string): Promise<void> {
    await this.db.chats.update(chat, { deleted: this.#now() });
  }

  /** Brings a deleted chat back. */
  async undelete(chat: string): Promise<void> {
    await this.db.chats.update(chat, { deleted: undefined });
  }

  /** Deletes chats for good. */
  purge(chats: readonly string[]): Promise<void> {
    const { db } = this;
    return db.transaction("rw", [db.chats, db.messages, db.gone, db.states, db.drafts, db.sources], async () => {
      for (const id of chats) {
        await db.messages.where("chat").equals(id).delete();
        await db.sources.where("chat").equals(id).delete();
        await db.chats.delete(id);
        await db.states.delete(id);
        await db.drafts.delete(id);
        await db.gone.put({ id, at: this.#now() });
      }
      await leaveDocuments(db, chats);
    });
  }

  /** Deletes for good what was deleted long ago. */
  async purgeOld(): Promise<void> {
    const old = (await this.deletedChats()).filter(({ deleted }) => (deleted ?? 0) < this.#now() - KEPT_DELETED);
    if (old.length > 0) await this.purge(old.map(({ id }) => id));
  }

  /** Marks answers whose writer is no more; their text stays, and can be gone on with. */
  async recover(): Promise<void> {
    const open = await this.db.messages.where("ending").equals("writing").toArray();
    for (const { id } of open) {
      if (await this.#liveness.isAlive(id)) continue;
      await this.#write(async () => {
        const message = await this.db.messages.get(id);
        if (message?.ending !== "writing") return;
        if (message.content.trim() !== "") return void (await this.db.messages.update(id, { ending: "interrupted" }));
        await this.#deleteEmpty(message);
        const chat = await this.db.chats.get(message.chat);
        if (chat?.head === id) {
          const { messages } = (await this.conversation(message.chat)) as Conversation;
          await this.db.chats.update(message.chat, { head: new Tree(messages).leafBelow(message.parent) });
        }
      });
    }
  }

  /** Joins the conversations of a file with what is here. */
  async import(file: readonly Imported[]): Promise<ImportReport> {
    return this.#write(() => importInto(this.db, file));
  }

  /** Chats with this text in their title or one of their messages, and the piece around it. */
  async search(text: string): Promise<{ chat: Chat; message?: Message }[]> {
    const wanted = text.trim().toLocaleLowerCase();
    const chats = await this.chats();
    const found = new Map<string, Message>();
    await this.db.messages.each((message) => {
      if (!found.has(message.chat) && message.content.toLocaleLowerCase().includes(wanted)) found.set(message.chat, message);
    });
    return chats.flatMap((chat) => {
      const message = found.get(chat.id);
      if (message) return [{ chat, message }];
      return chat.title.toLocaleLowerCase().includes(wanted) ? [{ chat }] : [];
    });
  }
}

