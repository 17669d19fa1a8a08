/** Answers as they come, with the GPU stopped as soon as nobody listens. */

import { abortError, makeError, type PeregrineError } from "../errors.js";
import type { Pending } from "./worker-client.js";
import type { Usage } from "../openai.js";
import type { ApiResult } from "../protocol.js";

/** Sends a request; its events are texts. */
export type Start = (onEvent: (event: string) => void) => Pending<ApiResult>;

/** The events of one response, for one listener. */
export class Events {
  readonly #queue: string[] = [];
  readonly #pending: Pending<ApiResult>;
  readonly #release: () => void;
  readonly #accepted: Promise<void>;
  #accept: () => void = () => {};
  #refuse: (error: PeregrineError) => void = () => {};
  #wake: () => void = () => {};
  /** An event has come. */
  #begun = false;
  /** Why the work was stopped. */
  #reason: PeregrineError | undefined;
  #ended = false;
  #error: PeregrineError | undefined;
  #result: ApiResult | undefined;

  /**
   * To stop and keep what was written, abort the signal and listen on: what the engine had written
   * by then is told before the AbortError.
   */
  constructor(start: Start, signal?: AbortSignal) {
    if (signal?.aborted) throw abortError(signal);
    const onAbort = () => this.#stop(signal);
    signal?.addEventListener("abort", onAbort, { once: true });
    this.#release = () => signal?.removeEventListener("abort", onAbort);
    this.#accepted = new Promise((resolve, reject) => {
      this.#accept = resolve;
      this.#refuse = reject;
    });
    this.#accepted.catch(() => {});
    this.#pending = start((event) => {
      this.#accept();
      if (this.#ended || event === "") return;
      this.#begun = true;
      this.#queue.push(event);
      this.#wake();
    });
    this.#pending.result.then(
      (result) => this.#finish(result),
      // Whoever stopped it knows better why.
      (error: PeregrineError) => this.#end(error.code === "cancelled" ? (this.#reason ?? error) : error),
    );
  }

  /** Resolves when nothing is wrong with the request, and rejects with what is. */
  get accepted(): Promise<void> {
    return this.#accepted;
  }

  /** What is known after the last event. */
  get result(): ApiResult | undefined {
    return this.#result;
  }

  /**
   * The next event; undefined after the last. What has come before an error is told before the
   * error.
   */
  async next(): Promise<string | undefined> {
    for (;;) {
      const event = this.#queue.shift();
      if (event !== undefined) return event;
      if (this.#error) throw this.#error;
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** Nobody listens any more. */
  leave(): void {
    if (this.#ended) return;
    this.#stop();
    this.#end(this.#reason);
  }

  #stop(signal?: AbortSignal): void {
    this.#reason ??= abortError(signal);
    this.#pending.abort();
    // What is written already is still told, so that the caller knows as much of the answer as the
    // engine, and the next request can go on from there. Before the first event there is nothing to
    // wait for.
    if (!this.#begun) this.#end(this.#reason);
  }

  #finish(result: ApiResult): void {
    this.#result = result;
    this.#end(result.cancelled ? (this.#reason ?? makeError("disposed", "the engine has been disposed")) : undefined);
  }

  #end(error?: PeregrineError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    if (error) this.#refuse(error);
    else this.#accept();
    this.#release();
    this.#wake();
  }
}

/**
 * Chunks of the answers to one request; can be iterated once. Leaving the loop stops the GPU. To
 * stop and keep what was written, abort the signal and read on: the loop tells what the engine had
 * written by then, and throws an AbortError.
 */
export class AnswerStream<C> implements AsyncIterable<C> {
  readonly #events: Events;
  #taken = false;

  /** @internal Use `create` of `engine.chat.completions` or `engine.completions`. */
  constructor(events: Events) {
    this.#events = events;
  }

  /** Counts and timings, once the last chunk is there. */
  get usage(): Usage | undefined {
    return this.#events.result?.usage;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<C, void, undefined> {
    if (this.#taken) throw new TypeError("a stream can be iterated only once");
    this.#taken = true;
    try {
      for (let event = await this.#events.next(); event !== undefined; event = await this.#events.next()) yield JSON.parse(event) as C;
    } finally {
      this.#events.leave();
    }
  }
}
