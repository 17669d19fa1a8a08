/** Streamed answers: chunks as they come, with the GPU stopped as soon as nobody listens. */

import { abortError, makeError, type PeregrineError } from "./errors.js";
import type { Pending } from "./link.js";
import type { FinishReason, Usage } from "./openai.js";
import type { AnswerResult, Piece } from "./protocol.js";
import { usageOf } from "./request.js";

/** What chunks look like. */
export interface Shape<C> {
  /** Before the first piece of an answer, where there is something to say. */
  begin(index: number): C | undefined;
  /** A piece; `text` may be empty. */
  piece(index: number, piece: Piece): C;
  /** The end of an answer, with text that came after its last piece. */
  end(index: number, text: string, finish: FinishReason | null): C;
  /** After the last answer, where it was asked for. */
  usage(usage: Usage): C | undefined;
}

/** Starts answer number `index`. */
export type Start = (index: number, onPiece: (piece: Piece) => void) => Pending<AnswerResult>;

/**
 * Chunks of the answers to one request; can be iterated once. Leaving the loop stops the GPU. To stop and keep what was written,
 * abort the signal and read on: the loop tells what the engine had written by then, and throws an AbortError.
 */
export class AnswerStream<C> implements AsyncIterable<C> {
  readonly #queue: C[] = [];
  readonly #shape: Shape<C>;
  readonly #start: Start;
  readonly #count: number;
  readonly #release: () => void;
  readonly #results: AnswerResult[] = [];
  #pending: Pending<AnswerResult> | undefined;
  #wake: () => void = () => {};
  /** A piece has come. */
  #begun = false;
  /** Why the work was stopped. */
  #reason: PeregrineError | undefined;
  #ended = false;
  #error: PeregrineError | undefined;
  #taken = false;
  #usage: Usage | undefined;

  /** @internal Use `create` of `engine.chat.completions` or `engine.completions`. */
  constructor(start: Start, count: number, shape: Shape<C>, signal?: AbortSignal) {
    this.#start = start;
    this.#count = count;
    this.#shape = shape;
    const onAbort = () => this.#abort(signal);
    signal?.addEventListener("abort", onAbort, { once: true });
    this.#release = () => signal?.removeEventListener("abort", onAbort);
    this.#next(0);
  }

  /** Counts and timings, once the last chunk is there. */
  get usage(): Usage | undefined {
    return this.#usage;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<C, void, undefined> {
    if (this.#taken) throw new TypeError("a stream can be iterated only once");
    this.#taken = true;
    try {
      for (;;) {
        // What has come before an error is shown before the error.
        const chunk = this.#queue.shift();
        if (chunk !== undefined) yield chunk;
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

  #abort(signal?: AbortSignal): void {
    this.#reason ??= abortError(signal);
    this.#pending?.abort();
    // What is written already is still told, so that the caller knows as much of the answer as the engine, and the next
    // request can go on from there. Before the first piece there is nothing to wait for.
    if (!this.#begun) this.#end(this.#reason);
  }

  #next(index: number): void {
    this.#push(this.#shape.begin(index));
    this.#pending = this.#start(index, (piece) => {
      if (this.#ended) return;
      this.#begun = true;
      this.#push(this.#shape.piece(index, piece));
    });
    this.#pending.result.then(
      (result) => this.#finish(index, result),
      (error: PeregrineError) => this.#end(error),
    );
  }

  #push(chunk: C | undefined): void {
    if (chunk === undefined) return;
    this.#queue.push(chunk);
    this.#wake();
  }

  #finish(index: number, result: AnswerResult): void {
    if (this.#ended) return;
    this.#results.push(result);
    this.#usage = usageOf(this.#results);
    if (result.finish === "cancelled") {
      if (result.text !== "") this.#push(this.#shape.end(index, result.text, null));
      return this.#end(this.#reason ?? makeError("disposed", "the engine has been disposed"));
    }
    this.#push(this.#shape.end(index, result.text, result.finish === "stop" ? "stop" : "length"));
    if (this.#reason) return this.#end(index + 1 < this.#count ? this.#reason : undefined);
    if (index + 1 < this.#count) return this.#next(index + 1);
    this.#push(this.#shape.usage(this.#usage));
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
