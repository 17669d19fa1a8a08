/**
 * The worker's side: owns the wasm module and the device, and answers the calls of one page, or of
 * all that share it.
 */

import { Hasher, WebAccess, WebEngine, WebRequest } from "../../wasm/peregrine.js";
import { Adapters, openAdapter } from "./adapters.js";
import { Clients, endSession, type Client } from "./clients.js";
import { describe, inWords, snapshotBudgets } from "./describe.js";
import type { GpuWay } from "./device.js";
import { likelyMemory } from "../device-memory.js";
import { OpenFiles, throughSources } from "./files.js";
import { findPlace, takesProcessor, type Place } from "./place.js";
import { isOfGpu, makeError, ModelFileError, toWire, type PeregrineError, type WireError } from "../errors.js";
import { keepOutcomes, readOutcomes, type Outcomes } from "./outcomes.js";
import type { Loras, Usage } from "../openai.js";
import { sharedBy, type ApiRequest, type ApiResult, type Calls, type CheckReport, type EngineInfo, type FromWorker, type LoadRequest, type LoraInfo, type Port, type Progress, type ToWorker } from "../protocol.js";
import { blobSource } from "../download/bytes.js";
import { Speed } from "../download/meter.js";
import { forgetGrammars, GrammarModule, Grammars } from "./grammars.js";
import { begin, isTrap } from "./wasm.js";

interface Loaded {
  engine: WebEngine;
  info: EngineInfo;
}

/** What the runtime hears of the device. */
function preferencesOf(place: Place, request: LoadRequest): object {
  if (place.kind === "cpu") return { device: "cpu" };
  const { facts } = place.way;
  // Of which driver it is a browser says nothing: what was right may be wrong with the next version
  // of the browser.
  const identity = [facts.vendor, facts.architecture, facts.name, navigator.userAgent].join(" ");
  // Where it fails, the way to the processor is this side's: with its reason, and its budgets.
  return { ...request.gpu, ...facts, identity, device: "gpu" };
}

/** Whether an error says what is wrong with a model's files. */
const isOfFile = (error: unknown): boolean => makeError((error as PeregrineError).code ?? "internal", "") instanceof ModelFileError;

/** All that one worker does. */
export class Server {
  readonly #clients = new Clients();
  /** Called when the last page has gone. */
  readonly #onIdle: () => void;
  #request: LoadRequest | undefined;
  #loading: Promise<Loaded> | undefined;
  #engine: WebEngine | undefined;
  /** Tokens that the context has grown to. */
  #context: number | undefined;
  readonly #adapters = new Adapters();
  /** Seconds since 1970. */
  #loadedAt = 0;
  /** How the engine has its GPU, where it has one. */
  #gpu: GpuWay | undefined;
  /** Why the GPU is used no more. */
  #leftGpu: string | undefined;
  /** The GPU gave wrong results, or the engine crashed: nothing more comes of it. */
  #broken: PeregrineError | undefined;
  /** The device is gone; the next answer loads the model again. */
  #lost: PeregrineError | undefined;
  /**
   * What went wrong with the device while the model was being loaded: if not the next way to drive
   * it, the next load may do.
   */
  #early: PeregrineError | undefined;
  /** A device was lost, and no answer has been completed since. */
  #recovered = false;
  #disposing = false;
  /** Of models, as long as there is a page. */
  readonly #files = new OpenFiles(() => this.#checkWanted());
  /** The end of all answers that were asked for so far. */
  #queue: Promise<unknown> = Promise.resolve();
  #queued = 0;
  readonly #grammars = new GrammarModule(this.#clients.log);

  constructor(onIdle: () => void = () => {}) {
    this.#onIdle = onIdle;
  }

  /** Whether the last page has gone: it answers nobody any more. */
  get hasEnded(): boolean {
    return this.#disposing;
  }

  /** Listens to a page. */
  connect(port: Port): void {
    const client = this.#clients.add(port);
    port.addEventListener("message", ({ data }: MessageEvent<ToWorker>) => {
      if (data.type === "abort") client.aborted.add(data.id);
      // The lock is free when the page has gone, however it went.
      else if (data.type === "hello") void navigator.locks?.request(data.lock, () => this.#leave(client));
      else void this.#call(client, data);
    });
  }

  async #call(client: Client, message: Extract<ToWorker, { type: "call" }>): Promise<void> {
    const { id, call } = message;
    const post = (answer: FromWorker) => client.port.postMessage(answer);
    try {
      if (this.#broken && call !== "dispose") throw this.#broken;
      if (call !== "dispose") this.#clients.expect(client);
      const result = await this.#answerTo(client, message, (event) => post({ type: "event", id, event }));
      // A GPU error shows after the work that it spoils.
      if (this.#broken && call !== "dispose") throw this.#broken;
      post({ type: "result", id, result });
    } catch (thrown) {
      const error = toWire(this.#broken ?? thrown);
      // A trap in wasm leaves its memory in an unknown state.
      if (!this.#broken && isTrap(thrown)) this.#break(makeError("internal", `the engine crashed: ${(thrown as Error).message}`));
      post({ type: "error", id, error: error.code === "context-full" ? this.#advised(error) : error });
    }
    client.aborted.delete(id);
  }

  async #answerTo(client: Client, message: Extract<ToWorker, { type: "call" }>, report: (event: unknown) => void): Promise<unknown> {
    switch (message.call) {
      case "load":
        return this.#load(client, message.request, report);
      case "fetch":
        return this.#fetch(message.request, report);
      case "respond":
        return this.#respond(client, message.id, message.request, report);
      case "models":
        return this.#atOnce((engine) => engine.models(this.#loadedAt));
      case "save":
        return this.#enqueue(() => this.#save(client));
      case "restore":
        return this.#enqueue(() => this.#restore(client, message.request));
      case "logits": {
        const { ids, last, oneByOne, chunk, lora } = message.request;
        return this.#enqueue(async () => (await this.#ready()).logits(Uint32Array.from(ids), last, oneByOne, chunk, lora));
      }
      case "check":
        return this.#enqueue(() => this.#check(client, message.request, report));
      case "profile":
        return this.#enqueue(async () => (await this.#ready()).profile(message.request.tokens, message.request.lora));
      case "growContext":
        return this.#atOnce((engine) => this.#grow(engine, message.request.contextLength));
      case "addLora":
        return this.#addLora(message.request);
      case "listLora":
        return this.#adapters.list;
      case "removeLora":
        return this.#enqueue(async () => this.#removeLora(await this.#ready(), message.request.id));
      case "encode":
        return this.#atOnce((engine) => Array.from(engine.encode(message.request.text, message.request.addBos)));
      case "decode":
        return this.#atOnce((engine) => engine.decode(Uint32Array.from(message.request.ids)));
      case "dispose":
        await this.#leave(client);
        return null;
    }
  }

  #refuseBusy({ refuseWhenBusy }: ApiRequest): void {
    if (refuseWhenBusy && this.#queued > 0) throw makeError("busy", "another answer is being written");
  }

  /** Everything that uses the GPU, one after the other. */
  #enqueue<T>(task: () => Promise<T>): Promise<T> {
    this.#queued++;
    const result = this.#queue.then(task);
    this.#queue = result.then(
      () => this.#queued--,
      () => this.#queued--,
    );
    return result;
  }

  /**
   * What uses no GPU: also while an answer is written, and when the device is lost; while the model
   * is being loaded again, as soon as it is there.
   */
  async #atOnce<T>(task: (engine: WebEngine) => T | Promise<T>): Promise<T> {
    if (!this.#engine) await this.#loading;
    return task(this.#here());
  }

  /** Loads the model; pages that ask for the same one get the one that is here. */
  async #load(client: Client, request: LoadRequest, report: (progress: Progress) => void): Promise<EngineInfo> {
    client.port.postMessage({ type: "hello" } satisfies FromWorker);
    client.logLevel = request.logLevel ?? "off";
    const before = this.#request;
    const isSame = before && before.source.kind !== "blobs" && sharedBy(before) === sharedBy(request);
    if (before && !isSame) throw makeError("argument", "worker: this worker has another model already; make one for each engine");
    client.report = report;
    this.#request ??= request;
    this.#loading ??= this.#open(this.#request).catch((error: unknown) => {
      // The next one may try again.
      this.#loading = undefined;
      this.#request = undefined;
      throw error;
    });
    try {
      // Other pages may have loaded some since.
      return { ...(await this.#loading).info, adapters: this.#adapters.list };
    } finally {
      client.report = undefined;
    }
  }

  /**
   * Loads the model onto the GPU; onto the processor where there is none, or where it fails and
   * nobody has named it.
   */
  async #open(request: LoadRequest): Promise<Loaded> {
    const placing: Promise<Place> =
      this.#leftGpu === undefined
        ? findPlace(request, (error) => this.#onDeviceError(error), this.#clients.log, this.#recovered)
        : Promise.resolve({ kind: "cpu", why: this.#leftGpu });
    try {
      return await this.#openOn(placing, request);
    } catch (error) {
      const place = await placing;
      if (place.kind === "cpu" || !takesProcessor(request) || !isOfGpu(error as PeregrineError)) throw error;
      place.way.forget();
      this.#clients.log("warn", `${(error as Error).message}; the processor computes`);
      return await this.#openOn(Promise.resolve({ kind: "cpu", why: `the GPU cannot be used: ${(error as Error).message}` }), request);
    }
  }

  /** The files are opened while the module compiles and the browser looks for a GPU. */
  async #openOn(placing: Promise<Place>, request: LoadRequest): Promise<Loaded> {
    const begun = performance.now();
    let gpu: GpuWay | undefined;
    const found: Outcomes = {};
    const speed = new Speed();
    const report = (progress: Progress) => {
      if (progress.phase === "upload") progress = { ...progress, rate: speed.after(progress.loaded) };
      if (progress.phase === "check") {
        const { key, isWrong, ...told } = progress as typeof progress & { key: string; isWrong: boolean };
        progress = told;
        // Without a time it was known, or is not to be kept.
        if (told.seconds !== undefined) found[key] = told.failed ?? null;
        if (told.failed !== undefined) {
          // The device on which something was wrong is given up next; that it is lost then is no
          // news.
          gpu?.forget();
          this.#early = undefined;
          this.#clients.log("warn", `${told.variant} ${isWrong ? "computes wrong results" : "could not be used"}: ${told.failed}`);
        }
      }
      this.#clients.report(progress);
    };
    // Where nothing but a GPU will do, nothing is fetched before there is one.
    if (!takesProcessor(request)) await placing;
    this.#checkWanted();
    // What goes wrong with the rest is told first.
    placing.catch(() => {});
    const compiling = begin(request.wasm);
    return this.#files.reading(request, report, async (sources) => {
      const [{ memory }, place] = [await compiling, await placing];
      gpu = place.kind === "gpu" ? place.way : undefined;
      this.#gpu = gpu;
      if (place.kind === "cpu") this.#clients.log("info", `the processor: ${place.why}`);
      else this.#clients.log("info", `${place.way.facts.name}${place.way.facts.software ? ", where the CPU computes" : ""}`);
      if (!sources.storage.kept) this.#clients.log("info", `the model is not kept: ${sources.storage.why}`);
      const outcomes = await readOutcomes();
      this.#checkWanted();
      const load = { ...request.options, ...snapshotBudgets(request.options, place.kind), deviceMemory: likelyMemory() };
      const options = { load, gpu: preferencesOf(place, request), outcomes };
      let engine: WebEngine;
      this.#early = undefined;
      try {
        engine = await throughSources(sources, () => this.#checkWanted(), (files) => WebEngine.load(gpu ? gpu.within(() => new WebAccess()) : WebAccess.withoutGpus(), files, options, report));
      } catch (error) {
        // What is wrong with the device is the cause of what the runtime says; but not of what is
        // wrong with a file, after which the runtime lets its device go.
        throw isOfFile(error) ? error : (this.#early ?? error);
      } finally {
        // Also where a later way fails in another manner: what has been found is known.
        await keepOutcomes(found);
      }
      try {
        // A model whose bytes are not all right is not handed out.
        await sources.complete;
        this.#checkWanted();
        if (this.#early) throw this.#early;
        this.#adapters.join(engine);
        this.#growAgain(engine);
      } catch (error) {
        engine.free();
        throw error;
      }
      this.#engine = engine;
      this.#loadedAt = Math.floor(Date.now() / 1000);
      report({ phase: "ready" });
      const info = describe(engine, place, request, sources.storage, memory.buffer.byteLength, this.#adapters.list);
      const { name, formats, contextLength: tokens } = info.model;
      this.#clients.log("info", `${name} (${formats}), ${tokens} tokens of context, loaded in ${Math.round(performance.now() - begun)} ms: ${inWords(info.loading)}`);
      return { engine, info };
    }, compiling, placing);
  }

  /**
   * Throws when the last page has gone, then nobody would free what is made; or the one that this
   * is done for.
   */
  #checkWanted(client?: Client): void {
    if (this.#disposing) throw makeError("disposed", "the engine has been disposed");
    if (client) this.#clients.expect(client);
  }

  /** Downloads a model into the store. */
  async #fetch(request: Calls["fetch"]["request"], report: (progress: Progress) => void): Promise<EngineInfo["storage"]> {
    return this.#files.reading(request, report, async ({ complete, storage }) => {
      await complete;
      return storage;
    }, begin(request.wasm));
  }

  async #ready(): Promise<WebEngine> {
    if (this.#lost) await this.#recover(this.#lost);
    return this.#here();
  }

  #here(): WebEngine {
    if (!this.#engine) throw makeError("internal", "no model is loaded");
    return this.#engine;
  }

  /** Looks at a request at once, and answers it when its turn comes. */
  async #respond(client: Client, id: number, request: ApiRequest, report: (event: string) => void): Promise<ApiResult> {
    // Without a model there is no module to look with.
    if (!this.#request) throw makeError("internal", "no model is loaded");
    const checked = new WebRequest(request.kind, request.body, request.onlyRead, this.#adapters.names);
    try {
      this.#refuseBusy(request);
      const byGrammars = checked.needsGrammars && (await this.#grammars.isThere(checked, this.#request.grammarWasm));
      this.#refuseBusy(request);
      report("");
      return await this.#enqueue(() => this.#answer(client, id, request, checked, byGrammars, report));
    } finally {
      checked.free();
    }
  }

  async #answer(client: Client, id: number, head: ApiRequest, request: WebRequest, byGrammars: boolean, report: (event: string) => void): Promise<ApiResult> {
    const told: string[] = [];
    for (;;) {
      if (client.aborted.has(id)) throw makeError("cancelled", "stopped");
      this.#clients.expect(client);
      const engine = await this.#ready();
      try {
        client.session ??= engine.session();
        let at = 0;
        const tell = (event: string) => {
          // After a loss of the device the answer is made again; what was told must come out the
          // same.
          if (at === told.length) {
            told.push(event);
            report(event);
          } else if (told[at] !== event) throw this.#lost ?? makeError("device-lost", "the GPU device was lost");
          at++;
        };
        const isCancelled = () => client.aborted.has(id) || !this.#clients.has(client);
        const grammars = byGrammars ? new Grammars(engine) : undefined;
        const answering = client.session.respond(request, head, tell, isCancelled, grammars) as Promise<ApiResult>;
        const result = await answering.finally(() => grammars?.free());
        if (this.#lost) throw this.#lost;
        if (result.cancelled && at < told.length) throw this.#lost ?? makeError("device-lost", "the GPU device was lost");
        this.#recovered = false;
        const { prompt_tokens, completion_tokens, prompt_tokens_details, timings } = result.usage as Usage;
        const times = `${(timings.prefill_ms / 1000).toFixed(3)} s and ${(timings.decode_ms / 1000).toFixed(3)} s`;
        this.#clients.log("debug", `${prompt_tokens} tokens of prompt, ${prompt_tokens_details.cached_tokens} of them read before, ${completion_tokens} of answer: ${times}`);
        return result;
      } catch (error) {
        const lost = await this.#wasLost(error);
        if (!lost) throw error;
        await this.#recover(lost);
      }
    }
  }

  async #check(client: Client, { tokens, lora }: { tokens: number; lora: Loras }, report: (comparisons: number) => void): Promise<CheckReport> {
    const engine = await this.#ready();
    return this.#files.reading(this.#request!, () => {}, (sources) =>
      throughSources(sources, () => this.#checkWanted(client), (files) => engine.check(files, tokens, report, lora) as Promise<CheckReport>),
    );
  }

  async #save(client: Client): Promise<Blob> {
    const engine = await this.#ready();
    client.session ??= engine.session();
    // Each piece is the browser's as soon as it is here, which may move it to the disk: a large
    // state does not lie in the worker's memory as a whole.
    const pieces: Blob[] = [];
    await client.session.save({ take: (bytes) => void pieces.push(new Blob([bytes as Uint8Array<ArrayBuffer>])) });
    return new Blob(pieces, { type: "application/octet-stream" });
  }

  /**
   * Also while an answer is written: it then goes on where it would have ended. All pages that
   * share the model hear of it.
   */
  async #grow(engine: WebEngine, contextLength: number): Promise<number> {
    engine.growContext(contextLength);
    // Before anything is waited for: an answer may have the model loaded again meanwhile.
    const { model, memory } = engine.info() as Pick<EngineInfo, "model" | "memory">;
    this.#context = model.contextLength;
    const loaded = await this.#loading!;
    loaded.info = { ...loaded.info, model, memory: { ...loaded.info.memory, ...memory } };
    this.#clients.tell({ type: "grown", model, memory: loaded.info.memory });
    return model.contextLength;
  }

  /** What was loaded again has the context that the one before had grown to, where that fits. */
  #growAgain(engine: WebEngine): void {
    if (this.#context === undefined) return;
    try {
      engine.growContext(this.#context);
    } catch (error) {
      this.#clients.log("warn", `the context is shorter than it had grown to: ${(error as Error).message}`);
    }
  }

  /** Says what to do about a context that is full, where it can grow. */
  #advised(full: WireError): WireError {
    const model = this.#engine && (this.#engine.info() as Pick<EngineInfo, "model">).model;
    if (!model || model.contextLength >= model.longestContext) return full;
    return { ...full, message: `${full.message}; or make room: engine.growContext(tokens), up to ${model.longestContext} where memory allows` };
  }

  async #addLora({ source, id }: Calls["addLora"]["request"]): Promise<LoraInfo> {
    const files = await openAdapter(source, async () => new Hasher());
    return this.#enqueue(async () => {
      const info = await this.#adapters.add(await this.#ready(), id, files);
      this.#clients.tell({ type: "adapters", adapters: this.#adapters.list });
      return info;
    });
  }

  #removeLora(engine: WebEngine, id: string): boolean {
    const was = this.#adapters.remove(engine, id);
    if (was) this.#clients.tell({ type: "adapters", adapters: this.#adapters.list });
    return was;
  }

  async #restore(client: Client, { state, lora }: { state: Blob; lora: Loras }): Promise<null> {
    const engine = await this.#ready();
    client.session ??= engine.session();
    const { name, size, read } = blobSource(state, "the saved state");
    await client.session.restore({ name, size, read }, lora);
    return null;
  }

  /**
   * Whether the device is gone; the browser says so a little later than the first call that fails.
   */
  async #wasLost(error: unknown): Promise<PeregrineError | undefined> {
    const code = (error as { code?: unknown }).code;
    if (code !== "device-lost" && code !== "gpu") return this.#lost;
    for (let wait = 0; !this.#lost && wait < 10; wait++) await new Promise((resolve) => setTimeout(resolve, 20));
    return this.#lost ?? (code === "device-lost" ? (error as PeregrineError) : undefined);
  }

  /**
   * Loads the model once more; from the store, where it is kept. Conversations are read again when
   * they go on.
   */
  async #recover(lost: PeregrineError): Promise<void> {
    const request = this.#request;
    // Again, and nothing was answered in between: the GPU is lost for good.
    const isForGood = this.#recovered && this.#leftGpu === undefined && !!request && takesProcessor(request);
    if ((this.#recovered && !isForGood) || !request || this.#disposing) {
      this.#break(lost);
      throw lost;
    }
    if (isForGood) this.#leftGpu = `the GPU was lost again and again: ${lost.message}`;
    this.#recovered = true;
    // The runtime may have noticed it before the browser said so.
    if (!this.#lost) this.#clients.tell({ type: "lost", error: toWire(lost) });
    this.#gpu?.forget();
    this.#clients.log("warn", `${lost.message}; the model is loaded again`);
    this.#clients.endSessions();
    forgetGrammars(this.#engine);
    this.#adapters.leave(this.#engine);
    this.#engine?.free();
    this.#engine = undefined;
    this.#lost = undefined;
    this.#loading = this.#open(request);
    try {
      this.#clients.tell({ type: "reloaded", info: (await this.#loading).info });
    } catch (error) {
      this.#break(makeError("device-lost", `${lost.message}; and the model could not be loaded again: ${(error as Error).message}`, { cause: error }));
      throw this.#broken ?? error;
    }
  }

  #onDeviceError(error: PeregrineError): void {
    // A device that is destroyed on purpose is lost, too. The first report is the cause of the
    // others.
    if (this.#disposing || this.#broken || this.#lost) return;
    if (!this.#engine) this.#early ??= error;
    else if (error.code === "device-lost") {
      this.#lost = error;
      this.#clients.tell({ type: "lost", error: toWire(error) });
    } else this.#break(error);
  }

  #break(error: PeregrineError): void {
    if (this.#broken || this.#disposing) return;
    this.#broken = error;
    this.#clients.tell({ type: "broken", error: toWire(error) });
  }

  /** A page has gone; with the last one goes the model. */
  async #leave(client: Client): Promise<void> {
    if (!this.#clients.delete(client)) return;
    // What it had asked for stops at its next token; until then its session is in use.
    await this.#queue;
    endSession(client);
    if (!this.#clients.isEmpty) return;
    this.#disposing = true;
    this.#files.close();
    this.#gpu?.forget();
    forgetGrammars(this.#engine);
    this.#engine?.free();
    this.#engine = undefined;
    // After the farewell.
    setTimeout(this.#onIdle, 0);
  }
}
