/**
 * What a model needs on the GPU when a conversation begins, and when it is as long as it may be.
 */

import { defaultContext, memoryNeeded, type ModelShape } from "peregrine";

/** What a model needs. */
export interface Need {
  /** Bytes when a conversation begins. */
  first: number;
  /** Bytes when the context is full. */
  full: number;
  /** Tokens of the context. */
  tokens: number;
}

/** Tokens of a conversation that has just begun. */
const FIRST = 256;

/** With the context that was chosen; null: what suits this device. */
export function needOf(shape: ModelShape, contextLength: number | null, kvType: "f16" | "q8"): Need {
  const tokens = Math.min(contextLength ?? defaultContext(shape, kvType), shape.context);
  return { first: memoryNeeded(shape, Math.min(tokens, FIRST), kvType), full: memoryNeeded(shape, tokens, kvType), tokens };
}
