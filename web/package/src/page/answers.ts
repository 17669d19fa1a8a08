/** What OpenAI-compatible servers answer, in the shape that the engine's own answers have. */

import type { Usage } from "../openai.js";

type Fields = Record<string, unknown>;
const isObject = (value: unknown): value is Fields => typeof value === "object" && value !== null && !Array.isArray(value);
const number = (value: unknown): number | undefined => (typeof value === "number" && Number.isFinite(value) ? value : undefined);

/**
 * When it was asked, and when the first and the last piece of the answer came: milliseconds of one
 * clock.
 */
export interface Times {
  asked: number;
  first: number;
  last: number;
}

/**
 * Counts as OpenAI has them, and how long the parts took: as the server says (llama.cpp and
 * `peregrine serve`), else as it looks from here, where waiting in the server's queue is part of
 * reading.
 */
export function usageOf(given: unknown, timings: unknown, times: Times): Usage | undefined {
  if (!isObject(given)) return undefined;
  const prompt = number(given["prompt_tokens"]) ?? 0;
  const written = number(given["completion_tokens"]) ?? 0;
  const details = isObject(given["prompt_tokens_details"]) ? given["prompt_tokens_details"] : {};
  const own = isObject(given["timings"]) ? given["timings"] : {};
  const theirs = isObject(timings) ? timings : {};
  const decode = number(own["decode_ms"]) ?? number(theirs["predicted_ms"]) ?? times.last - times.first;
  // The first token is there when the time begins.
  const speed = decode > 0 && written > 1 ? ((written - 1) * 1000) / decode : 0;
  return {
    ...given,
    prompt_tokens: prompt,
    completion_tokens: written,
    total_tokens: number(given["total_tokens"]) ?? prompt + written,
    prompt_tokens_details: { ...details, cached_tokens: number(details["cached_tokens"]) ?? 0, dropped_messages: number(details["dropped_messages"]) ?? 0 },
    timings: {
      prefill_ms: number(own["prefill_ms"]) ?? number(theirs["prompt_ms"]) ?? times.first - times.asked,
      decode_ms: decode,
      tokens_per_second: number(own["tokens_per_second"]) ?? number(theirs["predicted_per_second"]) ?? speed,
    },
  };
}

/** The fields that have a value. */
const given = (fields: Fields): Fields =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null && value !== undefined && !(Array.isArray(value) && value.length === 0)));

/** The choices, each with its number, or undefined where there are none to read. */
function choicesOf(value: unknown): Fields[] | undefined {
  if (!Array.isArray(value) || !value.every(isObject)) return undefined;
  return value.map((choice, index) => ({ ...choice, index: number(choice["index"]) ?? index }));
}

const ends = (choice: Fields): boolean => typeof choice["finish_reason"] === "string" && choice["finish_reason"] !== "";

/** A whole answer as the engine would give it; a text says what is wrong with it. */
export function wholeOf(kind: "chat" | "completion", said: unknown): { answer: Fields; hasIds: boolean } | string {
  const choices = isObject(said) ? choicesOf(said["choices"]) : undefined;
  if (!isObject(said) || !choices || choices.length === 0) return "the answer has no choices";
  if (!choices.every(ends)) return "the answer has no finish_reason: it is not whole";
  const shaped = choices.map((choice) => {
    const ids = choice["token_ids"] ? {} : { token_ids: undefined };
    if (kind === "completion") return { ...choice, text: String(choice["text"] ?? ""), logprobs: choice["logprobs"] ?? null, ...ids };
    const message = isObject(choice["message"]) ? choice["message"] : {};
    const { tool_calls: calls, ...rest } = message;
    const hasCalls = Array.isArray(calls) && calls.length > 0;
    // Nothing but calls of tools is no text, not an empty one; and no calls are no list of them.
    const content = message["content"] ?? (hasCalls ? null : "");
    return { ...choice, message: { refusal: null, ...rest, role: "assistant", content, ...(hasCalls ? { tool_calls: calls } : {}) }, logprobs: choice["logprobs"] ?? null, ...ids };
  });
  const object = kind === "chat" ? "chat.completion" : "text_completion";
  return { answer: { ...said, object, choices: shaped }, hasIds: choices.every((choice) => Array.isArray(choice["token_ids"])) };
}

/** One piece of a stream. */
export interface Piece {
  /** As the engine would send it, without counts. Missing where the piece has nothing else. */
  chunk?: Fields;
  /** Something of the answer is in it, or its end. */
  weighs: boolean;
  usage: unknown;
  timings: unknown;
}

/** Reads the pieces of one stream, and sees whether each answer in it comes to its end. */
export class Pieces {
  readonly #kind: "chat" | "completion";
  /** Numbers of answers, and whether they have ended. */
  readonly #ended = new Map<unknown, boolean>();
  /** What every piece has: id, created, model. */
  head: Fields = {};
  /** Some piece had the ids of its tokens. */
  hasIds = false;

  constructor(kind: "chat" | "completion") {
    this.#kind = kind;
  }

  /** There was an answer, and all have ended. */
  get isWhole(): boolean {
    return this.#ended.size > 0 && [...this.#ended.values()].every(Boolean);
  }

  /** A piece; undefined where it is none. */
  read(said: unknown): Piece | undefined {
    const choices = isObject(said) ? choicesOf(said["choices"]) : undefined;
    if (!isObject(said) || !choices) return undefined;
    const { usage, timings, ...rest } = said;
    const object = this.#kind === "chat" ? "chat.completion.chunk" : "text_completion";
    for (const choice of choices) {
      this.#ended.set(choice["index"], ends(choice) || this.#ended.get(choice["index"]) === true);
      this.hasIds ||= Array.isArray(choice["token_ids"]);
    }
    const { choices: _, ...head } = rest;
    this.head = { ...head, object };
    if (choices.length === 0) return { weighs: false, usage, timings };
    const shaped = choices.map((choice) => this.#shape(choice));
    const weighs = shaped.some((choice) => choice["finish_reason"] !== null || this.#hasText(choice));
    return { chunk: { ...rest, object, choices: shaped }, weighs, usage, timings };
  }

  #shape(choice: Fields): Fields {
    const { token_ids: ids, ...rest } = choice;
    const shaped = { ...rest, finish_reason: ends(choice) ? choice["finish_reason"] : null, ...(Array.isArray(ids) ? { token_ids: ids } : {}) };
    if (this.#kind === "chat") return { ...shaped, delta: given(isObject(choice["delta"]) ? choice["delta"] : {}) };
    return { ...shaped, text: String(choice["text"] ?? ""), logprobs: choice["logprobs"] ?? null };
  }

  /** Something but the role. */
  #hasText(choice: Fields): boolean {
    if (this.#kind === "completion") return choice["text"] !== "";
    return Object.entries(choice["delta"] as Fields).some(([field, value]) => field !== "role" && value !== "" && !(Array.isArray(value) && value.length === 0));
  }
}
