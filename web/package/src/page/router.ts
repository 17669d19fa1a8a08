/**
 * Where an engine's calls go: to the device, and, when that is gone and the app agrees, to the
 * server behind it.
 */

import type { Behind, ServerInfo, ServerReason } from "./behind.js";
import { isOfIds } from "./dialect.js";
import { makeError, type DeviceLostError, type PeregrineError } from "../errors.js";
import type { Backend, Pending } from "./worker-client.js";
import type { Listeners } from "./listeners.js";
import type { CallName, Calls, EngineInfo, LoraInfo } from "../protocol.js";

/** What answers, and what is known of it. */
export interface Route {
  backend: Backend;
  info: EngineInfo | ServerInfo;
}

/** What a {@link Router} needs where its place may change. */
export interface RouterOptions {
  behind?: Behind | undefined;
  listeners?: Listeners;
  /** The device is gone for good, and no server takes over. */
  onBroken?: ((error: PeregrineError) => void) | undefined;
}

/** A call that the device is to answer. */
interface Open {
  /** The server can answer it, too. */
  isAsked: boolean;
  /** Something of the answer has been told. */
  hasBegun: boolean;
  abort: () => void;
  /** When the device has done with it. */
  ended: Promise<void>;
}

/** The one way of an engine's calls. */
export class Router implements Backend {
  #route: Route;
  readonly #options: RouterOptions;
  /** Whether the server has taken over, once the app has said whether it may. */
  #moving: Promise<boolean> | undefined;
  /** What is wrong with the device for good. */
  #broken: PeregrineError | undefined;
  /** What the device has not answered yet. */
  readonly #open = new Set<Open>();
  /** The end of a device that the server has taken over from. */
  #left: Promise<void> | undefined;
  readonly #end = new AbortController();

  constructor(route: Route, options: RouterOptions = {}) {
    this.#route = route;
    this.#options = options;
  }

  get info(): EngineInfo | ServerInfo {
    return this.#route.info;
  }

  call<C extends CallName>(call: C, request: Calls[C]["request"], onEvent?: (event: Calls[C]["event"]) => void): Pending<Calls[C]["result"]> {
    const { backend, info } = this.#route;
    if (info.where === "server" || !this.#options.behind) return backend.call(call, request, onEvent);
    const isAnswer = call === "respond" && !(request as Calls["respond"]["request"]).onlyRead;
    let isAborted = false;
    const hear = (event: Calls[C]["event"]) => ((open.hasBegun ||= event !== ""), onEvent?.(event));
    let pending = backend.call(call, request, hear);
    const open: Open = { isAsked: isAnswer || call === "models", hasBegun: false, abort: () => pending.abort(), ended: Promise.resolve() };
    /**
     * Whether the server shall do it instead: what it says does not go on where the device has
     * stopped, so half an answer stays one.
     */
    const isOurs = () => isAnswer && isOfIds(request as Calls["respond"]["request"]);
    const moves = async () => open.isAsked && !open.hasBegun && !isAborted && (await this.#moving) === true && !isOurs();
    const again = () => {
      if (isAborted) throw makeError("cancelled", "stopped");
      pending = this.#route.backend.call(call, request, onEvent);
      return pending.result;
    };
    const first = pending.result;
    const result = first.then(
      // The takeover has stopped it.
      async (result) => ((result as { cancelled?: unknown } | null)?.cancelled === true && (await moves()) ? again() : result),
      async (error: PeregrineError) => {
        // A model that loads may still have no room for a conversation. What else has none (logits,
        // a state) says so, and no more.
        if (error.code === "out-of-memory" && isAnswer) this.broke(error, false);
        if (await moves()) return again();
        throw this.#end.signal.aborted ? makeError("disposed", "the engine has been disposed") : error;
      },
    );
    this.#open.add(open);
    const end = () => void this.#open.delete(open);
    open.ended = first.then(end, end);
    return { result, abort: () => ((isAborted = true), pending.abort()) };
  }

  /** The device is lost; whether for good is not known yet. */
  lost(error: DeviceLostError): void {
    this.#options.listeners?.emit("device-lost", { error });
  }

  /** The device's model has been loaded again. */
  reloaded(info: EngineInfo): void {
    this.#route = { ...this.#route, info };
    this.#options.listeners?.emit("reloaded", { info });
  }

  /** The device's model has other adapters now. */
  adapted(adapters: LoraInfo[]): void {
    const { backend, info } = this.#route;
    if (info.where === "device") this.#route = { backend, info: { ...info, adapters } };
  }

  /** The device's model has a longer context now. */
  grown({ model, memory }: Pick<EngineInfo, "model" | "memory">): void {
    const { backend, info } = this.#route;
    if (info.where === "device") this.#route = { backend, info: { ...info, model, memory } };
  }

  /**
   * The device cannot answer: the server takes over where it is allowed to. `isBroken`: nothing
   * more comes of the device.
   */
  broke(error: PeregrineError, isBroken = true): void {
    if (isBroken) this.#broken ??= error;
    if (this.#moving || this.#end.signal.aborted) return;
    const reason = this.#options.behind?.reasonOf(error, isBroken);
    if (reason !== undefined) this.#moving = this.#move(reason, error);
    else if (isBroken) this.#options.onBroken?.(error);
  }

  async #move(reason: ServerReason, error: PeregrineError): Promise<boolean> {
    const there = await this.#options.behind?.takeOver(reason, error, this.#end.signal);
    if (this.#end.signal.aborted) return false;
    if (!there) {
      // The device may have broken while the app was asked; else it answers on, and the app may be
      // asked once more.
      if (this.#broken) this.#options.onBroken?.(this.#broken);
      else this.#moving = undefined;
      return false;
    }
    const { backend } = this.#route;
    this.#route = { backend: there.remote, info: there.info };
    this.#options.listeners?.emit("where", there.info);
    this.#left = this.#leave(backend);
    return true;
  }

  /**
   * Ends the device: what waits for it goes to the server, what it has begun to tell is told to its
   * end.
   */
  async #leave(backend: Backend): Promise<void> {
    const open = [...this.#open];
    for (const { isAsked, hasBegun, abort } of open) if (isAsked && !hasBegun) abort();
    const ended = Promise.all(open.map(({ ended }) => ended));
    await Promise.race([ended, new Promise((resolve) => this.#end.signal.addEventListener("abort", resolve, { once: true }))]);
    await backend.close();
  }

  async close(): Promise<void> {
    this.#end.abort();
    await Promise.all([this.#route.backend.close(), this.#left]);
  }
}
