/** `engine.chat.completions` and `engine.completions`. */

import { abortError } from "./errors.js";
import type { Link } from "./link.js";
import type {
  ChatCompletion,
  ChatCompletionChunk,
  ChatCompletionParams,
  ChatMessage,
  Completion,
  CompletionParams,
  FinishReason,
  GenerationParams,
  Logprobs,
  TokenLogprob,
  Usage,
} from "./openai.js";
import type { AnswerRequest, Likely, Piece } from "./protocol.js";
import { checkCall } from "./options.js";
import { countOf, readChat, readCompletion, readPrefill } from "./request.js";
import { AnswerStream, type Shape, type Start } from "./stream.js";

/** Options of a single call. */
export interface CallOptions {
  /** Stops the call. */
  signal?: AbortSignal;
}

/** A chat completion as it comes. */
export type ChatStream = AnswerStream<ChatCompletionChunk>;
/** A plain completion as it comes. */
export type CompletionStream = AnswerStream<Completion>;

const head = (prefix: string, model: string) => ({
  id: `${prefix}-${crypto.randomUUID()}`,
  created: Math.floor(Date.now() / 1000),
  model,
});

function logprobsOf({ logprobs }: Piece): Logprobs | null {
  if (!logprobs) return null;
  const told = ({ bytes, logprob }: Likely): TokenLogprob => ({
    token: new TextDecoder().decode(Uint8Array.from(bytes)),
    logprob,
    bytes,
  });
  return { content: [{ ...told(logprobs.this), top_logprobs: logprobs.top.map(told) }], refusal: null };
}

/** Adds the fields that were asked for. */
class ChatShape implements Shape<ChatCompletionChunk> {
  readonly #head: Pick<ChatCompletionChunk, "id" | "object" | "created" | "model">;
  readonly #params: ChatCompletionParams;

  constructor(model: string, params: ChatCompletionParams) {
    this.#head = { ...head("chatcmpl", model), object: "chat.completion.chunk" };
    this.#params = params;
  }

  begin(index: number): ChatCompletionChunk {
    return this.#chunk(index, { role: "assistant", content: "" }, null, []);
  }

  piece(index: number, piece: Piece): ChatCompletionChunk {
    return this.#chunk(index, piece.text === "" ? {} : { content: piece.text }, null, [piece.token], logprobsOf(piece));
  }

  end(index: number, text: string, finish: FinishReason | null): ChatCompletionChunk {
    return this.#chunk(index, text === "" ? {} : { content: text }, finish, []);
  }

  usage(usage: Usage): ChatCompletionChunk | undefined {
    return this.#params.stream_options?.include_usage ? { ...this.#head, choices: [], usage } : undefined;
  }

  #chunk(
    index: number,
    delta: ChatCompletionChunk["choices"][0]["delta"],
    finish: FinishReason | null,
    ids: number[],
    logprobs: Logprobs | null = null,
  ): ChatCompletionChunk {
    const choice: ChatCompletionChunk["choices"][0] = { index, delta, finish_reason: finish };
    if (this.#params.logprobs) choice.logprobs = logprobs;
    if (this.#params.return_token_ids) choice.token_ids = ids;
    const chunk: ChatCompletionChunk = { ...this.#head, choices: [choice] };
    if (this.#params.stream_options?.include_usage) chunk.usage = null;
    return chunk;
  }
}

class PlainShape implements Shape<Completion> {
  readonly #head: Pick<Completion, "id" | "object" | "created" | "model">;
  readonly #params: CompletionParams;

  constructor(model: string, params: CompletionParams) {
    this.#head = { ...head("cmpl", model), object: "text_completion" };
    this.#params = params;
  }

  begin(): undefined {
    return undefined;
  }

  piece(index: number, piece: Piece): Completion {
    return this.end(index, piece.text, null, [piece.token]);
  }

  end(index: number, text: string, finish: FinishReason | null, ids: number[] = []): Completion {
    const choice: Completion["choices"][0] = { index, text, logprobs: null, finish_reason: finish };
    if (this.#params.return_token_ids) choice.token_ids = ids;
    const chunk: Completion = { ...this.#head, choices: [choice] };
    if (this.#params.stream_options?.include_usage) chunk.usage = null;
    return chunk;
  }

  usage(usage: Usage): Completion | undefined {
    return this.#params.stream_options?.include_usage ? { ...this.#head, choices: [], usage } : undefined;
  }
}

/** What both kinds share: from a request to a stream. */
class Requests {
  protected readonly link: Link;
  protected readonly model: string;
  readonly #refuseWhenBusy: boolean;

  /** @internal */
  constructor(link: Link, model: string, refuseWhenBusy: boolean) {
    this.link = link;
    this.model = model;
    this.#refuseWhenBusy = refuseWhenBusy;
  }

  protected open<C>(request: Omit<AnswerRequest, "refuseWhenBusy">, params: GenerationParams, shape: Shape<C>, options: CallOptions): AnswerStream<C> {
    checkCall(options);
    const { signal } = options;
    if (signal?.aborted) throw abortError(signal);
    const start: Start = (index, onPiece) => {
      const seed = (request.seed + index) % Number.MAX_SAFE_INTEGER;
      return this.link.call("answer", { ...request, seed, refuseWhenBusy: this.#refuseWhenBusy }, onPiece);
    };
    return new AnswerStream(start, countOf(params), shape, signal);
  }
}

/** `engine.chat.completions`. */
export class ChatCompletions extends Requests {
  /**
   * Answers a conversation. What of it the engine has read in the request before is not read again.
   * With `stream: true` the answer comes in chunks; leaving the loop stops the GPU.
   */
  create(params: ChatCompletionParams & { stream: true }, options?: CallOptions): Promise<ChatStream>;
  create(params: ChatCompletionParams & { stream?: false | null }, options?: CallOptions): Promise<ChatCompletion>;
  create(params: ChatCompletionParams, options?: CallOptions): Promise<ChatStream | ChatCompletion>;
  async create(params: ChatCompletionParams, options: CallOptions = {}): Promise<ChatStream | ChatCompletion> {
    const stream = this.open(readChat(params), params, new ChatShape(this.model, params), options);
    return params.stream ? stream : collectChat(stream, countOf(params));
  }
}

/** `engine.completions`. */
export class Completions extends Requests {
  /** @internal `engine.prefill` */
  async prefill(prompt: string | readonly number[] | readonly ChatMessage[], options: CallOptions): Promise<Usage> {
    const stream = this.open(readPrefill(prompt), {}, new PlainShape(this.model, { prompt: "" }), options);
    for await (const _ of stream) {
      // There is nothing to come but the end.
    }
    return stream.usage as Usage;
  }

  /** Goes on with a text. What of it the engine has read in the request before is not read again. */
  create(params: CompletionParams & { stream: true }, options?: CallOptions): Promise<CompletionStream>;
  create(params: CompletionParams & { stream?: false | null }, options?: CallOptions): Promise<Completion>;
  create(params: CompletionParams, options?: CallOptions): Promise<CompletionStream | Completion>;
  async create(params: CompletionParams, options: CallOptions = {}): Promise<CompletionStream | Completion> {
    const stream = this.open(readCompletion(params), params, new PlainShape(this.model, params), options);
    return params.stream ? stream : collectPlain(stream, countOf(params));
  }
}

/** The whole answers of a stream. */
export async function collectChat(stream: AsyncIterable<ChatCompletionChunk> & { usage: Usage | undefined }, count: number): Promise<ChatCompletion> {
  const choices = Array.from({ length: count }, (_, index): ChatCompletion["choices"][0] => ({
    index,
    message: { role: "assistant", content: "", refusal: null },
    logprobs: null,
    finish_reason: "stop",
  }));
  let last: ChatCompletionChunk | undefined;
  for await (const chunk of stream) {
    last = chunk;
    for (const { index, delta, logprobs, finish_reason, token_ids } of chunk.choices) {
      const choice = choices[index] as ChatCompletion["choices"][0];
      choice.message.content += delta.content ?? "";
      if (logprobs) (choice.logprobs ??= { content: [], refusal: null }).content.push(...logprobs.content);
      choice.finish_reason = finish_reason ?? choice.finish_reason;
      if (token_ids) (choice.token_ids ??= []).push(...token_ids);
    }
  }
  const { id, created, model } = last as ChatCompletionChunk;
  return { id, object: "chat.completion", created, model, choices, usage: stream.usage as Usage };
}

async function collectPlain(stream: CompletionStream, count: number): Promise<Completion> {
  const choices = Array.from({ length: count }, (_, index): Completion["choices"][0] => ({ index, text: "", logprobs: null, finish_reason: "stop" }));
  let last: Completion | undefined;
  for await (const chunk of stream) {
    last = chunk;
    for (const { index, text, finish_reason, token_ids } of chunk.choices) {
      const choice = choices[index] as Completion["choices"][0];
      choice.text += text;
      choice.finish_reason = finish_reason ?? choice.finish_reason;
      if (token_ids) (choice.token_ids ??= []).push(...token_ids);
    }
  }
  const { id, created, model } = last as Completion;
  return { id, object: "text_completion", created, model, choices, usage: stream.usage as Usage };
}
