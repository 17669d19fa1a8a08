/** What official checkpoints need on the GPU, from their published shapes; a test compares it with what the engine computes from such a header. */

/** A shape, as far as it decides about memory. */
export interface Shape {
  /** Bytes of weights, activations and SSM states: all but keys and values. */
  base: number;
  layers: number;
  /** Values of a key, or of a value, of one position in a layer. */
  width: number;
  /** Tokens of the longest conversation that the model was made for. */
  context: number;
}

/** Positions whose keys and values lie together. */
const PAGE = 128;
/** Pages that there are from the beginning. */
const FIRST = 2;
/** Values that share a scale when they are kept in 8 bits, which has 4 bytes. */
const BLOCK = 32;

/** Bytes on the GPU with a conversation of so many tokens, places to go back to not counted. */
export function neededBy({ base, layers, width }: Shape, tokens: number, kvType: "f16" | "q8"): number {
  const row = kvType === "f16" ? 2 * width : (width / BLOCK) * (BLOCK + 4);
  const pages = Math.ceil(tokens / PAGE);
  // It grows by doubling, and what was there lies beside it while it does.
  const before = pages < 2 ? 0 : 2 ** Math.floor(Math.log2(pages - 1));
  return base + layers * (pages + (before < FIRST ? 0 : before)) * 2 * PAGE * row;
}

/** What a model needs. */
export interface Need {
  /** Bytes when a conversation begins. */
  first: number;
  /** Bytes when the context is full. */
  full: number;
  /** Tokens of the context. */
  tokens: number;
}

/** With the context that was chosen; null: what the model was made for. */
export function needOf(shape: Shape, contextLength: number | null, kvType: "f16" | "q8"): Need {
  const tokens = Math.min(contextLength ?? shape.context, shape.context);
  return { first: neededBy(shape, Math.min(tokens, FIRST * PAGE), kvType), full: neededBy(shape, tokens, kvType), tokens };
}

/** Tokens of the longest conversation for which so many bytes are enough; 0: none. */
export function longestWithin(shape: Shape, limit: number, kvType: "f16" | "q8"): number {
  let [fits, over] = [0, shape.context + 1];
  while (over - fits > 1) {
    const middle = Math.floor((fits + over) / 2);
    if (neededBy(shape, middle, kvType) <= limit) fits = middle;
    else over = middle;
  }
  return fits;
}
