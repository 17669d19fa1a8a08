/**
 * A download that is paused, or was interrupted when the page was closed: what is here of it is
 * kept, and it goes on from there.
 */

import { isSameModel, remoteOf, textOf, type Quantized } from "./choice.js";

/** How far it is. */
export interface Paused extends Quantized {
  model: string;
  /** Bytes that are here, of how many. */
  loaded: number;
  total: number;
}

const KEY = "peregrine.paused";

/** Remembers which model is being downloaded; undefined: none. */
export function rememberDownload(what: ({ model: string } & Quantized) | undefined): void {
  try {
    if (what === undefined) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, textOf(what));
  } catch {
    // Then the dialog for models tells of it after a reload.
  }
}

function remembered(): string | undefined {
  try {
    return localStorage.getItem(KEY) ?? undefined;
  } catch {
    return undefined;
  }
}

/** The download that an earlier visit left, as far as it is on the disk. */
export async function leftDownload(): Promise<Paused | undefined> {
  const text = remembered();
  if (text === undefined) return undefined;
  const { kind: _, ...what } = remoteOf(text);
  const models = await import("peregrine/download").then(({ listModels }) => listModels()).catch(() => []);
  const found = models.find((one) => isSameModel(one.model, what.model));
  if (found && !found.complete && found.stored > 0) return { ...what, loaded: found.stored, total: found.size };
  // Whole, deleted, or never begun; or another tab has forgotten it meanwhile.
  if (remembered() === text) rememberDownload(undefined);
  return undefined;
}
