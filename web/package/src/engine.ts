/// <reference lib="esnext.disposable" preserve="true" />
/** The page's side: an engine is a worker with a model in it. */

import { ChatCompletions, Completions, type CallOptions } from "./completions.js";
import { abortError, type PeregrineError } from "./errors.js";
import { answer } from "./fetch.js";
import { Link } from "./link.js";
import { anyLine, checkShared, lineFor, type WorkerChoice } from "./lines.js";
import { DEFAULT_LEVEL, logTo, type Logger, type LogLevel } from "./log.js";
import { addressOf, sourceOf, type ModelSource, type SourceOptions } from "./model.js";
import type { ChatMessage, Usage } from "./openai.js";
import { boolean, callable, checkLoading, count, fields, number, ids as checkIds, text as checkText, wrong } from "./options.js";
import type { CheckReport, EngineInfo, GpuPreferences, LoadRequest, ProfileStage, Progress } from "./protocol.js";
import { Requests } from "./requests.js";

/** What {@link downloadModel} takes. */
export interface DownloadOptions extends SourceOptions {
  /** A hub id, an address, files, a folder, bytes, or `"embedded"`. */
  model: ModelSource;
  /** Called while the model loads. */
  onProgress?: (progress: Progress) => void;
  /** Stops the loading. What has been downloaded is kept. */
  signal?: AbortSignal;
  /** peregrine_bg.wasm or its address, for apps that serve it themselves. */
  wasmUrl?: string | URL | BufferSource | WebAssembly.Module;
  /** How much the engine says about itself: "off", "error", "warn" (default), "info" or "debug". */
  logLevel?: LogLevel;
  /** Who hears it. Default: `console`. */
  logger?: Logger;
}

/** What {@link createEngine} takes. */
export interface EngineOptions extends DownloadOptions {
  /** Tokens that a conversation may have. Default: what the model was made for, or what fits. */
  contextLength?: number;
  /** How keys and values are kept: "f16" (default), "f32" as they were computed, in twice the memory, or "q8" in little more than half. */
  kvType?: "f16" | "f32" | "q8";
  /**
   * Bytes on the GPU for places of the conversation to go back to when it is edited. Default 256 MiB, 64 MiB where the browser says
   * that the device has at most 4 GB of memory; 0 keeps none.
   */
  snapshotBytes?: number;
  /**
   * Bytes of the browser's own memory for those places that the GPU has no more room for. Default 256 MiB where the browser says that
   * the device has at least 8 GB of memory, else 0.
   */
  snapshotHostBytes?: number;
  /**
   * Bytes that the model and one conversation may take on the GPU, with its snapshots, which get what is left unless `snapshotBytes`
   * says how many, and nothing beside the GPU unless `snapshotHostBytes` does. What they need is known before the first weight is read: a
   * `contextLength` that does not fit is an {@link OutOfMemoryError} whose `fit` says what would; without one the conversation gets what the
   * model leaves (`info.model.contextLength`). WebGPU does not tell how much memory a GPU has: the app decides.
   */
  memoryBudget?: number;
  /** What may be used of the GPU; chosen by adapter when left out. */
  gpu?: GpuPreferences;
  /** Where the engine runs. Default: a worker of its own; where there are no workers (Node, shared and service workers), right here. */
  worker?: WorkerChoice;
  /** What happens to a request while another is answered: it waits (default), or fails with `busy`. */
  whenBusy?: "queue" | "refuse";
  /** Called once if the engine breaks for good (GPU error, a device that is lost again and again): it must be created again. */
  onBroken?: (error: PeregrineError) => void;
}

/** A model on the GPU. */
export class Engine implements AsyncDisposable {
  /** What is loaded, and where it runs. */
  readonly info: EngineInfo;
  /** Chat completions in OpenAI's shape. */
  readonly chat: { readonly completions: ChatCompletions };
  /** Plain completions in OpenAI's shape. */
  readonly completions: Completions;
  /** The model's tokenizer. */
  readonly tokenizer: Tokenizer;
  /**
   * A `fetch` for clients of OpenAI's API (`new OpenAI({ baseURL, apiKey, fetch: engine.fetch })`): whatever the address before
   * `/chat/completions`, `/completions` or `/models`, this engine answers, and nothing leaves the device.
   */
  readonly fetch: (input: RequestInfo | URL, init?: RequestInit) => Promise<Response>;
  readonly #link: Link;

  /** @internal Use {@link createEngine}. */
  constructor(link: Link, info: EngineInfo, refuseWhenBusy: boolean) {
    this.#link = link;
    this.info = info;
    const requests = new Requests(link, info.model.name, refuseWhenBusy);
    this.chat = { completions: new ChatCompletions(requests) };
    this.completions = new Completions(requests);
    this.fetch = (input, init) => answer(requests, input, init);
    this.tokenizer = new Tokenizer(link);
  }

  /**
   * Where a step's time goes on the GPU: of one token, or of `tokens` that are read at once.
   * @throws PeregrineError `unsupported` where the device has no timestamps.
   */
  async profile(options: { tokens?: number } = {}): Promise<ProfileStage[]> {
    PROFILE(options, "");
    const { tokens = 1 } = options;
    return this.#link.call("profile", { tokens }).result;
  }

  /**
   * The model's raw output, for comparison with other implementations: the logits after each of the last `last` of the given tokens, one row of
   * `info.model.vocabSize` numbers after the other. Tokens are read in chunks of `chunk` (default: as many as the model takes at once), the last
   * `oneByOne` of them one by one as in an answer. The open conversation is not touched.
   */
  async logits(ids: readonly number[], options: { last?: number; oneByOne?: number; chunk?: number } = {}): Promise<Float32Array> {
    checkIds(ids, "ids");
    LOGITS(options, "");
    const { last = 1, oneByOne = 0, chunk = 0 } = options;
    return this.#link.call("logits", { ids: [...ids], last, oneByOne, chunk }).result;
  }

  /**
   * Compares every stage of the model and every state on this device with a computation on the CPU, while `tokens` tokens are read: half
   * of them at once, the rest one by one. Takes from seconds to minutes, by the model's size; `onProgress` hears the number of
   * comparisons. A difference is not an error: the report names the first stage that differs.
   */
  async check(options: { tokens?: number; onProgress?: (comparisons: number) => void } = {}): Promise<CheckReport> {
    CHECK(options, "");
    const { tokens = 12, onProgress } = options;
    return this.#link.call("check", { tokens }, onProgress).result;
  }

  /**
   * Reads the beginning of conversations (a system message, or earlier turns), a text, or token ids, and answers nothing: requests that
   * begin so cost only the rest. With {@link saveState} it becomes a file that is shipped with an app.
   * @throws as `chat.completions.create`
   */
  prefill(prompt: string | readonly number[] | readonly ChatMessage[], options: CallOptions = {}): Promise<Usage> {
    return this.completions.prefill(prompt, options);
  }

  /**
   * The state of the conversation (or text) that the engine has read and written last, as a file: for the same model it goes on from
   * there on any device, without reading anything again. Keep it as you like; it holds the conversation's text.
   */
  saveState(): Promise<Blob> {
    return this.#link.call("save", null).result;
  }

  /**
   * Goes on from a saved state: the next request that continues it costs only what is new.
   * @throws ModelFileError for what is damaged, of another model, or no saved state; then nothing has been read.
   */
  async restoreState(state: Blob): Promise<void> {
    if (!(state instanceof Blob)) throw wrong("state", "a Blob, as saveState gives", state);
    await this.#link.call("restore", { state }).result;
  }

  /** Frees the GPU's memory and ends the worker; open requests fail with `disposed`. Harmless when done twice. */
  dispose(): Promise<void> {
    return this.#link.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

const PROFILE = fields({ tokens: count(1) }, "profile");
const LOGITS = fields({ last: count(0), oneByOne: count(0), chunk: count(0) }, "logits");
const CHECK = fields({ tokens: number(2, 512, true), onProgress: callable }, "check");
const ENCODE = fields({ addBos: boolean }, "encode");

/** `engine.tokenizer`. */
export class Tokenizer {
  readonly #link: Link;

  /** @internal */
  constructor(link: Link) {
    this.#link = link;
  }

  /** Token ids of a text; with `addBos` the token that begins a document comes first. */
  async encode(text: string, options: { addBos?: boolean } = {}): Promise<number[]> {
    checkText(text, "text");
    ENCODE(options, "");
    const { addBos = false } = options;
    return this.#link.call("encode", { text, addBos }).result;
  }

  /** Text of token ids. */
  async decode(ids: readonly number[]): Promise<string> {
    checkIds(ids, "ids");
    return this.#link.call("decode", { ids: [...ids] }).result;
  }

  /** How many tokens a text has. */
  async countTokens(text: string): Promise<number> {
    return (await this.encode(text)).length;
  }
}

function wasmOf(wasm: EngineOptions["wasmUrl"]): LoadRequest["wasm"] {
  return typeof wasm === "string" || wasm instanceof URL ? addressOf(wasm, "wasmUrl").href : wasm;
}

/** Does the work over a new link, and ends that when the signal says so. */
async function stoppable<T>(link: Link, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  const onAbort = () => link.kill(abortError(signal));
  signal?.addEventListener("abort", onAbort, { once: true });
  // It may have said so while the worker was made, and says nothing twice.
  if (signal?.aborted) onAbort();
  try {
    return await work();
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}

/**
 * Downloads a model into the browser's store without loading it: for an app that gets it ready ahead. What is there already is
 * not sent again; an interrupted download goes on where it was. Tells whether it is kept, and why not.
 * @throws DownloadError, StorageError, AbortError, TimeoutError, RequestError, EnvironmentError
 */
export async function downloadModel(options: DownloadOptions): Promise<EngineInfo["storage"]> {
  checkLoading(options, "downloadModel");
  const { signal } = options;
  const source = await sourceOf(options.model, options);
  const wasm = wasmOf(options.wasmUrl);
  if (signal?.aborted) throw abortError(signal);
  // A worker of its own: pages and shared workers cannot write files.
  const link = new Link(await anyLine(), undefined, logTo(options.logger, options.logLevel));
  try {
    return await stoppable(link, signal, () => link.call("fetch", wasm === undefined ? { source } : { source, wasm }, options.onProgress).result);
  } finally {
    void link.close();
  }
}

/**
 * Loads a model onto the GPU.
 * @throws NoGpuError, DownloadError, StorageError, ModelFileError, OutOfMemoryError, GpuError, AbortError, TimeoutError, RequestError,
 * EnvironmentError
 */
export async function createEngine(options: EngineOptions): Promise<Engine> {
  checkLoading(options, "createEngine");
  const { signal, logLevel = DEFAULT_LEVEL } = options;
  const log = logTo(options.logger, logLevel);
  const onPage = Boolean((globalThis.navigator as Partial<Navigator> | undefined)?.gpu);
  const load: LoadRequest = { source: await sourceOf(options.model, options), gpu: { ...options.gpu }, logLevel, onPage };
  if (options.contextLength !== undefined) load.contextLength = options.contextLength;
  if (options.kvType !== undefined) load.kvType = options.kvType;
  for (const field of ["snapshotBytes", "snapshotHostBytes", "memoryBudget"] as const) {
    const bytes = options[field];
    if (bytes !== undefined) load[field] = bytes;
  }
  const wasm = wasmOf(options.wasmUrl);
  if (wasm !== undefined) load.wasm = wasm;
  if (signal?.aborted) throw abortError(signal);
  if (options.worker === "shared") {
    checkShared(load);
    // A shared worker cannot write files.
    if (load.source.kind !== "blobs" && load.source.cache) await downloadModel(options);
  }
  // Until the engine is handed out, a failure is told by the promise alone.
  let ready = false;
  const link = new Link(await lineFor(options.worker, load), (error) => ready && options.onBroken?.(error), log);
  try {
    const info = await stoppable(link, signal, () => link.call("load", load, options.onProgress).result);
    ready = true;
    return new Engine(link, info, options.whenBusy === "refuse");
  } catch (error) {
    link.kill(error as PeregrineError);
    throw error;
  }
}
