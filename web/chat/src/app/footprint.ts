/**
 * What a model needs on the GPU when a conversation begins, and when it is as long as it may be.
 */

import { defaultContext, longestContext, memoryNeeded, readNeeds, type ModelShape } from "peregrine";
import type { Settings } from "./settings.js";

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

/** The settings that decide about memory. */
type Chosen = Pick<Settings, "contextLength" | "kvType" | "memoryLimit">;

/** Bytes that the person allows, as the engine is told; null: no limit. */
export const budgetOf = ({ memoryLimit }: Pick<Settings, "memoryLimit">): number | null => (memoryLimit === null ? null : Math.round(memoryLimit * 1e9));

/**
 * With the context that was chosen; where none was, with the longest one that the person's limit
 * has room for, or without a limit what suits this device.
 */
export function needOf(shape: ModelShape, chosen: Chosen): Need {
  const { contextLength, kvType } = chosen;
  const budget = budgetOf(chosen);
  // Of a model that does not fit at all it is told what it needs.
  const free = (budget !== null && longestContext(shape, budget, kvType)) || defaultContext(shape, kvType);
  const tokens = Math.min(contextLength ?? free, shape.context);
  return { first: memoryNeeded(shape, Math.min(tokens, FIRST), kvType), full: memoryNeeded(shape, tokens, kvType), tokens };
}

/** The same by the header of a model's file, and the bytes of that. @throws as the engine */
export async function readNeed(model: string, chosen: Chosen, signal: AbortSignal): Promise<Need & { bytes: number }> {
  const { contextLength, kvType } = chosen;
  const memoryBudget = budgetOf(chosen);
  const { contextLength: tokens, ...needs } = await readNeeds({ model, kvType, signal, ...(contextLength !== null && { contextLength }), ...(memoryBudget !== null && { memoryBudget }) });
  return { ...needs, tokens };
}
