/**
 * What was read is not read again: conversations after a reload, and when another one was open in
 * between; documents in any of them.
 */

import type { Engine } from "peregrine";
import type { Database } from "../store/database.js";
import type { ReadSoFar } from "./reading.js";
import { loraOf } from "./request.js";
import { forgetState, keepDocuments, keepState, stateOf, useDocuments } from "../store/states.js";

/**
 * Bytes up to which a state is written after each answer. Larger ones are written when the
 * conversation pauses: the next request would wait.
 */
const LARGE = 64e6;

/** Milliseconds without a request that are a pause. */
const PAUSE = 10_000;

/** What an engine has of a conversation. */
export interface Brought {
  /** Whether it has any of it. */
  here: boolean;
  /** How far it had been read, where that was stopped. */
  read: ReadSoFar | undefined;
}

/**
 * What documents that conversations begin with are known by: the model, its adapters, and what it
 * reads to their end.
 */
async function keyOf({ info: { model, adapters = [] } }: Engine, ids: readonly number[]): Promise<string> {
  const { name, parameters, bytes, formats } = model;
  const beside = adapters.flatMap(({ id, bytes }) => [id, bytes]);
  const text = new TextEncoder().encode(JSON.stringify([name, parameters, bytes, formats, ids, ...beside]));
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", text));
  return `documents ${Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/** Which adapters requests name now: what was read with others counts for nothing. */
const adaptersOf = (engine: Engine) => JSON.stringify(loraOf(engine));

/** Brings to an engine what it had read of a conversation, and keeps it afterwards. */
export class States {
  readonly #db: Promise<Database>;
  /**
   * Which conversation the engine has read last, and how large its state was when it was written.
   */
  #inside: { engine: Engine; id: string; adapters: string; size: number; read: ReadSoFar | undefined } | undefined;
  /** A state that is still to be written. */
  #waiting: { timer: ReturnType<typeof setTimeout>; write: () => Promise<void> } | undefined;

  constructor(db: Promise<Database>) {
    this.#db = db;
  }

  /** Before a request of a conversation. */
  async bring(engine: Engine, id: string): Promise<Brought> {
    const left = this.#waiting;
    clearTimeout(left?.timer);
    this.#waiting = undefined;
    const adapters = adaptersOf(engine);
    const { engine: last, id: open, adapters: beside, read } = this.#inside ?? {};
    if (last === engine && open === id && beside === adapters) return { here: true, read };
    // The engine is about to forget it.
    await left?.write();
    const db = await this.#db;
    const kept = await stateOf(db, id);
    const inside = (this.#inside = { engine, id, adapters, size: kept?.state.size ?? 0, read: kept?.read });
    if (!kept) return { here: false, read: undefined };
    try {
      await engine.restoreState(kept.state, loraOf(engine));
    } catch {
      // The state of another model, or a damaged one, is of no use: then the conversation is read
      // again.
      inside.read = undefined;
      await forgetState(db, id);
      return { here: false, read: undefined };
    }
    return { here: true, read: inside.read };
  }

  /**
   * Brings what had been read of documents, in any chat: of the first of these beginnings that is
   * kept. How many tokens that is.
   */
  async recall(engine: Engine, chat: string, beginnings: readonly (readonly number[])[]): Promise<number> {
    const db = await this.#db;
    for (const ids of beginnings) {
      const key = await keyOf(engine, ids);
      const kept = await stateOf(db, key);
      if (!kept) continue;
      try {
        await engine.restoreState(kept.state, loraOf(engine));
      } catch {
        await forgetState(db, key);
        continue;
      }
      await useDocuments(db, key, chat).catch(() => undefined);
      return ids.length;
    }
    return 0;
  }

  /**
   * Keeps what the engine has just read: documents that a chat begins with, for other chats that
   * begin so.
   */
  async remember(engine: Engine, chat: string, ids: readonly number[]): Promise<void> {
    try {
      const state = await engine.saveState();
      await keepDocuments(await this.#db, await keyOf(engine, ids), chat, state);
    } catch {
      // There is no room for it: then it is read again where it is attached again.
    }
  }

  /** While a long conversation is read: a page that goes does not take all of it along. */
  async keepReading(engine: Engine, id: string, read: ReadSoFar): Promise<void> {
    try {
      await keepState(await this.#db, id, await engine.saveState(), read);
    } catch {
      // Then it is read from the beginning.
    }
  }

  /** After an answer, or after a reading that was stopped: `read` says how far it was. */
  async take(engine: Engine, id: string, read?: ReadSoFar): Promise<void> {
    if (this.#inside?.id === id) this.#inside.read = read;
    const write = async () => {
      try {
        const state = await engine.saveState();
        if (this.#inside?.id === id) this.#inside.size = state.size;
        await keepState(await this.#db, id, state, read);
      } catch {
        // A full disk, or an engine that is gone: the conversation is read again some day.
      }
    };
    if (!this.#inside || this.#inside.size <= LARGE) return write();
    clearTimeout(this.#waiting?.timer);
    const timer = setTimeout(() => {
      this.#waiting = undefined;
      void write();
    }, PAUSE);
    this.#waiting = { timer, write };
  }
}
