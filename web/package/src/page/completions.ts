/** `engine.chat.completions` and `engine.completions`. */

import type { ChatCompletion, ChatCompletionChunk, ChatCompletionParams, ChatMessage, Completion, CompletionParams, Loras, Usage } from "../openai.js";
import { checkCall, checkPrefill } from "./options.js";
import { jsonOf, type Requests } from "./requests.js";
import { AnswerStream, type Events } from "./stream.js";

/** Options of a single call. */
export interface CallOptions {
  /** Stops the call. */
  signal?: AbortSignal;
}

/** Options of `engine.prefill`. */
export interface PrefillOptions extends CallOptions {
  /** Adapters beside the model, as in a request. */
  lora?: Loras;
}

/** A chat completion as it comes. */
export type ChatStream = AnswerStream<ChatCompletionChunk>;
/** A plain completion as it comes. */
export type CompletionStream = AnswerStream<Completion>;

/** The whole response. */
async function whole<T>(events: Events): Promise<T> {
  await events.next();
  return JSON.parse(events.result?.whole as string) as T;
}

/** `engine.chat.completions`. */
export class ChatCompletions {
  readonly #requests: Requests;

  /** @internal */
  constructor(requests: Requests) {
    this.#requests = requests;
  }

  /**
   * Answers a conversation. What of it the engine has read in the request before is not read again.
   * With `stream: true` the answer comes in chunks; leaving the loop stops the GPU.
   */
  create(params: ChatCompletionParams & { stream: true }, options?: CallOptions): Promise<ChatStream>;
  create(params: ChatCompletionParams & { stream?: false | null }, options?: CallOptions): Promise<ChatCompletion>;
  create(params: ChatCompletionParams, options?: CallOptions): Promise<ChatStream | ChatCompletion>;
  async create(params: ChatCompletionParams, options: CallOptions = {}): Promise<ChatStream | ChatCompletion> {
    checkCall(options);
    const events = this.#requests.post("chat", jsonOf(params), options.signal);
    await events.accepted;
    return params.stream ? new AnswerStream(events) : whole(events);
  }
}

/** `engine.completions`. */
export class Completions {
  readonly #requests: Requests;

  /** @internal */
  constructor(requests: Requests) {
    this.#requests = requests;
  }

  /** @internal `engine.prefill` */
  async prefill(prompt: string | readonly number[] | readonly ChatMessage[], options: PrefillOptions): Promise<Usage> {
    checkPrefill(options);
    const isChat = Array.isArray(prompt) && typeof prompt[0] === "object";
    const { lora } = options;
    const body = jsonOf(isChat ? { messages: prompt, lora } : { prompt, lora });
    const events = this.#requests.post(isChat ? "chat" : "completion", body, options.signal, true);
    await events.next();
    return events.result?.usage as Usage;
  }

  /**
   * Goes on with a text. What of it the engine has read in the request before is not read again.
   */
  create(params: CompletionParams & { stream: true }, options?: CallOptions): Promise<CompletionStream>;
  create(params: CompletionParams & { stream?: false | null }, options?: CallOptions): Promise<Completion>;
  create(params: CompletionParams, options?: CallOptions): Promise<CompletionStream | Completion>;
  async create(params: CompletionParams, options: CallOptions = {}): Promise<CompletionStream | Completion> {
    checkCall(options);
    const events = this.#requests.post("completion", jsonOf(params), options.signal);
    await events.accepted;
    return params.stream ? new AnswerStream(events) : whole(events);
  }
}
