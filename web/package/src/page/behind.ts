/** A server behind the device: when it answers, and that nothing is sent to it unasked. */

import { isOfGpu, makeError, type PeregrineError } from "../errors.js";
import type { Log } from "../log.js";
import { baseAddress } from "./model.js";
import type { EngineInfo } from "../protocol.js";
import { isMixed, MIXED } from "./reach.js";
import { Remote } from "./remote.js";

/**
 * Why a server may answer: `no-device`, there is no WebAssembly with SIMD, no worker, the engine is
 * broken for good, or the app insists on a GPU and there is none that computes right results;
 * `too-big`, the model does not fit the device's memory or the `memoryBudget`; `too-slow`, only the
 * processor would compute.
 */
export type ServerReason = "no-device" | "too-big" | "too-slow";

/** An OpenAI-compatible server: vLLM, llama.cpp's, `peregrine serve`. */
export interface ServerOptions {
  /** The address of its API: `https://server.example/v1`. */
  baseURL: string | URL;
  /**
   * Sent as `Authorization: Bearer …`, and told nowhere else. Whoever opens the page can read a key
   * in it: make it worth little.
   */
  apiKey?: string;
  /** What the server calls its model; it takes the place of a request's `model`. */
  model: string;
  /**
   * When it answers. Default `["no-device", "too-big"]`. With `"always"` no device is looked for,
   * and no model loaded.
   */
  when?: "always" | readonly ServerReason[];
}

/** `engine.info` while a server answers. */
export interface ServerInfo {
  where: "server";
  /** Where requests go. */
  address: string;
  model: {
    /** What the server calls it. */
    name: string;
  };
  /** Why it does. */
  reason: ServerReason | "always";
  /** What is wrong with the device. */
  error?: PeregrineError;
}

/**
 * The option `onWhere`. Of a server it hears before anything is sent there: `false`, or a promise
 * of it, or of nothing good, keeps the engine from going there.
 */
export type OnWhere = (info: EngineInfo | ServerInfo) => void | boolean | Promise<void | boolean>;

const WHEN: readonly ServerReason[] = ["no-device", "too-big"];
/** Errors that leave no device. */
const NO_DEVICE: readonly string[] = ["no-webgpu", "no-gpu", "self-check", "no-wasm", "no-worker", "device-lost", "gpu"];

/** The address of an API. No error shows it: there may be a key in it. */
function apiOf(given: string | URL): URL {
  let url: URL;
  try {
    url = new URL(given, baseAddress());
  } catch {
    throw makeError("argument", "server.baseURL: expected the address of an API, as https://server.example/v1");
  }
  if (!/^https?:$/.test(url.protocol)) throw makeError("not-supported", `server.baseURL: ${url.protocol} addresses are not supported`);
  if (url.username || url.password) throw makeError("argument", "server.baseURL: an address with a name and a password; give server.apiKey");
  return url;
}

/** The server behind one engine. */
export class Behind {
  readonly #options: ServerOptions;
  readonly #onWhere: OnWhere | undefined;
  readonly #log: Log;
  readonly #namesGpu: boolean;
  readonly #base: URL;

  /** `namesGpu`: the app insists on a GPU. */
  constructor(options: ServerOptions, onWhere: OnWhere | undefined, log: Log, namesGpu = false) {
    // What the app changes in it later changes nothing.
    this.#options = { ...options };
    this.#onWhere = onWhere;
    this.#log = log;
    this.#namesGpu = namesGpu;
    this.#base = apiOf(options.baseURL);
    if (isMixed(this.#base)) log("warn", `server.baseURL: ${MIXED}`);
  }

  get isAlways(): boolean {
    return this.#options.when === "always";
  }

  /** Whether a device that computes on the CPU is passed over. */
  get passesSoftware(): boolean {
    return this.#when.includes("too-slow");
  }

  get #when(): readonly ServerReason[] {
    const { when = WHEN } = this.#options;
    return when === "always" ? [] : when;
  }

  /**
   * Why the server answers after this error; undefined where it does not. `isBroken`: the engine
   * was there, and is no more.
   */
  reasonOf(error: PeregrineError, isBroken = false): ServerReason | undefined {
    const { code } = error;
    const reason = code === "out-of-memory" ? "too-big" : code === "too-slow" ? "too-slow" : NO_DEVICE.includes(code) || (isBroken && code !== "disposed") ? "no-device" : undefined;
    // Where no GPU is named, one that fails leaves the processor.
    const instead = !this.#namesGpu && isOfGpu(error) ? "too-slow" : undefined;
    const reasons: readonly (ServerReason | undefined)[] = [reason, instead];
    return reasons.find((one) => one !== undefined && this.#when.includes(one));
  }

  /** The server, unless the app does not want it, or the signal says that nobody does. */
  async takeOver(reason: ServerReason | "always", error?: PeregrineError, signal?: AbortSignal): Promise<{ remote: Remote; info: ServerInfo } | undefined> {
    const { apiKey, model } = this.#options;
    const remote = new Remote({ base: this.#base, apiKey, model, log: this.#log });
    const { address } = remote;
    const info: ServerInfo = { where: "server", address, model: { name: model }, reason, ...(error && { error }) };
    const why = error ? `${reason}: ${error.message}` : reason;
    let stop = () => {};
    const stopped = new Promise<false>((resolve) => (stop = () => resolve(false)));
    signal?.addEventListener("abort", stop);
    if (signal?.aborted) stop();
    const agrees = await Promise.race([tellWhere(this.#onWhere, info, this.#log), stopped]);
    signal?.removeEventListener("abort", stop);
    if (!agrees) {
      this.#log("warn", `no server answers, as the app wants it (${why})`);
      return undefined;
    }
    this.#log(this.#onWhere ? "info" : "warn", `answers come from ${address} (${why})`);
    return { remote, info };
  }
}

/** Tells the app, and says whether it agrees. One that fails has not agreed. */
export async function tellWhere(onWhere: OnWhere | undefined, info: EngineInfo | ServerInfo, log: Log): Promise<boolean> {
  try {
    return (await onWhere?.(info)) !== false;
  } catch (error) {
    log("error", `onWhere failed: ${(error as Error)?.message ?? String(error)}`);
    return false;
  }
}
