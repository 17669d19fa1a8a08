/** Long texts are read before they are answered: step by step, so that the page can tell how far it is, and a stop loses nothing. */

import type { ChatMessage, Engine } from "peregrine";
import { chatml } from "./request.js";

/** How far the reading of a conversation is. */
export interface Reading {
  /** Tokens that have been read, of how many. */
  done: number;
  total: number;
  /** Seconds that the rest takes, as far as that is known. */
  left: number | undefined;
}

/** Tokens from which reading is shown; less is read in the first step of the answer. */
const LONG = 1024;
/** Tokens that are read in one step: first, at least and at most. */
const [FIRST, LEAST, MOST] = [512, 256, 8192];
/** Seconds that a step should take. */
const STEP = 0.7;

/** How a model's conversations are written: with or without a token before them. */
interface Format {
  addBos: boolean;
}

/** How far a conversation had been read when its state was kept. */
export interface ReadSoFar extends Format {
  tokens: number;
}

/** What is known of what the engine has read of a conversation. */
export interface Known {
  /** The messages before an answer, how many tokens they were to the engine, and how many the answer had. */
  answered: { messages: readonly ChatMessage[]; prompt: number; tokens: number } | undefined;
  /** A reading that was stopped. */
  stopped: ReadSoFar | undefined;
}

const BEGIN = "<|im_start|>assistant\n";

/**
 * How the engine's model writes conversations, if it is the way that {@link chatml} does: by how many tokens an earlier request had, or,
 * where there was none, a very short conversation.
 */
async function formatOf(engine: Engine, { answered, stopped }: Known, signal: AbortSignal): Promise<Format | undefined> {
  if (stopped) return { addBos: stopped.addBos };
  const short: ChatMessage[] = [{ role: "user", content: "Hello" }];
  const expected = answered?.prompt ?? (await engine.prefill(short, { signal })).prompt_tokens;
  const text = answered ? chatml(answered.messages) + BEGIN : chatml(short);
  for (const addBos of [false, true]) {
    const ids = await engine.tokenizer.encode(text, { addBos });
    if (ids.length === expected) return { addBos };
  }
  return undefined;
}

/** A reading, as it was when it ended or was stopped. */
export class Reader {
  /** Tokens that it has read, which had not been read before. */
  fresh = 0;
  /** How far it is; undefined where it does not read. */
  at: ReadSoFar | undefined;

  /**
   * Reads a conversation that is about to be answered, if there is much of it that is new. What the engine writes in another way is read
   * with the answer.
   */
  async read(engine: Engine, messages: readonly ChatMessage[], known: Known, signal: AbortSignal, tell: (reading: Reading) => void): Promise<void> {
    // Fewer characters than that are never so many tokens.
    if (messages.reduce((sum, { content }) => sum + (content?.length ?? 0), 0) < LONG) return;
    const format = await formatOf(engine, known, signal);
    if (!format) return;
    const ids = await engine.tokenizer.encode(chatml(messages), format);
    const total = ids.length;
    const { answered, stopped } = known;
    let done = Math.min(Math.max(answered ? answered.prompt + answered.tokens : 0, stopped?.tokens ?? 0), total);
    if (total - done < LONG || total >= engine.info.model.contextLength) return;
    let [step, seconds] = [FIRST, 0];
    tell({ done, total, left: undefined });
    while (done < total) {
      signal.throwIfAborted();
      const next = Math.min(done + step, total);
      const began = performance.now();
      const { prompt_tokens_details: details } = await engine.prefill(ids.slice(0, next), { signal });
      signal.throwIfAborted();
      this.fresh += Math.max(0, next - details.cached_tokens);
      seconds += (performance.now() - began) / 1000;
      done = next;
      this.at = { tokens: done, addBos: format.addBos };
      const rate = this.fresh / Math.max(seconds, 1e-3);
      tell({ done, total, left: this.fresh > 0 ? (total - done) / rate : undefined });
      const wanted = Math.ceil((rate * STEP) / LEAST) * LEAST;
      step = Math.min(MOST, Math.max(LEAST, Math.min(wanted, 2 * step)));
    }
  }
}
