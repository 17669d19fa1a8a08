/** Conversations go on without being read again: after a reload, and when another one was open in between. */

import type { Engine } from "peregrine";
import type { Database } from "../store/database.js";
import type { ReadSoFar } from "./reading.js";
import { forgetState, keepState, stateOf } from "../store/states.js";

/** Bytes up to which a state is written after each answer. Larger ones are written when the conversation pauses: the next request would wait. */
const LARGE = 64e6;

/** Milliseconds without a request that are a pause. */
const PAUSE = 10_000;

/** Brings to an engine what it had read of a conversation, and keeps it afterwards. */
export class States {
  readonly #db: Promise<Database>;
  /** Which conversation the engine has read last, and how large its state was when it was written. */
  #inside: { engine: Engine; id: string; size: number; read: ReadSoFar | undefined } | undefined;
  /** A state that is still to be written. */
  #waiting: { timer: ReturnType<typeof setTimeout>; write: () => Promise<void> } | undefined;

  constructor(db: Promise<Database>) {
    this.#db = db;
  }

  /** Before a request of a conversation. What is known of how far it had been read, where that was stopped. */
  async bring(engine: Engine, id: string): Promise<ReadSoFar | undefined> {
    const left = this.#waiting;
    clearTimeout(left?.timer);
    this.#waiting = undefined;
    if (this.#inside?.engine === engine && this.#inside.id === id) return this.#inside.read;
    // The engine is about to forget it.
    await left?.write();
    const db = await this.#db;
    const kept = await stateOf(db, id);
    const inside = (this.#inside = { engine, id, size: kept?.state.size ?? 0, read: kept?.read });
    if (!kept) return undefined;
    try {
      await engine.restoreState(kept.state);
    } catch {
      // The state of another model, or a damaged one, is of no use: then the conversation is read again.
      inside.read = undefined;
      await forgetState(db, id);
    }
    return inside.read;
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
