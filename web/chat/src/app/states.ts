/** Conversations go on without being read again: after a reload, and when another one was open in between. */

import type { Engine } from "peregrine";
import type { Database } from "../store/database.js";
import { forgetState, keepState, stateOf } from "../store/states.js";

/** Bytes up to which a state is written after each answer. Larger ones are written when the conversation pauses: the next request would wait. */
const LARGE = 64e6;

/** Milliseconds without a request that are a pause. */
const PAUSE = 10_000;

/** Brings to an engine what it had read of a conversation, and keeps it afterwards. */
export class States {
  readonly #db: Promise<Database>;
  /** Which conversation the engine has read last, and how large its state was when it was written. */
  #inside: { engine: Engine; id: string; size: number } | undefined;
  /** A state that is still to be written. */
  #waiting: { timer: ReturnType<typeof setTimeout>; write: () => Promise<void> } | undefined;

  constructor(db: Promise<Database>) {
    this.#db = db;
  }

  /** Before a request of a conversation. */
  async bring(engine: Engine, id: string): Promise<void> {
    const left = this.#waiting;
    clearTimeout(left?.timer);
    this.#waiting = undefined;
    if (this.#inside?.engine === engine && this.#inside.id === id) return;
    // The engine is about to forget it.
    await left?.write();
    const db = await this.#db;
    const state = await stateOf(db, id);
    this.#inside = { engine, id, size: state?.size ?? 0 };
    // The state of another model, or a damaged one, is of no use: then the conversation is read again.
    if (state) await engine.restoreState(state).catch(() => forgetState(db, id));
  }

  /** After an answer. */
  async take(engine: Engine, id: string): Promise<void> {
    const write = async () => {
      try {
        const state = await engine.saveState();
        if (this.#inside?.id === id) this.#inside.size = state.size;
        await keepState(await this.#db, id, state);
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
