/** Conversations go on without being read again: after a reload, and when another one was open in between. */

import type { Engine } from "peregrine";
import { forgetState, keepState, stateOf } from "./library.js";

/** Bytes up to which a state is written after each answer. Larger ones are written when the conversation pauses: the next request would wait. */
const LARGE = 64e6;

/** Milliseconds without a request that are a pause. */
const PAUSE = 10_000;

/** Which conversation the engine has read last, and how large its state was when it was written. */
let inside: { engine: Engine; id: string; size: number } | undefined;

/** A state that is still to be written. */
let waiting: { timer: ReturnType<typeof setTimeout>; write: () => Promise<void> } | undefined;

/** Before a request of a conversation: gives the engine what it had read of it. */
export async function bringState(engine: Engine, id: string): Promise<void> {
  const left = waiting;
  clearTimeout(left?.timer);
  waiting = undefined;
  if (inside?.engine === engine && inside.id === id) return;
  // The engine is about to forget it.
  await left?.write();
  const state = await stateOf(id);
  inside = { engine, id, size: state?.size ?? 0 };
  // The state of another model, or a damaged one, is of no use: then the conversation is read again.
  if (state) await engine.restoreState(state).catch(() => forgetState(id));
}

/** After an answer. */
export async function takeState(engine: Engine, id: string): Promise<void> {
  const write = async () => {
    try {
      const state = await engine.saveState();
      if (inside?.id === id) inside.size = state.size;
      await keepState(id, state);
    } catch {
      // A full disk, or an engine that is gone: the conversation is read again some day.
    }
  };
  if (!inside || inside.size <= LARGE) return write();
  clearTimeout(waiting?.timer);
  const timer = setTimeout(() => {
    waiting = undefined;
    void write();
  }, PAUSE);
  waiting = { timer, write };
}
