/** What a model needs on the GPU, before it is there. */

import { createEngine, type EngineOptions } from "./create.js";
import { likelyMemory } from "../device-memory.js";
import { makeError, OutOfMemoryError, type MemoryFit } from "../errors.js";

/** A model's shape, as far as it decides about memory. */
export interface ModelShape {
  /** Bytes of weights, activations and SSM states: all but keys and values. */
  base: number;
  /** Layers with attention. */
  layers: number;
  /** Values of a key, or of a value, of one position in a layer. */
  width: number;
  /** Tokens of the longest conversation that the model was made for. */
  context: number;
}

/** How keys and values are kept. */
export type KvType = NonNullable<EngineOptions["kvType"]>;

/** Positions whose keys and values lie together. */
const PAGE = 128;
/** Pages that there are from the beginning. */
const FIRST = 2;
/** Values that share a scale when they are kept in 8 bits, which has 4 bytes. */
const BLOCK = 32;

const ROWS: Record<KvType, (width: number) => number> = {
  f32: (width) => 4 * width,
  f16: (width) => 2 * width,
  q8: (width) => (width / BLOCK) * (BLOCK + 4),
};

/** Pages that there are at most in a conversation of so many tokens. */
function pagesOf(tokens: number): number {
  const pages = Math.ceil(tokens / PAGE);
  // It grows by doubling, and what was there lies beside it while it does.
  const before = pages < 2 ? 0 : 2 ** Math.floor(Math.log2(pages - 1));
  return pages + (before < FIRST ? 0 : before);
}

/**
 * Bytes on the GPU with a conversation of so many tokens, snapshots not counted: what
 * `memoryBudget` is compared with.
 */
export function memoryNeeded({ base, layers, width }: ModelShape, tokens: number, kvType: KvType = "f16"): number {
  return base + layers * pagesOf(tokens) * 2 * PAGE * ROWS[kvType](width);
}

/** Tokens of the longest conversation for which so many bytes are enough; 0: none. */
export function longestContext(shape: ModelShape, bytes: number, kvType: KvType = "f16"): number {
  let [fits, over] = [0, shape.context + 1];
  while (over - fits > 1) {
    const middle = Math.floor((fits + over) / 2);
    if (memoryNeeded(shape, middle, kvType) <= bytes) fits = middle;
    else over = middle;
  }
  return fits;
}

/** A context that nobody asked for is a multiple of so many tokens, and has at least so many. */
const [ROUND, SHORTEST] = [1024, 4096];

/**
 * Tokens of the context that `createEngine` chooses on this device where the app says neither
 * `contextLength` nor `memoryBudget`: as many as fit half of the memory that the browser says the
 * device has (Chromium does; elsewhere 4 GB are assumed), in whole multiples of 1,024 and at least
 * 4,096, as far as the model was made for them. `engine.growContext` makes it longer.
 */
export function defaultContext(shape: ModelShape, kvType: KvType = "f16"): number {
  const fits = longestContext(shape, likelyMemory(), kvType);
  return fits === shape.context ? fits : Math.min(Math.max(Math.floor(fits / ROUND) * ROUND, SHORTEST), shape.context);
}

/** More tokens than any model was made for. */
const ANY = 2 ** 32 - 1;

/** What {@link readNeeds} tells. */
export interface ModelNeeds {
  /** Bytes of the file; 0: the server does not say. */
  bytes: number;
  /**
   * Tokens that a conversation may have; where none were asked for, the most for which
   * `memoryBudget` has room, and without one, or where the model does not fit into it at all, as
   * {@link defaultContext}.
   */
  contextLength: number;
  /** Bytes on the GPU when a conversation begins. */
  first: number;
  /** Bytes on the GPU when the context is full, snapshots not counted. */
  full: number;
}

/**
 * What {@link readNeeds} takes: the model, how it is had, and the options that decide about memory.
 */
export type NeedsOptions = Pick<EngineOptions, "model" | "hub" | "contextLength" | "memoryBudget" | "kvType" | "signal" | "wasmUrl" | "logLevel" | "logger">;

/**
 * What a model needs, by its header: no more than the first bytes of its file are read, and nothing
 * is kept.
 * @throws as `createEngine`
 */
export async function readNeeds(options: NeedsOptions): Promise<ModelNeeds> {
  let bytes = 0;
  const ask = async (contextLength: number | undefined): Promise<MemoryFit> => {
    try {
      const engine = await createEngine({
        ...options,
        ...(contextLength === undefined ? {} : { contextLength }),
        cache: false,
        snapshotBytes: 0,
        // Nothing fits: what would be needed is told before the first weight is read.
        memoryBudget: 1,
        onProgress: (progress) => void (progress.phase === "download" && (bytes = progress.total)),
      });
      await engine.dispose();
    } catch (error) {
      if (error instanceof OutOfMemoryError && error.fit) return error.fit;
      throw error;
    }
    throw makeError("internal", "a model fitted into one byte");
  };
  const { memoryBudget, kvType = "f16" } = options;
  const isFree = options.contextLength === undefined && memoryBudget !== undefined;
  const { needed: full, contextLength } = await ask(isFree ? ANY : options.contextLength);
  const few = Math.min(FIRST * PAGE, contextLength);
  const { needed: first } = await ask(few);
  if (!isFree || full <= memoryBudget) return { bytes, contextLength, first, full };
  // Two contexts tell what a page takes: the header need not be read again for others.
  const pages = pagesOf(contextLength) - pagesOf(few);
  const page = pages > 0 ? (full - first) / pages : 0;
  const width = page / (2 * PAGE * ROWS[kvType](1));
  const shape = { base: first - page * pagesOf(few), layers: 1, width, context: contextLength };
  // Of a model that does not fit at all it is told what it needs.
  const tokens = longestContext(shape, memoryBudget, kvType) || defaultContext(shape, kvType);
  const needed = (most: number) => memoryNeeded(shape, Math.min(most, tokens), kvType);
  return { bytes, contextLength: tokens, first: needed(few), full: needed(tokens) };
}
