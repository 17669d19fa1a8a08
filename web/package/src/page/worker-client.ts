/** The page's end of the connection to a worker. */

import { makeError, type PeregrineError } from "../errors.js";
import type { Log } from "../log.js";
import type { CallName, Calls, FromWorker, News, Port, ToWorker } from "../protocol.js";

interface Open {
  resolve: (result: never) => void;
  reject: (error: PeregrineError) => void;
  onEvent: ((event: never) => void) | undefined;
}

/** A call on its way: its answer, and a way to stop it. */
export interface Pending<T> {
  result: Promise<T>;
  abort: () => void;
}

/** What answers calls: a worker, or a server that is asked as one. */
export interface Backend {
  /** Asks for something; `onEvent` hears what is told on the way. */
  call<C extends CallName>(call: C, request: Calls[C]["request"], onEvent?: (event: Calls[C]["event"]) => void): Pending<Calls[C]["result"]>;
  /** Ends it; open calls fail with `disposed`. */
  close(): Promise<void>;
}

/** How to talk with a worker, and how to end it. */
export interface Connection {
  port: Port;
  /**
   * Says so when the worker's script could not be loaded (then there is no detail), or threw where
   * nothing catches.
   */
  onFailure(listener: (detail: string | undefined) => void): void;
  /**
   * Milliseconds after which a worker that has not said a word is taken for one that never will.
   */
  patience?: number;
  /** Ends the worker, or only the connection where others share it. */
  end(): void;
}

/** Typed messages to and from one worker. */
export class WorkerClient implements Backend {
  readonly #connection: Connection;
  readonly #open = new Map<number, Open>();
  readonly #onBroken: ((error: PeregrineError) => void) | undefined;
  #next = 1;
  #dead: PeregrineError | undefined;
  #closing: Promise<void> | undefined;
  readonly #log: Log;
  readonly #onNews: ((news: News) => void) | undefined;
  /** Waits for the worker's first word. */
  #silence: ReturnType<typeof setTimeout> | undefined;

  constructor(connection: Connection, onBroken?: (error: PeregrineError) => void, log: Log = () => {}, onNews?: (news: News) => void) {
    this.#connection = connection;
    this.#onNews = onNews;
    this.#onBroken = onBroken;
    this.#log = log;
    if (connection.patience !== undefined) this.#silence = setTimeout(() => this.#onSilence(), connection.patience);
    connection.port.addEventListener("message", ({ data }: MessageEvent<FromWorker>) => this.#receive(data));
    connection.onFailure((detail) => {
      const failure = detail ? makeError("internal", `the worker failed: ${detail}`) : makeError("no-worker", "the worker's script could not be loaded");
      this.#break(failure);
    });
  }

  call<C extends CallName>(call: C, request: Calls[C]["request"], onEvent?: (event: Calls[C]["event"]) => void): Pending<Calls[C]["result"]> {
    const id = this.#next++;
    const result = new Promise<Calls[C]["result"]>((resolve, reject) => {
      if (this.#dead) return reject(this.#dead);
      this.#open.set(id, { resolve, reject, onEvent });
      this.#send({ type: "call", id, call, request } as ToWorker);
    });
    return { result, abort: () => this.#send({ type: "abort", id }) };
  }

  /** Ends the worker. It gets a moment to free the GPU's memory; a busy one is ended without. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    for (const id of this.#open.keys()) this.#send({ type: "abort", id });
    const farewell = this.#dead ? Promise.resolve(null) : this.call("dispose", null).result.catch(() => null);
    const gone = makeError("disposed", "the engine has been disposed");
    this.#dead ??= gone;
    let timer: ReturnType<typeof setTimeout> | undefined;
    await Promise.race([farewell, new Promise((resolve) => (timer = setTimeout(resolve, 2000)))]);
    clearTimeout(timer);
    clearTimeout(this.#silence);
    this.#connection.end();
    this.#failAll(gone);
  }

  /** Ends the worker at once. */
  kill(reason: PeregrineError): void {
    this.#dead ??= reason;
    this.#closing ??= Promise.resolve();
    clearTimeout(this.#silence);
    this.#connection.end();
    this.#failAll(reason);
  }

  #send(message: ToWorker): void {
    this.#connection.port.postMessage(message);
  }

  #onSilence(): void {
    this.#break(makeError("argument", "worker: it does not answer; was it made from peregrine/worker, and has nobody ended it?"));
  }

  #receive(message: FromWorker): void {
    clearTimeout(this.#silence);
    if (message.type === "log") return this.#log(message.level, message.text);
    if (message.type === "hello") return;
    if (message.type === "lost" || message.type === "reloaded" || message.type === "adapters" || message.type === "grown") return this.#dead ? undefined : this.#onNews?.(message);
    if (message.type === "broken") return this.#break(makeError(message.error.code, message.error.message, message.error));
    const open = this.#open.get(message.id);
    if (!open) return;
    if (message.type === "event") return open.onEvent?.(message.event as never);
    this.#open.delete(message.id);
    if (message.type === "result") open.resolve(message.result as never);
    else open.reject(makeError(message.error.code, message.error.message, message.error));
  }

  #break(error: PeregrineError): void {
    if (this.#dead) return;
    this.#dead = error;
    clearTimeout(this.#silence);
    this.#log("error", error.message);
    this.#failAll(error);
    this.#onBroken?.(error);
  }

  #failAll(error: PeregrineError): void {
    const open = [...this.#open.values()];
    this.#open.clear();
    for (const { reject } of open) reject(error);
  }
}
