// The engine of this page: the embedded model, or the one that the address or the field names.

import { createEngine } from "peregrine";
import "peregrine/embedded";

/**
 * What `?model=` says: a hub id, the address of a GGUF file, or the small model that comes with the
 * package.
 */
export const chosen = new URLSearchParams(location.search).get("model") || "embedded";

/** Loads a model, and says how far it is. */
export function load(model, say) {
  say("Loading…");
  return createEngine({
    model,
    onProgress(progress) {
      if (progress.phase === "download" && progress.total) say(`Downloading: ${Math.floor((100 * progress.loaded) / progress.total)}%`);
      else if (progress.phase === "compile") say(`Preparing the GPU: ${progress.done} of ${progress.total} programs`);
    },
  });
}
