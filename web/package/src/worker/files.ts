/** The files of models that a worker reads. */

import { Hasher, quantize } from "../../wasm/peregrine.js";
import { openMade, openQuantized, type Quantize } from "../download/quantized.js";
import { openSources, type Sources } from "../download/source.js";
import type { LoadRequest, Progress } from "../protocol.js";

type Model = Pick<LoadRequest, "source" | "quantizeTo">;
type Report = (progress: Progress) => void;

/** Files that are open. */
export class OpenFiles {
  readonly #opened = new Set<Sources>();
  readonly #expectWanted: () => void;

  /** `expectWanted` throws when nobody needs any file any more. */
  constructor(expectWanted: () => void) {
    this.#expectWanted = expectWanted;
  }

  /**
   * Opens the files of a model for as long as `work` needs them, or they are wanted. The module
   * compiles meanwhile, and `placing`, which must succeed, too, goes on; where one of them fails
   * nothing is read.
   */
  async reading<T>(of: Model, report: Report, work: (sources: Sources) => Promise<T>, compiling: Promise<unknown> = Promise.resolve(), placing?: Promise<unknown>): Promise<T> {
    const opening = this.#open(of, report, compiling);
    try {
      // What goes wrong with the files is told once these are there.
      opening.catch(() => {});
      await compiling;
      await placing;
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

  #open({ source, quantizeTo }: Model, report: Report, compiling: Promise<unknown>): Promise<Sources> {
    const newHasher = async () => (await compiling, new Hasher());
    if (quantizeTo !== undefined) {
      const quantizing: Quantize = async (files, sink, tell) => {
        await compiling;
        return throughSources(files, this.#expectWanted, (readers) => quantize(readers, quantizeTo, (bytes: Uint8Array) => sink.take(bytes), tell), () => sink.flush());
      };
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
