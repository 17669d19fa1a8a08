/** What a model needs, from its header: the first bytes of its file are read, and nothing is kept. */

import { createEngine, OutOfMemoryError, PeregrineError } from "peregrine";
import type { Need } from "./footprint.js";
import type { Settings } from "./settings.js";

/** What the header of a file says. */
export interface Header extends Need {
  /** Bytes of the file; 0: the server does not say. */
  bytes: number;
}

/** Tokens of a conversation that has just begun. */
const FIRST = 256;

/**
 * Asks the engine for the model with a budget that nothing fits into: before the first weight is read it says what would be needed.
 * @throws PeregrineError
 */
export async function readHeader(model: string, { contextLength, kvType }: Pick<Settings, "contextLength" | "kvType">, signal: AbortSignal): Promise<Header> {
  let bytes = 0;
  const ask = async (tokens: number | null) => {
    try {
      const engine = await createEngine({
        model,
        signal,
        kvType,
        cache: false,
        snapshotBytes: 0,
        memoryBudget: 1,
        ...(tokens === null ? {} : { contextLength: tokens }),
        onProgress: (progress) => progress.phase === "download" && (bytes = progress.total),
      });
      await engine.dispose();
    } catch (error) {
      if (error instanceof OutOfMemoryError && error.fit) return error.fit;
      throw error;
    }
    throw new PeregrineError("internal", "a model fitted into one byte");
  };
  const { needed: full, contextLength: tokens } = await ask(contextLength);
  const { needed: first } = await ask(Math.min(FIRST, tokens));
  return { first, full, tokens, bytes };
}
