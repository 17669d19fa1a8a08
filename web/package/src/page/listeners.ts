/** `engine.on`: what an app hears of while an engine lives. */

import type { DeviceLostError } from "../errors.js";
import type { Log } from "../log.js";
import { callable, oneOf } from "../checks.js";
import type { EngineInfo } from "../protocol.js";
import type { ServerInfo } from "./behind.js";

/** What {@link Engine.on} tells, by the event's name. */
export interface EngineEvents {
  /**
   * The device was lost (driver reset, sleep). What comes next is `reloaded`, or `where`, or
   * `onBroken`.
   */
  "device-lost": { error: DeviceLostError };
  /** The model has been loaded onto a new device; `info` is `engine.info` from now on. */
  reloaded: { info: EngineInfo };
  /** From now on answers come from somewhere else; this is `engine.info`. */
  where: EngineInfo | ServerInfo;
}

const NAMES: readonly (keyof EngineEvents)[] = ["device-lost", "reloaded", "where"];
const name = oneOf(...NAMES);

/** Who listens to one engine. */
export class Listeners {
  readonly #log: Log;
  readonly #all: { event: keyof EngineEvents; listener: (payload: never) => void }[] = [];

  constructor(log: Log) {
    this.#log = log;
  }

  /** Returns what ends it. */
  add<E extends keyof EngineEvents>(event: E, listener: (payload: EngineEvents[E]) => void): () => void {
    name(event, "event");
    callable(listener, "listener");
    // The same function may listen twice, and each time is ended by itself.
    const entry = { event, listener };
    this.#all.push(entry);
    return () => {
      const at = this.#all.indexOf(entry);
      if (at >= 0) this.#all.splice(at, 1);
    };
  }

  /** A listener that throws stops neither the others nor the engine. */
  emit<E extends keyof EngineEvents>(event: E, payload: EngineEvents[E]): void {
    for (const entry of this.#all.filter((entry) => entry.event === event)) {
      try {
        (entry.listener as (payload: EngineEvents[E]) => void)(payload);
      } catch (error) {
        this.#log("error", `a listener of "${event}" failed: ${(error as Error)?.message ?? String(error)}`);
      }
    }
  }
}
