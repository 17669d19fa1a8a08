/** Conversations go on without being read again: after a reload, and when another one was open in between. */

import type { Engine } from "peregrine";
import { forgetState, keepState, stateOf } from "./library.js";

/** Larger ones are read again: writing them after each answer would wear the disk more than reading costs. */
const LARGEST = 64e6;

/** Which conversation the engine has read last. */
let inside: { engine: Engine; id: string } | undefined;

/** Before a request of a conversation: gives the engine what it had read of it. */
export async function bringState(engine: Engine, id: string): Promise<void> {
  if (inside?.engine === engine && inside.id === id) return;
  inside = { engine, id };
  const state = await stateOf(id);
  // The state of another model, or a damaged one, is of no use: then the conversation is read again.
  if (state) await engine.restoreState(state).catch(() => forgetState(id));
}

/** After an answer. */
export async function takeState(engine: Engine, id: string): Promise<void> {
  try {
    const state = await engine.saveState();
    if (state.size <= LARGEST) await keepState(id, state);
  } catch {
    // A full disk, or an engine that is gone: the conversation is read again some day.
  }
}
