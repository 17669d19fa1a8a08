/** The pages that talk with a worker. */

import type { WebSession } from "../../wasm/peregrine.js";
import { makeError } from "../errors.js";
import { isTold, type Log } from "../log.js";
import type { FromWorker, LoadRequest, Port, Progress } from "../protocol.js";

/** A page that talks with the worker. */
export interface Client {
  port: Port;
  /** Its conversation. */
  session: WebSession | undefined;
  /** Answers that were asked for and are to stop. */
  aborted: Set<number>;
  /** Hears the progress while the model loads. */
  report: ((progress: Progress) => void) | undefined;
  /** What it wants to be told. */
  logLevel: NonNullable<LoadRequest["logLevel"]>;
}

/** All of them. */
export class Clients {
  readonly #all = new Set<Client>();

  /** The page at this port. */
  add(port: Port): Client {
    const client: Client = { port, session: undefined, aborted: new Set(), report: undefined, logLevel: "off" };
    this.#all.add(client);
    return client;
  }

  has(client: Client): boolean {
    return this.#all.has(client);
  }

  /** Forgets one; whether it was there. */
  delete(client: Client): boolean {
    return this.#all.delete(client);
  }

  get isEmpty(): boolean {
    return this.#all.size === 0;
  }

  /** Throws where one has gone: nobody hears its answer. */
  expect(client: Client): void {
    if (!this.has(client)) throw makeError("disposed", "the engine has been disposed");
  }

  /** Tells all pages. */
  tell(message: FromWorker): void {
    for (const { port } of this.#all) port.postMessage(message);
  }

  /** Tells those that wait for the model how far it is. */
  report(progress: Progress): void {
    for (const client of this.#all) client.report?.(progress);
  }

  /** Tells those that want to hear so much. */
  readonly log: Log = (level, text) => {
    for (const { port, logLevel } of this.#all) {
      if (isTold(level, logLevel)) port.postMessage({ type: "log", level, text } satisfies FromWorker);
    }
  };

  /** Frees all conversations. */
  endSessions(): void {
    for (const client of this.#all) endSession(client);
  }
}

/** Frees the conversation of a page. */
export function endSession(client: Client): void {
  client.session?.free();
  client.session = undefined;
}
