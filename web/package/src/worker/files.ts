/** The files of models that a worker reads. */

import { Hasher, quantize } from "../../wasm/peregrine.js";
import { openMade, openQuantized, type Quantize } from "../download/quantized.js";
import { openSources, type Sources } from "../download/source.js";
import type { LoadRequest, Progress } from "../protocol.js";

/** Files that are open. */
export class OpenFiles {
  readonly #opened = new Set<Sources>();
  readonly #expectWanted: () => void;

  /** `expectWanted` throws when nobody needs any file any more. */
  constructor(expectWanted: () => void) {
    this.#expectWanted = expectWanted;
  }

  /**
   * Opens the files of a model for as long as `work` needs them, or they are wanted; `beside`: what
   * must be there, too, and is waited for meanwhile. Where that fails nothing is read.
   */
  async reading<T>(of: Pick<LoadRequest, "source" | "quantizeTo">, report: (progress: Progress) => void, work: (sources: Sources) => Promise<T>, beside?: Promise<unknown>): Promise<T> {
    const opening = this.#open(of, report);
    try {
      // What goes wrong with the files is told once that is there.
      opening.catch(() => {});
      await beside;
    } catch (error) {
      opening.then((sources) => sources.close(), () => {});
      throw error;
    }
    const sources = await opening;
    this.#opened.add(sources);
    try {
      this.#expectWanted();
      return await work(sources);
    } finally {
      this.#opened.delete(sources);
      sources.close();
    }
  }

  #open({ source, quantizeTo }: Pick<LoadRequest, "source" | "quantizeTo">, report: (progress: Progress) => void): Promise<Sources> {
    const newHasher = () => new Hasher();
    if (quantizeTo !== undefined) {
      const quantizing: Quantize = (files, sink, tell) =>
        throughSources(files, this.#expectWanted, (readers) => quantize(readers, quantizeTo, (bytes: Uint8Array) => sink.take(bytes), tell), () => sink.flush());
      return openQuantized(source, quantizeTo, report, newHasher, quantizing);
    }
    return source.kind === "stored" ? openMade(source.model, report, newHasher) : openSources(source, report, newHasher);
  }

  /** Closes all: who reads them hears of it. */
  close(): void {
    for (const sources of this.#opened) sources.close();
  }
}

/**
 * The runtime's errors have no room for what went wrong in a source, so what it threw is thrown
 * again. `expectWanted` throws when nobody needs it any more; `before`: what each read waits for.
 */
export async function throughSources<T>(sources: Sources, expectWanted: () => void, load: (files: unknown[]) => Promise<T>, before?: () => Promise<void>): Promise<T> {
  let thrown: unknown;
  const files = sources.files.map((source) => ({
    name: source.name,
    size: source.size,
    read: async (offset: number, length: number) => {
      try {
        expectWanted();
        await before?.();
        return await (source.pieces?.(offset, length) ?? source.read(offset, length));
      } catch (error) {
        thrown ??= error;
        throw error;
      }
    },
  }));
  try {
    return await load(files);
  } catch (error) {
    throw thrown ?? error;
  }
}
