/** `engine.lora`: LoRA adapters beside the model. */

import { HUB } from "../download/hub.js";
import { makeError } from "../errors.js";
import type { Backend } from "./worker-client.js";
import type { Found, LoraSource } from "./lora-source.js";
import { address, fields, text, word } from "../checks.js";
import type { LoraInfo } from "../protocol.js";

/** Options of {@link LoraAdapters.load}. */
export interface LoraOptions {
  /** What requests call it. Default: the name of its folder or file. */
  id?: string;
  /** Address of the hub. Default https://huggingface.co */
  hub?: string | URL;
}

const LOAD = fields({ id: word, hub: address }, "lora.load");

type Reading = (source: LoraSource, hub: string | URL) => Promise<Found>;

let linked: Reading | undefined;

/**
 * Links the reading of sources in, where nothing can be imported later: `peregrine/service-worker`
 * does it. @internal
 */
export function setLoraSource(reading: Reading): void {
  linked = reading;
}

async function loadReading(): Promise<Reading> {
  try {
    return (await import("./lora-source.js")).loraOf;
  } catch (cause) {
    throw makeError("engine-file", `the package's part for adapters could not be loaded: ${(cause as Error).message}`, { cause });
  }
}

/** `engine.lora`. Pages that share a worker share its adapters. */
export class LoraAdapters {
  readonly #client: Backend;

  /** @internal */
  constructor(client: Backend) {
    this.#client = client;
  }

  /**
   * Loads an adapter beside the model. It does nothing until a request asks for it: by
   * `lora: [{ id, scale }]`, or by its id as `model`.
   * @throws ModelFileError for what is damaged, of another model, or of a kind that cannot be run,
   * by file and field; RequestError for an id that is taken; DownloadError
   */
  async load(source: LoraSource, options: LoraOptions = {}): Promise<LoraInfo> {
    LOAD(options, "");
    const reading = linked ?? (await loadReading());
    const found = await reading(source, options.hub ?? HUB);
    return this.#client.call("addLora", { source: found.source, id: options.id ?? found.id }).result;
  }

  /** All adapters that are loaded, in the order in which they came. */
  list(): Promise<LoraInfo[]> {
    return this.#client.call("listLora", null).result;
  }

  /** Forgets an adapter; whether there was one. An answer that is being written goes on with it. */
  async remove(id: string): Promise<boolean> {
    text(id, "id");
    return this.#client.call("removeLora", { id }).result;
  }
}
