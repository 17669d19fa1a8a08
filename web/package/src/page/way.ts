/** Where an engine's calls go: to the device, and, when that is gone and the app agrees, to the server behind it. */

import type { Behind, ServerInfo, ServerReason } from "./behind.js";
import { makeError, type DeviceLostError, type PeregrineError } from "../errors.js";
import type { Backend, Pending } from "./link.js";
import type { Listeners } from "./listeners.js";
import type { CallName, Calls, EngineInfo } from "../protocol.js";

/** What answers, and what is known of it. */
export interface Place {
  backend: Backend;
  info: EngineInfo | ServerInfo;
}

/** What a {@link Way} needs where its place may change. */
export interface Course {
  behind?: Behind | undefined;
  listeners?: Listeners;
  /** The device is gone for good, and no server takes over. */
  onBroken?: ((error: PeregrineError) => void) | undefined;
}

/** The one way of an engine's calls. */
export class Way implements Backend {
  #place: Place;
  readonly #course: Course;
  /** Whether the server has taken over, once the app has said whether it may. */
  #moving: Promise<boolean> | undefined;
  /** What is wrong with the device for good. */
  #broken: PeregrineError | undefined;
  readonly #end = new AbortController();

  constructor(place: Place, course: Course = {}) {
    this.#place = place;
    this.#course = course;
  }

  get info(): EngineInfo | ServerInfo {
    return this.#place.info;
  }

  call<C extends CallName>(call: C, request: Calls[C]["request"], onEvent?: (event: Calls[C]["event"]) => void): Pending<Calls[C]["result"]> {
    const { backend, info } = this.#place;
    if (info.where === "server" || !this.#course.behind) return backend.call(call, request, onEvent);
    let hasTold = false;
    let isAborted = false;
    const hear = (event: Calls[C]["event"]) => ((hasTold ||= event !== ""), onEvent?.(event));
    let pending = backend.call(call, request, hear);
    const result = pending.result.catch(async (error: PeregrineError) => {
      const isAnswer = call === "respond" && !(request as Calls["respond"]["request"]).onlyRead;
      // A model that loads may still have no room for a conversation. What else has none (logits, a state) says so, and no more.
      if (error.code === "out-of-memory" && isAnswer) this.broke(error, false);
      // What the server says does not go on where the device has stopped: half an answer stays one, and fails.
      const isAsked = isAnswer || call === "models";
      if (!isAsked || hasTold || isAborted || !(await this.#moving)) throw this.#end.signal.aborted ? makeError("disposed", "the engine has been disposed") : error;
      if (isAborted) throw makeError("cancelled", "stopped");
      pending = this.#place.backend.call(call, request, onEvent);
      return pending.result;
    });
    return { result, abort: () => ((isAborted = true), pending.abort()) };
  }

  /** The device is lost; whether for good is not known yet. */
  lost(error: DeviceLostError): void {
    this.#course.listeners?.tell("device-lost", { error });
  }

  /** The device's model has been loaded again. */
  reloaded(info: EngineInfo): void {
    this.#place = { ...this.#place, info };
    this.#course.listeners?.tell("reloaded", { info });
  }

  /** The device cannot answer: the server takes over where it is allowed to. `isBroken`: nothing more comes of the device. */
  broke(error: PeregrineError, isBroken = true): void {
    if (isBroken) this.#broken ??= error;
    if (this.#moving || this.#end.signal.aborted) return;
    const reason = this.#course.behind?.reasonOf(error, isBroken);
    if (reason !== undefined) this.#moving = this.#move(reason, error);
    else if (isBroken) this.#course.onBroken?.(error);
  }

  async #move(reason: ServerReason, error: PeregrineError): Promise<boolean> {
    const there = await this.#course.behind?.takeOver(reason, error, this.#end.signal);
    if (this.#end.signal.aborted) return false;
    if (!there) {
      // The device may have broken while the app was asked; else it answers on, and the app may be asked once more.
      if (this.#broken) this.#course.onBroken?.(this.#broken);
      else this.#moving = undefined;
      return false;
    }
    const { backend } = this.#place;
    this.#place = { backend: there.remote, info: there.info };
    this.#course.listeners?.tell("where", there.info);
    void backend.close();
    return true;
  }

  close(): Promise<void> {
    this.#end.abort();
    return this.#place.backend.close();
  }
}
