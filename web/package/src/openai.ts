/** The OpenAI chat-completions shapes, as far as this engine goes; what it does not do is refused by name. */

import { makeError } from "./errors.js";
import type { ChatRequest, ChatResult } from "./protocol.js";

/** A message of the conversation. Only text. */
export interface ChatMessage {
  role: "system" | "user" | "assistant";
  content: string;
}

/** Body of `engine.chat.completions.create`. Names, defaults and ranges are OpenAI's where OpenAI has the field. */
export interface ChatCompletionParams {
  messages: readonly ChatMessage[];
  /** Chunks as they come (true), or the whole answer at the end. */
  stream?: boolean | null;
  stream_options?: { include_usage?: boolean } | null;
  /** At most this many new tokens; as many as fit when left out. */
  max_completion_tokens?: number | null;
  /** The older name of `max_completion_tokens`. */
  max_tokens?: number | null;
  /** 0 to 2; 0 always takes the likeliest token. Default 1. */
  temperature?: number | null;
  /** 0 to 1. Default 1: off. */
  top_p?: number | null;
  /** Not OpenAI's: only the k likeliest tokens. Default 0: off. */
  top_k?: number | null;
  /** Not OpenAI's: drops tokens less likely than this share of the likeliest. Default 0: off. */
  min_p?: number | null;
  /** Not OpenAI's: above 1 makes tokens that are already there less likely. Default 1: off. */
  repetition_penalty?: number | null;
  /** The same seed gives the same answer on the same device. A fresh one when left out. */
  seed?: number | null;
  /** Not OpenAI's: adds `token_ids` to the choices. */
  return_token_ids?: boolean | null;
  /** Ignored: there is one model in an engine. */
  model?: string;
  /** Only 1. */
  n?: number | null;
}

/** Why an answer ended: by itself, or because `max_tokens` or the context was used up. */
export type FinishReason = "stop" | "length";

/** Token counts, OpenAI's shape, and how long the parts took. */
export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  /** Tokens of the prompt that were read in an earlier request and cost nothing now. */
  prompt_tokens_details: { cached_tokens: number };
  timings: {
    /** Reading the new part of the prompt, milliseconds. */
    prefill_ms: number;
    /** From the first token of the answer to the last, milliseconds. */
    decode_ms: number;
    /** Tokens a second in that time; 0 for answers too short to say. */
    tokens_per_second: number;
  };
}

/** A piece of a streamed answer. */
export interface ChatCompletionChunk {
  id: string;
  object: "chat.completion.chunk";
  /** Seconds since 1970. */
  created: number;
  model: string;
  choices: {
    index: 0;
    delta: { role?: "assistant"; content?: string };
    finish_reason: FinishReason | null;
    token_ids?: number[];
  }[];
  /** On the last chunk, when `stream_options.include_usage` asks for it. */
  usage?: Usage | null;
}

/** A whole answer. */
export interface ChatCompletion {
  id: string;
  object: "chat.completion";
  /** Seconds since 1970. */
  created: number;
  model: string;
  choices: [
    { index: 0; message: { role: "assistant"; content: string }; finish_reason: FinishReason; token_ids?: number[] },
  ];
  usage: Usage;
}

/** Fields of OpenAI's API that this version refuses, and the values that change nothing and so are let through. */
const NEUTRAL: Record<string, unknown[]> = {
  n: [1],
  frequency_penalty: [0],
  presence_penalty: [0],
  logprobs: [false],
  top_logprobs: [0],
  stop: [],
  logit_bias: [],
  tools: [],
  tool_choice: ["none", "auto"],
  parallel_tool_calls: [true, false],
  functions: [],
  function_call: ["none", "auto"],
  response_format: [],
  modalities: [],
  audio: [],
  prediction: [],
  reasoning_effort: [],
  verbosity: [],
  web_search_options: [],
};

/** Fields that are understood, or say nothing about the answer. */
const KNOWN = new Set([
  "messages", "stream", "stream_options", "max_completion_tokens", "max_tokens", "temperature", "top_p", "top_k", "min_p",
  "repetition_penalty", "seed", "return_token_ids", "model", "user", "metadata", "store", "service_tier",
]);

const wrong = (field: string, expected: string, found: unknown) =>
  makeError("argument", `${field}: expected ${expected}, found ${JSON.stringify(found) ?? String(found)}`);

function number(body: Record<string, unknown>, field: string, fallback: number, min: number, max: number, whole = false): number {
  const value = body[field] ?? fallback;
  if (typeof value !== "number" || !(value >= min && value <= max) || (whole && !Number.isInteger(value))) {
    const kind = whole ? "a whole number" : "a number";
    throw wrong(field, max >= Number.MAX_SAFE_INTEGER ? `${kind} of at least ${min}` : `${kind} from ${min} to ${max}`, value);
  }
  return value;
}

/**
 * Checks a request and fills in the defaults.
 * @throws RequestError that names the field: `not-supported` for what this version does not do, `argument` for wrong values.
 */
export function readRequest(params: ChatCompletionParams): ChatRequest {
  const body = params as unknown as Record<string, unknown>;
  for (const [field, value] of Object.entries(body)) {
    if (value === undefined || value === null || KNOWN.has(field)) continue;
    const neutral = NEUTRAL[field];
    if (!neutral) throw makeError("not-supported", `${field}: not a field of a chat completion`);
    const empty = (Array.isArray(value) && value.length === 0) || (typeof value === "object" && Object.keys(value).length === 0);
    const plainText = field === "response_format" && (value as { type?: unknown }).type === "text";
    if (!neutral.includes(value) && !empty && !plainText) {
      throw makeError("not-supported", `${field}: not supported in this version`);
    }
  }
  if (!Array.isArray(params.messages) || params.messages.length === 0) throw wrong("messages", "at least one message", params.messages);
  const messages = params.messages.map((message: ChatMessage, i) => {
    const at = `messages[${i}]`;
    if (!["system", "user", "assistant"].includes(message?.role)) throw wrong(`${at}.role`, "system, user or assistant", message?.role);
    if (typeof message.content !== "string") throw wrong(`${at}.content`, "a string (only text is supported)", message.content);
    return { role: message.role, content: message.content };
  });
  const limit = body.max_completion_tokens == null ? "max_tokens" : "max_completion_tokens";
  return {
    messages,
    maxTokens: number(body, limit, 0xffffffff, 1, 0xffffffff, true),
    temperature: number(body, "temperature", 1, 0, 2),
    topK: number(body, "top_k", 0, 0, 0xffffffff, true),
    topP: number(body, "top_p", 1, 0, 1),
    minP: number(body, "min_p", 0, 0, 1),
    repetitionPenalty: number(body, "repetition_penalty", 1, 0.01, 10),
    seed: number(body, "seed", Math.floor(Math.random() * 2 ** 32), 0, Number.MAX_SAFE_INTEGER, true),
  };
}

/** The engine's counters as OpenAI's. */
export function usageOf(result: ChatResult): Usage {
  const tokens = result.ids.length;
  return {
    prompt_tokens: result.promptTokens,
    completion_tokens: tokens,
    total_tokens: result.promptTokens + tokens,
    prompt_tokens_details: { cached_tokens: result.cachedTokens },
    timings: {
      prefill_ms: result.prefillSeconds * 1000,
      decode_ms: result.decodeSeconds * 1000,
      tokens_per_second: tokens > 1 && result.decodeSeconds > 0 ? (tokens - 1) / result.decodeSeconds : 0,
    },
  };
}
