/**
 * Long texts are read before they are answered: step by step, so that the page can tell how far it
 * is, and a stop loses nothing.
 */

import type { ChatMessage, Engine } from "peregrine";
import { chatml, loraOf } from "./request.js";

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
/** Tokens of documents that are worth keeping for other conversations. */
const WORTH = 512;
/** Tokens at the end of a document that may be others where something else follows. */
const LOOSE = 2;
/** Seconds of reading after which it is kept, and how many times longer than keeping it takes. */
const [KEEP, TIMES] = [10, 10];

/** How a model's conversations are written: with or without a token before them. */
interface Format {
  addBos: boolean;
}

/** How far a conversation had been read when its state was kept. */
export interface ReadSoFar extends Format {
  tokens: number;
  /** The question that it is read for. */
  question?: string;
}

/** What is known of what the engine has read of a conversation. */
export interface Known {
  /**
   * The messages before an answer, how many tokens they were to the engine, and how many the answer
   * had.
   */
  answered: { messages: readonly ChatMessage[]; prompt: number; tokens: number } | undefined;
  /** Whether the engine still has that. */
  here: boolean;
  /** A reading that was stopped. */
  stopped: ReadSoFar | undefined;
  /** The beginnings of the conversation that end with its first documents. */
  documents: readonly string[];
}

/** What is done on the way. */
export interface OnTheWay {
  /** Tells how far it is. */
  tell: (reading: Reading) => void;
  /** Keeps what has been read so far. */
  keep: (at: ReadSoFar) => Promise<void>;
  /** Brings what had been read of one of these beginnings; how many tokens that is, 0 for none. */
  recall: (beginnings: readonly (readonly number[])[]) => Promise<number>;
  /** Keeps what has just been read of documents, for other conversations that begin with them. */
  remember: (ids: readonly number[]) => Promise<void>;
}

const BEGIN = "<|im_start|>assistant\n";

/**
 * How the engine's model writes conversations, if it is the way that {@link chatml} does: by how
 * many tokens an earlier request had, or, where there was none, a very short conversation.
 */
async function formatOf(engine: Engine, { answered, stopped }: Known, signal: AbortSignal): Promise<Format | undefined> {
  if (stopped) return { addBos: stopped.addBos };
  const short: ChatMessage[] = [{ role: "user", content: "Hello" }];
  const expected = answered?.prompt ?? (await engine.prefill(short, { signal, ...loraOf(engine) })).prompt_tokens;
  const text = answered ? chatml(answered.messages) + BEGIN : chatml(short);
  for (const addBos of [false, true]) {
    const ids = await engine.tokenizer.encode(text, { addBos });
    if (ids.length === expected) return { addBos };
  }
  return undefined;
}

/**
 * How many of a conversation's tokens each of its beginnings is, whatever follows; the longest
 * first.
 */
async function endsOf(engine: Engine, beginnings: readonly string[], ids: readonly number[], format: Format): Promise<number[]> {
  const ends: number[] = [];
  for (const text of beginnings) {
    const own = await engine.tokenizer.encode(text, format);
    const differs = own.findIndex((id, i) => id !== ids[i]);
    ends.unshift((differs < 0 ? own.length : differs) - LOOSE);
  }
  return ends.filter((end, i) => end - (ends[i + 1] ?? 0) >= WORTH);
}

/** A reading, as it was when it ended or was stopped. */
export class Reader {
  /** Tokens that it has read, which had not been read before. */
  fresh = 0;
  /** How far it is; undefined where it does not read. */
  at: ReadSoFar | undefined;

  /**
   * Reads a conversation that is about to be answered, if there is much of it that is new. What the
   * engine writes in another way is read with the answer.
   */
  async read(engine: Engine, messages: readonly ChatMessage[], known: Known, signal: AbortSignal, way: OnTheWay): Promise<void> {
    // Fewer characters than that are never so many tokens.
    if (messages.reduce((sum, { content }) => sum + (content?.length ?? 0), 0) < LONG) return;
    const format = await formatOf(engine, known, signal);
    if (!format) return;
    const ids = await engine.tokenizer.encode(chatml(messages), format);
    const total = ids.length;
    if (total >= engine.info.model.contextLength) return;
    const { answered, here, stopped } = known;
    let done = Math.min(Math.max(here && answered ? answered.prompt + answered.tokens : 0, stopped?.tokens ?? 0), total);
    const ends = (await endsOf(engine, known.documents, ids, format)).filter((end) => end > done);
    if (ends.length > 0) done = Math.max(done, await way.recall(ends.map((end) => ids.slice(0, end))));
    if (total - done < LONG) return;
    let [step, seconds] = [FIRST, 0];
    let [kept, wait] = [performance.now(), KEEP];
    way.tell({ done, total, left: undefined });
    while (done < total) {
      signal.throwIfAborted();
      const end = ends.findLast((end) => end > done) ?? total;
      const next = Math.min(done + step, end);
      const began = performance.now();
      const { prompt_tokens_details: details } = await engine.prefill(ids.slice(0, next), { signal, ...loraOf(engine) });
      signal.throwIfAborted();
      const now = performance.now();
      this.fresh += Math.max(0, next - details.cached_tokens);
      seconds += (now - began) / 1000;
      done = next;
      this.at = { tokens: done, addBos: format.addBos };
      const rate = this.fresh / Math.max(seconds, 1e-3);
      way.tell({ done, total, left: this.fresh > 0 ? (total - done) / rate : undefined });
      if (done === end && done < total) await way.remember(ids.slice(0, done));
      else if (done < total && now - kept > 1000 * wait) {
        await way.keep(this.at);
        kept = performance.now();
        wait = Math.max(KEEP, (TIMES * (kept - now)) / 1000);
      }
      const wanted = Math.ceil((rate * STEP) / LEAST) * LEAST;
      step = Math.min(MOST, Math.max(LEAST, Math.min(wanted, 2 * step)));
    }
  }
}
