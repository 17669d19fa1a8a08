/** The page's side: an engine is a worker with a model in it. */

import { abortError, makeError, type PeregrineError } from "./errors.js";
import { ChatStream, collect } from "./stream.js";
import { readRequest, type ChatCompletion, type ChatCompletionParams } from "./openai.js";
import type { CallName, Calls, EngineInfo, FromWorker, GpuPreferences, Progress, SourceSpec, ToWorker } from "./protocol.js";

/** What {@link createEngine} takes. */
export interface EngineOptions {
  /** A GGUF file: its address, a file the user chose, or its bytes. */
  model: string | URL | Blob | ArrayBuffer;
  /** Called while the model loads. */
  onProgress?: (progress: Progress) => void;
  /** Stops the loading. */
  signal?: AbortSignal;
  /** Tokens that a conversation may have. */
  contextLength?: number;
  /** What may be used of the GPU; chosen by adapter when left out. */
  gpu?: GpuPreferences;
  /** Address of peregrine_bg.wasm, for apps that serve it themselves. */
  wasmUrl?: string | URL;
  /** Called once if the engine breaks later (lost device, GPU error): it must be created again. */
  onBroken?: (error: PeregrineError) => void;
}

/** Options of a single call. */
export interface CallOptions {
  /** Stops the call. */
  signal?: AbortSignal;
}

interface Open {
  resolve: (result: never) => void;
  reject: (error: PeregrineError) => void;
  onEvent: ((event: never) => void) | undefined;
}

/** A model on the GPU. Requests are answered in the order in which they are made. */
export class Engine implements AsyncDisposable {
  /** What is loaded, and where it runs. */
  readonly info: EngineInfo;
  /** Chat completions in OpenAI's shape. */
  readonly chat: { readonly completions: ChatCompletions };
  /** The model's tokenizer. */
  readonly tokenizer: Tokenizer;
  readonly #link: Link;

  /** @internal Use {@link createEngine}. */
  constructor(link: Link, info: EngineInfo) {
    this.#link = link;
    this.info = info;
    this.chat = { completions: new ChatCompletions(link, info.model.name) };
    this.tokenizer = new Tokenizer(link);
  }

  /** Frees the GPU's memory and ends the worker; open requests fail with `disposed`. Harmless when done twice. */
  dispose(): Promise<void> {
    return this.#link.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

/** `engine.chat.completions`. */
export class ChatCompletions {
  readonly #link: Link;
  readonly #model: string;

  /** @internal */
  constructor(link: Link, model: string) {
    this.#link = link;
    this.#model = model;
  }

  /**
   * Answers a conversation. What of it the engine has read in the request before is not read again.
   * With `stream: true` the answer comes in chunks; leaving the loop stops the GPU.
   */
  create(params: ChatCompletionParams & { stream: true }, options?: CallOptions): Promise<ChatStream>;
  create(params: ChatCompletionParams & { stream?: false | null }, options?: CallOptions): Promise<ChatCompletion>;
  create(params: ChatCompletionParams, options?: CallOptions): Promise<ChatStream | ChatCompletion>;
  async create(params: ChatCompletionParams, options: CallOptions = {}): Promise<ChatStream | ChatCompletion> {
    const request = readRequest(params);
    if (options.signal?.aborted) throw abortError(options.signal);
    const stream = new ChatStream(
      (onPiece) => this.#link.call("chat", request, onPiece),
      {
        model: this.#model,
        includeUsage: params.stream_options?.include_usage ?? false,
        tokenIds: params.return_token_ids ?? false,
      },
      options.signal,
    );
    return params.stream ? stream : collect(stream);
  }
}

/** `engine.tokenizer`. */
export class Tokenizer {
  readonly #link: Link;

  /** @internal */
  constructor(link: Link) {
    this.#link = link;
  }

  /** Token ids of a text; with `addBos` the token that begins a document comes first. */
  encode(text: string, { addBos = false }: { addBos?: boolean } = {}): Promise<number[]> {
    return this.#link.call("encode", { text, addBos }).result;
  }

  /** Text of token ids. */
  decode(ids: readonly number[]): Promise<string> {
    return this.#link.call("decode", { ids: [...ids] }).result;
  }

  /** How many tokens a text has. */
  async countTokens(text: string): Promise<number> {
    return (await this.encode(text)).length;
  }
}

/** A call on its way: its answer, and a way to stop it. */
export interface Pending<T> {
  result: Promise<T>;
  abort: () => void;
}

/** Typed messages to and from one worker. */
export class Link {
  readonly #worker: Worker;
  readonly #open = new Map<number, Open>();
  readonly #onBroken: ((error: PeregrineError) => void) | undefined;
  #next = 1;
  #dead: PeregrineError | undefined;
  #closing: Promise<void> | undefined;

  constructor(worker: Worker, onBroken?: (error: PeregrineError) => void) {
    this.#worker = worker;
    this.#onBroken = onBroken;
    worker.addEventListener("message", ({ data }: MessageEvent<FromWorker>) => this.#receive(data));
    // The worker's script could not be loaded, or threw where nothing catches.
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      this.#break(makeError("internal", `the worker failed: ${event.message || "its script could not be loaded"}`));
    });
  }

  call<C extends CallName>(call: C, request: Calls[C]["request"], onEvent?: (event: Calls[C]["event"]) => void): Pending<Calls[C]["result"]> {
    const id = this.#next++;
    const result = new Promise<Calls[C]["result"]>((resolve, reject) => {
      if (this.#dead) return reject(this.#dead);
      this.#open.set(id, { resolve, reject, onEvent });
      this.#worker.postMessage({ type: "call", id, call, request } as ToWorker);
    });
    return { result, abort: () => this.#worker.postMessage({ type: "abort", id } satisfies ToWorker) };
  }

  /** Ends the worker. It gets a moment to free the GPU's memory; a busy one is ended without. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    for (const id of this.#open.keys()) this.#worker.postMessage({ type: "abort", id } satisfies ToWorker);
    const farewell = this.#dead ? Promise.resolve(null) : this.call("dispose", null).result.catch(() => null);
    const gone = makeError("disposed", "the engine has been disposed");
    this.#dead ??= gone;
    await Promise.race([farewell, new Promise((resolve) => setTimeout(resolve, 2000))]);
    this.#worker.terminate();
    this.#failAll(gone);
  }

  /** Ends the worker at once. */
  kill(reason: PeregrineError): void {
    this.#dead ??= reason;
    this.#closing ??= Promise.resolve();
    this.#worker.terminate();
    this.#failAll(reason);
  }

  #receive(message: FromWorker): void {
    if (message.type === "broken") return this.#break(makeError(message.error.code, message.error.message));
    const open = this.#open.get(message.id);
    if (!open) return;
    if (message.type === "event") return open.onEvent?.(message.event as never);
    this.#open.delete(message.id);
    if (message.type === "result") open.resolve(message.result as never);
    else open.reject(makeError(message.error.code, message.error.message));
  }

  #break(error: PeregrineError): void {
    if (this.#dead) return;
    this.#dead = error;
    this.#failAll(error);
    this.#onBroken?.(error);
  }

  #failAll(error: PeregrineError): void {
    const open = [...this.#open.values()];
    this.#open.clear();
    for (const { reject } of open) reject(error);
  }
}

function sourceOf(model: EngineOptions["model"]): SourceSpec {
  if (typeof model === "string" && model === "embedded") {
    throw makeError("not-supported", 'model: "embedded" is not supported in this version; give the address of a GGUF file');
  }
  if (typeof model === "string" || model instanceof URL) {
    let url: URL;
    try {
      url = new URL(model, document.baseURI);
    } catch (cause) {
      throw makeError("argument", `model: expected the address of a GGUF file, found "${model}"`, { cause });
    }
    if (!/^(https?|blob):$/.test(url.protocol)) {
      throw makeError("not-supported", `model: ${url.protocol} addresses are not supported; hub ids come in a later version`);
    }
    return { kind: "url", url: url.href };
  }
  if (model instanceof Blob) return { kind: "blob", blob: model, name: model instanceof File ? model.name : "model" };
  if (model instanceof ArrayBuffer) return { kind: "blob", blob: new Blob([model]), name: "model" };
  throw makeError("argument", "model: expected an address, a File, a Blob or an ArrayBuffer");
}

/**
 * Loads a model onto the GPU.
 * @throws NoGpuError, DownloadError, ModelFileError, OutOfMemoryError, GpuError, AbortError
 */
export async function createEngine(options: EngineOptions): Promise<Engine> {
  const { signal } = options;
  const source = sourceOf(options.model);
  if (signal?.aborted) throw abortError(signal);
  const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "peregrine" });
  // Until the engine is handed out, a failure is told by the promise alone.
  let ready = false;
  const link = new Link(worker, (error) => ready && options.onBroken?.(error));
  const onAbort = () => link.kill(abortError(signal));
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    const load: Calls["load"]["request"] = { source, gpu: options.gpu ?? {} };
    if (options.contextLength !== undefined) load.contextLength = options.contextLength;
    if (options.wasmUrl !== undefined) load.wasmUrl = new URL(options.wasmUrl, document.baseURI).href;
    const info = await link.call("load", load, options.onProgress).result;
    ready = true;
    return new Engine(link, info);
  } catch (error) {
    link.kill(error as PeregrineError);
    throw error;
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}

