/** LoRA adapters of the worker's model: where their files come from, and what is known of them. */

import type { WebAdapters, WebEngine } from "../../wasm/peregrine.js";
import { resolveAdapter } from "../download/hub.js";
import { blobSource, type ByteSource } from "../download/bytes.js";
import type { NewHasher } from "../download/stored.js";
import { fetchWhole } from "../download/whole.js";
import type { AdapterSpec, LoraInfo } from "../protocol.js";

/**
 * The files of an adapter. Beside a model they are small: all of each is had before the first byte
 * is read.
 */
export async function openAdapter(spec: AdapterSpec, newHasher: NewHasher): Promise<ByteSource[]> {
  if (spec.kind === "blobs") return spec.files.map(({ blob, name }) => blobSource(blob, name));
  const files = spec.kind === "urls" ? spec.files : await resolveAdapter(spec.model, spec.base);
  return Promise.all(files.map((file) => fetchWhole(file, newHasher)));
}

/** Adapters by name, in the order in which they came. */
export class Adapters {
  #all: LoraInfo[] = [];
  #kept: WebAdapters | undefined;

  get list(): LoraInfo[] {
    return [...this.#all];
  }

  get names(): string[] {
    return this.#all.map(({ id }) => id);
  }

  /** @throws what is wrong with it */
  async add(engine: WebEngine, id: string, files: ByteSource[]): Promise<LoraInfo> {
    const readers = files.map((file) => ({ name: file.name, size: file.size, read: (offset: number, length: number) => file.read(offset, length) }));
    const info = (await engine.addAdapter(id, readers)) as LoraInfo;
    this.#all.push(info);
    return info;
  }

  /** Whether there was one. */
  remove(engine: WebEngine, id: string): boolean {
    this.#all = this.#all.filter((other) => other.id !== id);
    return engine.removeAdapter(id);
  }

  /** Before the engine of a lost device is freed. */
  leave(engine: WebEngine | undefined): void {
    if (this.#all.length > 0 && engine) this.#kept = engine.keepAdapters();
  }

  /** The engine after it has them again. */
  join(engine: WebEngine): void {
    const kept = this.#kept;
    this.#kept = undefined;
    if (kept) this.#all = engine.takeAdapters(kept) as LoraInfo[];
  }
}
