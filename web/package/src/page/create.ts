/** Engines are made, and models fetched ahead. */

import { Behind, tellWhere, type OnWhere, type ServerInfo, type ServerOptions, type ServerReason } from "./behind.js";
import { Engine } from "./engine.js";
import { abortError, makeError, type PeregrineError } from "../errors.js";
import { anyConnection, checkShared, connectionFor, type WorkerChoice } from "../connections.js";
import { WorkerClient } from "./worker-client.js";
import { Listeners } from "./listeners.js";
import { GPU_OPTIONS, LOAD_OPTIONS, type DeviceKind, type GpuPreferences, type LoadOptions } from "../load-options.js";
import { DEFAULT_LEVEL, logTo, type Log, type Logger, type LogLevel } from "../log.js";
import { addressOf, sourceOf, type ModelSource, type SourceOptions } from "./model.js";
import { checkLoading, given } from "./options.js";
import { namesGpu, type EngineInfo, type LoadRequest, type Progress } from "../protocol.js";
import type { QuantizeType } from "../quantize-types.js";
import { Router, type RouterOptions } from "./router.js";

/** What {@link downloadModel} takes. */
export interface DownloadOptions extends SourceOptions {
  /** A hub id, an address, files, a folder, bytes, or `"embedded"`. */
  model: ModelSource;
  /**
   * Quantize the model to this type first, in the worker: a folder of 3 GB then runs in 2 GB. The
   * result is kept as a GGUF file among the other models, so that the next visit finds it there as
   * long as the source is the same. Its `id` of {@link listModels} loads it without the source.
   */
  quantizeTo?: QuantizeType;
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
export interface EngineOptions extends DownloadOptions, LoadOptions {
  /**
   * grammar_bg.wasm or its address, for apps that serve it themselves: it is loaded when it is
   * first needed, for answers by a schema or with tools.
   */
  grammarUrl?: string | URL | BufferSource | WebAssembly.Module;
  /**
   * What computes. "auto" (default): a GPU, or the processor where there is none, only one in
   * software, none that computes right results, or it is lost for good; whoever says in `gpu` more
   * than `powerPreference` gets a GPU or an error. "gpu", also one in software; "cpu".
   */
  device?: DeviceKind;
  /** What may be used of the GPU; chosen by adapter when left out. */
  gpu?: GpuPreferences;
  /**
   * Where the engine runs. Default: a worker of its own; where there are no workers (Node, shared
   * and service workers), right here.
   */
  worker?: WorkerChoice;
  /**
   * What happens to a request while another is answered: it waits (default), or fails with `busy`.
   */
  whenBusy?: "queue" | "refuse";
  /**
   * Called once if the engine breaks for good (GPU error, a device that is lost again and again)
   * and no `server` takes over: it must be created again.
   */
  onBroken?: (error: PeregrineError) => void;
  /** A server that answers where no device can. */
  server?: ServerOptions;
  /**
   * Told where answers come from: when the engine is made, and when a server takes over, always
   * before anything is sent there; its `false`, or a promise of it, keeps the engine from going
   * there. The engine waits for the promise: it may ask the person.
   */
  onWhere?: OnWhere;
}

function wasmOf(wasm: EngineOptions["wasmUrl"], field: "wasmUrl" | "grammarUrl" = "wasmUrl"): LoadRequest["wasm"] {
  return typeof wasm === "string" || wasm instanceof URL ? addressOf(wasm, field).href : wasm;
}

/** Does the work over a new client, and ends that when the signal says so. */
async function stoppable<T>(client: WorkerClient, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  const onAbort = () => client.kill(abortError(signal));
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
 * Downloads a model into the browser's store without loading it: for an app that gets it ready
 * ahead. What is there already is not sent again; an interrupted download goes on where it was.
 * Tells whether it is kept, and why not.
 * @throws DownloadError, StorageError, AbortError, TimeoutError, RequestError, EnvironmentError
 */
export async function downloadModel(options: DownloadOptions): Promise<EngineInfo["storage"]> {
  checkLoading(options, "downloadModel");
  const { signal, quantizeTo } = options;
  const source = await sourceOf(options.model, options);
  const wasm = wasmOf(options.wasmUrl);
  if (signal?.aborted) throw abortError(signal);
  // A worker of its own: pages and shared workers cannot write files.
  const client = new WorkerClient(await anyConnection(), undefined, logTo(options.logger, options.logLevel));
  try {
    return await stoppable(client, signal, () => client.call("fetch", { source, ...(wasm !== undefined && { wasm }), ...(quantizeTo !== undefined && { quantizeTo }) }, options.onProgress).result);
  } finally {
    void client.close();
  }
}

/**
 * Loads a model onto the GPU, or the processor ({@link EngineOptions.device}), or, where that
 * cannot be and there is the option `server`, makes an engine that asks the server.
 * @throws NoGpuError, DownloadError, StorageError, ModelFileError, OutOfMemoryError, GpuError,
 * AbortError, TimeoutError, RequestError, EnvironmentError
 */
export async function createEngine(options: EngineOptions & { server?: never }): Promise<Engine>;
export async function createEngine(options: EngineOptions): Promise<Engine<EngineInfo | ServerInfo>>;
export async function createEngine(options: EngineOptions): Promise<Engine<EngineInfo | ServerInfo>> {
  checkLoading(options, "createEngine");
  const gpu = given<LoadRequest["gpu"]>(options.gpu, GPU_OPTIONS);
  if (options.device === "cpu" && namesGpu({ gpu })) throw makeError("argument", 'gpu: says how to drive a GPU, beside device: "cpu"');
  const { signal, onWhere } = options;
  const log = logTo(options.logger, options.logLevel);
  const listeners = new Listeners(log);
  const insists = namesGpu({ gpu, ...(options.device && { device: options.device }) });
  const behind = options.server && new Behind(options.server, onWhere, log, insists);
  const make = (router: Router) => new Engine<EngineInfo | ServerInfo>(router, listeners, options.whenBusy === "refuse");
  let reason: ServerReason | "always" = "always";
  let failure: PeregrineError | undefined;
  if (!behind?.isAlways) {
    const routes: RouterOptions = { behind, listeners, onBroken: options.onBroken };
    try {
      const router = await load(options, routes, behind?.passesSoftware ?? false, log);
      void tellWhere(onWhere, router.info, log);
      return make(router);
    } catch (error) {
      failure = error as PeregrineError;
      const found = behind?.reasonOf(failure);
      if (found === undefined) throw failure;
      reason = found;
    }
  }
  if (signal?.aborted) throw abortError(signal);
  const there = await behind!.takeOver(reason, failure, signal);
  if (signal?.aborted) throw abortError(signal);
  if (!there) throw failure ?? makeError("cancelled", "onWhere does not want the server, and it is the only one that may answer");
  return make(new Router({ backend: there.remote, info: there.info }));
}

/** Loads the model in a worker. */
async function load(options: EngineOptions, routes: RouterOptions, noSoftware: boolean, log: Log): Promise<Router> {
  const { signal, logLevel = DEFAULT_LEVEL } = options;
  const onPage = Boolean((globalThis.navigator as Partial<Navigator> | undefined)?.gpu);
  const load: LoadRequest = {
    source: await sourceOf(options.model, options),
    options: given<LoadOptions>(options, LOAD_OPTIONS),
    gpu: given(options.gpu, GPU_OPTIONS),
    logLevel,
    onPage,
  };
  if (options.quantizeTo !== undefined) load.quantizeTo = options.quantizeTo;
  if (noSoftware) load.noSoftware = true;
  // Tabs that say what they get anyway share a model with those that do not.
  if (options.device !== undefined && options.device !== "auto") load.device = options.device;
  const wasm = wasmOf(options.wasmUrl);
  if (wasm !== undefined) load.wasm = wasm;
  const grammarWasm = wasmOf(options.grammarUrl, "grammarUrl");
  if (grammarWasm !== undefined) load.grammarWasm = grammarWasm;
  if (signal?.aborted) throw abortError(signal);
  if (options.worker === "shared") {
    checkShared(load);
    // Without a device nothing is to be downloaded where a server answers.
    if (routes.behind && load.device !== "cpu" && !onPage && (noSoftware || namesGpu(load))) throw makeError(namesGpu(load) ? "no-webgpu" : "too-slow", "WebGPU is not available: this browser has none, or it is turned off");
    // A shared worker cannot write files.
    if ("cache" in load.source && load.source.cache) await downloadModel(options);
  }
  let router: Router | undefined;
  // Until the engine is handed out, a failure is told by the promise alone.
  const client = new WorkerClient(
    await connectionFor(options.worker, load),
    (error) => router?.broke(error),
    log,
    (news) => {
      if (news.type === "reloaded") router?.reloaded(news.info);
      else if (news.type === "adapters") router?.adapted(news.adapters);
      else if (news.type === "grown") router?.grown(news);
      else router?.lost(makeError(news.error.code, news.error.message, news.error));
    },
  );
  try {
    const info = await stoppable(client, signal, () => client.call("load", load, options.onProgress).result);
    return (router = new Router({ backend: client, info }, routes));
  } catch (error) {
    client.kill(error as PeregrineError);
    throw error;
  }
}
