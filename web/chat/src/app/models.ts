/** The model in use: loading another one leaves it where it is until the new one answers. */

import { batch, signal, type ReadonlySignal } from "@preact/signals";
import { createEngine, ModelFileError, OutOfMemoryError, PeregrineError, type EngineInfo, type EngineOptions, type Progress, type ServerInfo } from "peregrine";
import "peregrine/embedded";
import { number, t } from "../i18n/index.js";
import { Bar } from "./bar.js";
import { isSameModel, lastChoice, rememberChoice, remoteOf, textOf, type Choice } from "./choice.js";
import { isDevice, type Answerer } from "./engine.js";
import { asOurs, faultOf, mayBeServed, type Fault, type Way } from "./faults.js";
import { budgetOf } from "./footprint.js";
import { announce } from "./notices.js";
import { leftDownload, rememberDownload, type Paused } from "./paused.js";
import { isKept, keptServer, type Server } from "./server.js";
import type { Settings } from "./settings.js";

export { isSame, type Choice } from "./choice.js";

/** A loading that is going on. */
export interface Loading {
  choice: Choice;
  name: string;
  progress: Progress | undefined;
  /** How far it is, from 0 to 1. */
  bar: number;
  /** A download that is not whole yet: it can be paused. */
  download: Paused | undefined;
  stop: () => void;
}

/** A server that may answer, and what the person is asked before it does. */
export interface Consent {
  info: ServerInfo;
  answer: (yes: boolean) => void;
}

/** What the models ask of the rest of the page. */
export interface Hooks {
  settings: ReadonlySignal<Settings>;
  /** The name of a choice for people. */
  nameOf: (choice: Choice) => string;
  /** Resolves when no answer is being written. */
  idle: () => Promise<void>;
  openDialog: () => void;
  /** Where a server can be named that answers instead. */
  openServer: () => void;
  openFile: () => void;
  /** Loads what belongs beside a model, before that answers. */
  beside: (engine: Answerer) => Promise<void>;
  /** Chooses how many tokens a conversation may have. */
  setContext: (tokens: number) => void;
}

/** The models of the page. */
export class Models {
  readonly engine = signal<Answerer | undefined>(undefined);
  /** What answers; a server may take over while the engine lives. */
  readonly where = signal<EngineInfo | ServerInfo | undefined>(undefined);
  /** The server that the person is asked about. */
  readonly consent = signal<Consent | undefined>(undefined);
  /** The model in use, or the one that is to be. */
  readonly choice = signal<Choice>(lastChoice());
  readonly loading = signal<Loading | undefined>(undefined);
  readonly fault = signal<Fault | undefined>(undefined);
  /** The download that is paused, or was interrupted in an earlier visit. */
  readonly paused = signal<Paused | undefined>(undefined);
  readonly #hooks: Hooks;
  /** The loading that counts. */
  #current: AbortController | undefined;
  /** The loading that the engine in use came from. */
  #inUse: AbortController | undefined;
  /** The server that the newest engine may ask. */
  #asked: Server | undefined;

  constructor(hooks: Hooks) {
    this.#hooks = hooks;
  }

  /** The first model of a visit, and what is left of the one before. */
  begin(): void {
    void this.load();
    void leftDownload().then((left) => {
      const { value } = this.loading;
      const goesOn = value?.choice.kind === "remote" && value.choice.model === left?.model;
      if (left && !goesOn && !this.paused.value) this.paused.value = left;
    });
  }

  /** Stops a download so that it can go on from where it is, in this visit or another. */
  pause(): void {
    const { value } = this.loading;
    if (!value?.download) return;
    const current = this.#current;
    this.#current = undefined;
    batch(() => {
      this.loading.value = undefined;
      this.paused.value = value.download;
    });
    current?.abort();
    announce(t("load.pausedSaid", { name: value.name }));
  }

  /** Twice the tokens that the model on this device remembers, as far as it can; else nothing. */
  longerContext(): number | undefined {
    const info = this.where.value;
    if (!info || info.where === "server" || info.model.contextLength >= info.model.longestContext) return undefined;
    return Math.min(2 * info.model.contextLength, info.model.longestContext);
  }

  /** Lets it remember so many. @throws as the engine */
  async growContext(tokens: number): Promise<void> {
    const { value: engine } = this.engine;
    if (!engine || !isDevice(engine)) return;
    await engine.growContext(tokens);
    if (this.engine.value === engine) this.where.value = engine.info;
  }

  /** Goes on with a paused download. */
  goOn(): void {
    const { value } = this.paused;
    if (value) void this.load(remoteOf(textOf(value)));
  }

  /** Lets go of a paused download; what is here of it stays until it is deleted. */
  forgetPaused(model?: string): void {
    const { value } = this.paused;
    if (model !== undefined && !(value && isSameModel(value.model, model))) return;
    this.paused.value = undefined;
    rememberDownload(undefined);
  }

  /** Loads a model beside the one that is there, which answers until then. */
  async load(choice: Choice = this.choice.value): Promise<void> {
    this.#current?.abort();
    this.consent.value?.answer(false);
    const mine = (this.#current = new AbortController());
    const before = this.engine.value && { engine: this.engine.value, choice: this.choice.value };
    const name = this.#hooks.nameOf(choice);
    batch(() => {
      this.fault.value = undefined;
      if (!before) this.choice.value = choice;
      if (choice.kind === "remote" && choice.model === this.paused.value?.model) this.paused.value = undefined;
      this.loading.value = { choice, name, progress: undefined, bar: 0, download: undefined, stop: () => mine.abort() };
    });
    announce(t("load.title", { name }));
    try {
      const engine = await this.#create(choice, mine, before?.engine);
      // A model answers also where that cannot be had.
      if (this.#current === mine) await this.#hooks.beside(engine).catch(() => undefined);
      if (this.#current !== mine) return await engine.dispose();
      const broke = this.#broken.get(engine);
      if (broke) throw broke;
      this.#inUse = mine;
      this.#take(engine, choice);
      if (before && before.engine !== engine) void this.#hooks.idle().then(() => before.engine.dispose());
    } catch (error) {
      if (this.#current === mine) this.#fail(asOurs(error), choice);
    }
  }

  /** Another tab keeps another server, or has forgotten this one. */
  serverChanged(): void {
    if (!this.#asked || !isKept(this.#asked)) this.leaveServer();
  }

  /**
   * The server is another one now, or none: it answers no more, and nobody is asked about it. Back
   * to the device.
   */
  leaveServer(): void {
    this.consent.value?.answer(false);
    const { value: engine } = this.engine;
    if (!engine || this.where.value?.where !== "server") return;
    batch(() => {
      this.engine.value = undefined;
      this.where.value = undefined;
    });
    void this.#hooks.idle().then(() => engine.dispose());
    const { value: choice } = this.choice;
    void this.load(choice.kind === "server" ? { kind: "embedded" } : choice);
  }

  #take(engine: Answerer, chosen: Choice): void {
    // What was quantized is from now on a model of its own among the stored ones.
    const { id } = engine.info.where === "device" ? engine.info.storage : {};
    const choice: Choice = id === undefined ? chosen : { kind: "remote", model: id };
    engine.on("where", (info) => this.engine.value === engine && (this.where.value = info));
    batch(() => {
      this.engine.value = engine;
      this.where.value = engine.info;
      this.choice.value = choice;
      this.loading.value = undefined;
    });
    rememberChoice(choice);
    // One that is paused beside it stays so.
    if (choice.kind === "remote" && !this.paused.value) rememberDownload(undefined);
    announce(t("load.ready", { name: engine.info.model.name }));
  }

  async #create(choice: Choice, mine: AbortController, old: Answerer | undefined): Promise<Answerer> {
    if (choice.kind === "file" && !(await beginsLikeModel(choice.file))) {
      throw new ModelFileError("not-gguf", `${choice.file.name}: not a GGUF file`);
    }
    const { contextLength, device, kvType } = this.#hooks.settings.value;
    const memoryBudget = budgetOf(this.#hooks.settings.value);
    const bar = new Bar();
    const create = () => {
      const options: EngineOptions = {
        model: choice.kind === "file" ? choice.file : choice.kind === "folder" ? choice.files : choice.kind === "remote" ? choice.model : "embedded",
        ...("quantizeTo" in choice && { quantizeTo: choice.quantizeTo }),
        signal: mine.signal,
        ...this.#behind(choice, mine),
        kvType,
        device,
        ...(contextLength === null ? {} : { contextLength }),
        ...(memoryBudget === null ? {} : { memoryBudget }),
        onProgress: (progress) => {
          const { value } = this.loading;
          if (this.#current !== mine || !value) return;
          const download = this.#downloadOf(choice, progress, value.download);
          this.loading.value = { ...value, progress, download, bar: bar.after(progress) };
        },
        onBroken: (error) => this.#broke(error, engine),
      };
      return createEngine(options);
    };
    let engine: Answerer | undefined;
    try {
      return (engine = await create());
    } catch (error) {
      if (!old || asOurs(error).code !== "out-of-memory" || this.#current !== mine) throw error;
    }
    // Both at once are more than the GPU holds: the old one goes first, once its answer is written.
    await this.#hooks.idle();
    const { value: oldChoice } = this.choice;
    if (this.engine.value === old) batch(() => ((this.engine.value = undefined), (this.where.value = undefined)));
    await old.dispose();
    try {
      return (engine = await create());
    } catch (error) {
      // Back to what worked; what went wrong is told all the same.
      if (this.#current === mine) void this.#goBack(oldChoice, mine, asOurs(error), choice);
      throw error;
    }
  }

  /**
   * The server behind a model, of which the person is asked first; or the one that was chosen
   * itself.
   */
  #behind(choice: Choice, mine: AbortController): Pick<EngineOptions, "server" | "onWhere"> {
    const server = keptServer();
    if (!server) {
      if (choice.kind === "server") throw new PeregrineError("argument", "no server is kept");
      return {};
    }
    this.#asked = server;
    const { address, model, apiKey } = server;
    const isChosen = choice.kind === "server";
    const ask = (info: EngineInfo | ServerInfo) => {
      if (info.where !== "server" || isChosen) return true;
      // The one that was forgotten meanwhile is not asked for.
      if ((this.#current !== mine && this.#inUse !== mine) || !isKept(server)) return false;
      return new Promise<boolean>((resolve) => {
        const answer = (yes: boolean) => {
          if (this.consent.value === consent) this.consent.value = undefined;
          resolve(yes);
        };
        const consent: Consent = { info, answer };
        mine.signal.addEventListener("abort", () => answer(false), { once: true });
        this.consent.value = consent;
      });
    };
    return { server: { baseURL: address, model, ...(apiKey !== undefined && { apiKey }), ...(isChosen && { when: "always" }) }, onWhere: ask };
  }

  /** What is here of a model that is being downloaded. */
  #downloadOf(choice: Choice, progress: Progress, before: Paused | undefined): Paused | undefined {
    if (choice.kind !== "remote" || progress.phase !== "download") return before;
    const { loaded, total, rate } = progress;
    // What comes from the disk is there at once.
    if (total === 0 || loaded >= total || (!before && rate === 0)) return undefined;
    if (!before) rememberDownload(choice);
    const { kind: _, ...what } = choice;
    return { ...what, loaded, total };
  }

  async #goBack(to: Choice, failed: AbortController, error: PeregrineError, wanted: Choice): Promise<void> {
    await Promise.resolve();
    if (this.#current !== failed) return;
    await this.load(to);
    if (this.engine.value && !this.fault.value) this.#fail(error, wanted);
  }

  /** Engines that broke before they were taken. */
  readonly #broken = new WeakMap<Answerer, PeregrineError>();

  #broke(error: PeregrineError, engine: Answerer | undefined): void {
    if (engine && this.engine.value !== engine) this.#broken.set(engine, error);
    if (!engine || this.engine.value !== engine) return;
    batch(() => {
      this.engine.value = undefined;
      this.where.value = undefined;
      // The next one is on its way.
      if (!this.loading.value) this.#fail(error, this.choice.value);
    });
  }

  #fail(error: PeregrineError, choice: Choice): void {
    // Whoever stops it is asked at once whether to go on.
    if (error.code === "cancelled" && !this.paused.value) rememberDownload(undefined);
    batch(() => {
      this.loading.value = undefined;
      this.fault.value = faultOf(error, "load", this.#ways(error, choice));
    });
  }

  /** What a person may do about a failed model, the likeliest help first. */
  #ways(error: PeregrineError, choice: Choice): Way[] {
    const { engine } = this;
    const label = error.code === "cancelled" ? "way.goOn" : choice.kind === "file" || choice.kind === "folder" ? "way.sameFile" : "way.tryAgain";
    const again: Way = { label: t(label), go: () => void this.load(choice) };
    const other: Way = { label: t("way.other"), go: () => this.#hooks.openDialog() };
    const open: Way = { label: t("way.open"), go: () => this.#hooks.openFile() };
    const tokens = error instanceof OutOfMemoryError ? error.fit?.largestContext : undefined;
    const smaller: Way[] = [];
    if (error instanceof OutOfMemoryError && canShrink(choice)) {
      smaller.push({ label: t("way.quantize"), go: () => void this.load({ ...choice, quantizeTo: SMALL }) });
    }
    const shorter: Way[] = [];
    if (tokens !== undefined) {
      const go = () => {
        this.#hooks.setContext(tokens);
        void this.load(choice);
      };
      shorter.push({ label: t("way.context", { tokens: number(tokens) }), go });
    }
    const server: Way[] = mayBeServed(error) && !keptServer() ? [{ label: t("way.server"), go: () => this.#hooks.openServer() }] : [];
    if (engine.value) {
      const keep: Way = { label: t("way.keep", { name: engine.value.info.model.name }), go: () => (this.fault.value = undefined) };
      return error instanceof ModelFileError ? [keep, open, other] : error.code === "cancelled" ? [again, keep] : [...shorter, ...smaller, keep, again, other, ...server];
    }
    const demo: Way = { label: t("way.demo"), go: () => void this.load({ kind: "embedded" }) };
    if (choice.kind === "embedded") return [...shorter, again, open, ...server];
    return error instanceof ModelFileError ? [demo, open] : [...shorter, ...smaller, again, demo, choice.kind === "file" ? open : other, ...server];
  }
}

/** What a model is made to that does not fit as it is. */
const SMALL = "Q4_K_M";

/** Whether it may become smaller: of what is called after a type nothing is won. */
const canShrink = (choice: Choice): choice is Choice & { kind: "folder" | "remote" } =>
  choice.kind === "folder" ? choice.quantizeTo === undefined : choice.kind === "remote" && choice.quantizeTo === undefined && !/[:_-]I?Q\d/i.test(choice.model);

/** Whether a file begins as a GGUF file does; only that much is read. */
export async function beginsLikeModel(file: Blob): Promise<boolean> {
  const head = await file.slice(0, 4).text().catch(() => "GGUF");
  // A file that cannot be read is told by the engine.
  return head === "GGUF";
}
