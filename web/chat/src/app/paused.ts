/**
 * A download that is paused, or was interrupted when the page was closed: what is here of it is
 * kept, and it goes on from there.
 */

import { listModels } from "peregrine";

/** How far it is. */
export interface Paused {
  model: string;
  /** Bytes that are here, of how many. */
  loaded: number;
  total: number;
}

const KEY = "peregrine.paused";

/** Remembers which model is being downloaded; undefined: none. */
export function rememberDownload(model: string | undefined): void {
  try {
    if (model === undefined) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, model);
  } catch {
    // Then the dialog for models tells of it after a reload.
  }
}

/** Whether two names are of one model: addresses are kept in full. */
export function isSameModel(a: string, b: string): boolean {
  const full = (model: string) => (URL.canParse(model, document.baseURI) ? new URL(model, document.baseURI).href : model);
  return a === b || full(a) === full(b);
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
  const model = remembered();
  if (model === undefined) return undefined;
  const found = (await listModels().catch(() => [])).find((one) => isSameModel(one.model, model));
  if (found && !found.complete && found.stored > 0) return { model, loaded: found.stored, total: found.size };
  // Whole, deleted, or never begun; or another tab has forgotten it meanwhile.
  if (remembered() === model) rememberDownload(undefined);
  return undefined;
}
