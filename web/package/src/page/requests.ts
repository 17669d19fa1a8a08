/** From what an app asks for to the worker: bodies of OpenAI's API, which the engine checks. */

import type { Backend } from "./worker-client.js";
import { wrong } from "../checks.js";
import type { ApiRequest } from "../protocol.js";
import { Events } from "./stream.js";

/**
 * A body as JSON. What JSON would drop or change without a word is refused by name.
 * @throws RequestError
 */
export function jsonOf(params: unknown): string {
  if (typeof params !== "object" || params === null || Array.isArray(params)) throw wrong("the request", "an object", params);
  return JSON.stringify(params, (field, value: unknown) => {
    if (typeof value === "number" && !Number.isFinite(value)) throw wrong(field, "a number", value);
    if (typeof value === "bigint" || typeof value === "function" || typeof value === "symbol") throw wrong(field, "a value that JSON has", value);
    return ArrayBuffer.isView(value) && !(value instanceof DataView) ? Array.from(value as Uint32Array) : value;
  });
}

/** Whole numbers that a double holds. */
const SEEDS = 2 ** 53;

/** Sends requests to what answers them. */
export class Requests {
  readonly link: Backend;
  readonly #model: string;
  readonly #refuseWhenBusy: boolean;

  constructor(link: Backend, model: string, refuseWhenBusy: boolean) {
    this.link = link;
    this.#model = model;
    this.#refuseWhenBusy = refuseWhenBusy;
  }

  /** Sends a body. `onlyRead`: nothing is to be answered. */
  post(kind: ApiRequest["kind"], body: string, signal?: AbortSignal, onlyRead = false): Events {
    const request: ApiRequest = {
      kind,
      body,
      onlyRead,
      id: crypto.randomUUID().replaceAll("-", ""),
      created: Math.floor(Date.now() / 1000),
      model: this.#model,
      seed: Math.floor(Math.random() * SEEDS),
      refuseWhenBusy: this.#refuseWhenBusy,
    };
    return new Events((onEvent) => this.link.call("respond", request, onEvent), signal);
  }
}
