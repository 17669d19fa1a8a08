/** A streamed answer: chunks as they come, with the GPU stopped as soon as nobody listens. */

import { abortError, makeError, type PeregrineError } from "./errors.js";
import { usageOf, type ChatCompletion, type ChatCompletionChunk, type FinishReason, type Usage } from "./openai.js";
import type { ChatResult, Piece } from "./protocol.js";

interface Shape {
  model: string;
  includeUsage: boolean;
  tokenIds: boolean;
}

type Start = (onPiece: (piece: Piece) => void) => { result: Promise<ChatResult>; abort: () => void };

/**
 * Chunks of one answer; can be iterated once. Leaving the loop stops the GPU. To stop and keep what was written, abort the
 * signal and read on: the loop tells what the engine had written by then, and throws an AbortError.
 */
export class ChatStream implements AsyncIterable<ChatCompletionChunk> {
  readonly #queue: ChatCompletionChunk[] = [];
  readonly #shape: Shape;
  readonly #head: Pick<ChatCompletionChunk, "id" | "object" | "created" | "model">;
  readonly #abort: () => void;
  readonly #release: () => void;
  #wake: () => void = () => {};
  /** A piece has come. */
  #begun = false;
  /** Why the work was stopped. */
  #reason: PeregrineError | undefined;
  #ended = false;
  #error: PeregrineError | undefined;
  #taken = false;
  #usage: Usage | undefined;

  /** @internal Use `engine.chat.completions.create`. */
  constructor(start: Start, shape: Shape, signal?: AbortSignal) {
    this.#shape = shape;
    this.#head = {
      id: `chatcmpl-${crypto.randomUUID()}`,
      object: "chat.completion.chunk",
      created: Math.floor(Date.now() / 1000),
      model: shape.model,
    };
    this.#push({ role: "assistant", content: "" }, null, []);
    const pending = start((piece) => {
      if (this.#ended) return;
      this.#begun = true;
      this.#push(piece.text === "" ? {} : { content: piece.text }, null, [piece.token]);
    });
    const onAbort = () => {
      this.#reason = abortError(signal);
      pending.abort();
      // What is written already is still told, so that the caller knows as much of the answer as the engine, and the next
      // request can go on from there. Before the first piece there is nothing to wait for.
      if (!this.#begun) this.#end(this.#reason);
    };
    this.#abort = onAbort;
    signal?.addEventListener("abort", onAbort, { once: true });
    this.#release = () => signal?.removeEventListener("abort", onAbort);
    pending.result.then(
      (result) => this.#finish(result),
      (error: PeregrineError) => this.#end(error),
    );
  }

  /** Counts and timings, once the last chunk is there. */
  get usage(): Usage | undefined {
    return this.#usage;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<ChatCompletionChunk, void, undefined> {
    if (this.#taken) throw new TypeError("a ChatStream can be iterated only once");
    this.#taken = true;
    try {
      for (;;) {
        // What has come before an error is shown before the error.
        const chunk = this.#queue.shift();
        if (chunk) yield chunk;
        else if (this.#error) throw this.#error;
        else if (this.#ended) return;
        else await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    } finally {
      if (!this.#ended) {
        this.#abort();
        this.#end();
      }
    }
  }

  #push(delta: ChatCompletionChunk["choices"][0]["delta"], finish: FinishReason | null, ids: number[]): void {
    const choice: ChatCompletionChunk["choices"][0] = { index: 0, delta, finish_reason: finish };
    if (this.#shape.tokenIds) choice.token_ids = ids;
    const chunk: ChatCompletionChunk = { ...this.#head, choices: [choice] };
    if (this.#shape.includeUsage) chunk.usage = null;
    this.#queue.push(chunk);
    this.#wake();
  }

  #finish(result: ChatResult): void {
    if (this.#ended) return;
    this.#usage = usageOf(result);
    if (result.finish === "cancelled") {
      if (result.text !== "") this.#push({ content: result.text }, null, []);
      return this.#end(this.#reason ?? makeError("disposed", "the engine has been disposed"));
    }
    this.#push(result.text === "" ? {} : { content: result.text }, result.finish === "stop" ? "stop" : "length", []);
    if (this.#shape.includeUsage) this.#queue.push({ ...this.#head, choices: [], usage: this.#usage });
    this.#end();
  }

  #end(error?: PeregrineError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#release();
    this.#wake();
  }
}

/** The whole answer of a stream. */
export async function collect(stream: ChatStream): Promise<ChatCompletion> {
  let content = "";
  let finish: FinishReason = "stop";
  const ids: number[] = [];
  let last: ChatCompletionChunk | undefined;
  for await (const chunk of stream) {
    last = chunk;
    const choice = chunk.choices[0];
    content += choice?.delta.content ?? "";
    finish = choice?.finish_reason ?? finish;
    ids.push(...(choice?.token_ids ?? []));
  }
  const { id, created, model } = last as ChatCompletionChunk;
  const choice: ChatCompletion["choices"][0] = { index: 0, message: { role: "assistant", content }, finish_reason: finish };
  if (last?.choices[0]?.token_ids) choice.token_ids = ids;
  return { id, object: "chat.completion", created, model, choices: [choice], usage: stream.usage as Usage };
}
