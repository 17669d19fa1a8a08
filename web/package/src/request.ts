/** Checks requests and fills in the defaults; what this engine does not do is refused by name. */

import { makeError } from "./errors.js";
import { boolean as checkBoolean, ids as checkIds, number as checkNumber, oneOf, suggestion, wrong } from "./options.js";
import type { ChatCompletionParams, ChatMessage, CompletionParams, GenerationParams, Usage } from "./openai.js";
import type { AnswerRequest, AnswerResult } from "./protocol.js";

/** Fields of OpenAI's API that this version refuses, and the values that change nothing and so are let through. */
const NEUTRAL: Record<string, unknown[]> = {
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
  logprobs: [false],
  top_logprobs: [0],
  echo: [false],
  best_of: [1],
  suffix: [""],
};

/** Fields that are understood, or say nothing about the answer. */
const COMMON = [
  "stream", "stream_options", "max_tokens", "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty",
  "repetition_penalty", "logit_bias", "stop", "seed", "n", "ignore_eos", "return_token_ids", "model", "user", "metadata", "store", "service_tier",
  "safety_identifier", "prompt_cache_key",
];
const MESSAGE = new Set(["role", "content"]);
const CHAT = new Set([...COMMON, "messages", "max_completion_tokens", "logprobs", "top_logprobs", "truncation"]);
const PLAIN = new Set([...COMMON, "prompt"]);

type Body = Record<string, unknown>;

function bodyOf(params: unknown): Body {
  if (typeof params !== "object" || params === null || Array.isArray(params)) throw wrong("the request", "an object", params);
  return params as Body;
}

/** A field, or its default; its check throws. */
function number(body: Body, field: string, fallback: number, min: number, max: number, whole = false): number {
  const value = body[field] ?? fallback;
  checkNumber(min, max, whole)(value, field);
  return value as number;
}

function boolean(body: Body, field: string): boolean {
  const value = body[field] ?? false;
  checkBoolean(value, field);
  return value as boolean;
}

function refuseUnknown(body: Body, known: Set<string>, kind: string): void {
  for (const [field, value] of Object.entries(body)) {
    if (value === undefined || value === null || known.has(field)) continue;
    const neutral = NEUTRAL[field];
    if (!neutral) throw makeError("not-supported", `${field}: not a field of a ${kind}${suggestion(field, known)}`);
    const empty = (Array.isArray(value) && value.length === 0) || (typeof value === "object" && Object.keys(value).length === 0);
    const plainText = field === "response_format" && (value as { type?: unknown }).type === "text";
    if (!neutral.includes(value) && !empty && !plainText) throw makeError("not-supported", `${field}: not supported in this version`);
  }
}

function stops(value: GenerationParams["stop"]): string[] {
  if (value === undefined || value === null) return [];
  const list = typeof value === "string" ? [value] : value;
  const fits = Array.isArray(list) && list.length <= 4 && list.every((text) => typeof text === "string" && text !== "");
  if (!fits) throw wrong("stop", "a text or up to four, none of them empty", value);
  return [...list];
}

function biases(value: GenerationParams["logit_bias"]): [number, number][] {
  if (value !== undefined && value !== null && (typeof value !== "object" || Array.isArray(value))) throw wrong("logit_bias", "an object", value);
  return Object.entries(value ?? {}).map(([token, bias]) => {
    if (!/^\d+$/.test(token)) throw wrong("logit_bias", "token ids", token);
    if (typeof bias !== "number" || !(bias >= -100 && bias <= 100)) throw wrong(`logit_bias["${token}"]`, "a number from -100 to 100", bias);
    return [Number(token), bias];
  });
}

function streaming(body: Body): void {
  boolean(body, "stream");
  boolean(body, "return_token_ids");
  const options = body.stream_options ?? {};
  if (typeof options !== "object" || Array.isArray(options)) throw wrong("stream_options", "an object", options);
  for (const [field, value] of Object.entries(options)) {
    if (value == null) continue;
    if (field === "include_usage") checkBoolean(value, "stream_options.include_usage");
    else throw makeError("not-supported", `stream_options.${field}: not a field of stream_options${suggestion(field, ["include_usage"])}`);
  }
}

function common(body: Body, params: GenerationParams, limit: string, tokens: number): Omit<AnswerRequest, "refuseWhenBusy"> {
  streaming(body);
  return {
    maxTokens: number(body, limit, tokens, 1, 0xffffffff, true),
    temperature: number(body, "temperature", 1, 0, 2),
    topK: number(body, "top_k", 0, 0, 0xffffffff, true),
    // 0 keeps the likeliest token, as the smallest share of the probability does.
    topP: Math.max(number(body, "top_p", 1, 0, 1), 1e-30),
    minP: number(body, "min_p", 0, 0, 1),
    presencePenalty: number(body, "presence_penalty", 0, -2, 2),
    frequencyPenalty: number(body, "frequency_penalty", 0, -2, 2),
    repetitionPenalty: number(body, "repetition_penalty", 1, 0.01, 10),
    logitBias: biases(params.logit_bias),
    stop: stops(params.stop),
    ignoreEnd: boolean(body, "ignore_eos"),
    seed: number(body, "seed", Math.floor(Math.random() * 2 ** 32), 0, Number.MAX_SAFE_INTEGER, true),
  };
}

/** How many answers are asked for. */
export const countOf = (params: GenerationParams): number => number(params as unknown as Body, "n", 1, 1, 128, true);

/**
 * A chat completion.
 * @throws RequestError that names the field: `not-supported` for what this version does not do, `argument` for wrong values.
 */
export function readChat(params: ChatCompletionParams): Omit<AnswerRequest, "refuseWhenBusy"> {
  const body = bodyOf(params);
  refuseUnknown(body, CHAT, "chat completion");
  if (!Array.isArray(params.messages) || params.messages.length === 0) throw wrong("messages", "at least one message", params.messages);
  const messages = params.messages.map((message: ChatMessage, i) => {
    const at = `messages[${i}]`;
    if (!["system", "user", "assistant"].includes(message?.role)) throw wrong(`${at}.role`, "system, user or assistant", message?.role);
    if (typeof message.content !== "string") throw wrong(`${at}.content`, "a string (only text is supported)", message.content);
    for (const [field, value] of Object.entries(message)) {
      // What an answer of this engine has, and may be sent back with: it says nothing.
      const isEmpty = value === undefined || value === null || (Array.isArray(value) && value.length === 0);
      if (MESSAGE.has(field) || isEmpty) continue;
      throw makeError("not-supported", `${at}.${field}: not a field of a message${suggestion(field, MESSAGE)}`);
    }
    return { role: message.role, content: message.content };
  });
  boolean(body, "logprobs");
  const truncation = params.truncation ?? "disabled";
  oneOf("auto", "disabled")(truncation, "truncation");
  const limit = body.max_completion_tokens == null ? "max_tokens" : "max_completion_tokens";
  const request = { messages, dropOldest: truncation === "auto", ...common(body, params, limit, 0xffffffff) };
  const top = number(body, "top_logprobs", 0, 0, 20, true);
  if (top > 0 && !params.logprobs) throw wrong("top_logprobs", "logprobs: true beside it", top);
  return params.logprobs ? { ...request, logprobs: top } : request;
}

/**
 * A plain completion.
 * @throws as {@link readChat}
 */
export function readCompletion(params: CompletionParams): Omit<AnswerRequest, "refuseWhenBusy"> {
  const body = bodyOf(params);
  refuseUnknown(body, PLAIN, "completion");
  const { prompt } = params;
  if (typeof prompt !== "string") {
    if (!Array.isArray(prompt) || prompt.length === 0) throw wrong("prompt", "a text or a list of token ids", prompt);
    checkIds(prompt, "prompt");
  }
  return { prompt: typeof prompt === "string" ? prompt : [...prompt], ...common(body, params, "max_tokens", 16) };
}

/**
 * What is only to be read: a text, token ids, or the beginning of conversations.
 * @throws as {@link readChat}
 */
export function readPrefill(prompt: string | readonly number[] | readonly ChatMessage[]): Omit<AnswerRequest, "refuseWhenBusy"> {
  const isChat = Array.isArray(prompt) && typeof prompt[0] === "object";
  const request = isChat ? readChat({ messages: prompt as readonly ChatMessage[] }) : readCompletion({ prompt: prompt as string | readonly number[] });
  return { ...request, maxTokens: 0 };
}

/** The engine's counters as OpenAI's; `results` are the answers to one request. */
export function usageOf(results: readonly AnswerResult[]): Usage {
  const sum = (of: (result: AnswerResult) => number) => results.reduce((total, result) => total + of(result), 0);
  const tokens = sum((result) => result.ids.length);
  const prompt = results[0]?.promptTokens ?? 0;
  const decode = sum((result) => result.decodeSeconds);
  const later = sum((result) => Math.max(0, result.ids.length - 1));
  return {
    prompt_tokens: prompt,
    completion_tokens: tokens,
    total_tokens: prompt + tokens,
    prompt_tokens_details: { cached_tokens: results[0]?.cachedTokens ?? 0, dropped_messages: results[0]?.droppedMessages ?? 0 },
    timings: {
      prefill_ms: sum((result) => result.prefillSeconds) * 1000,
      decode_ms: decode * 1000,
      tokens_per_second: later > 0 && decode > 0 ? later / decode : 0,
    },
  };
}
