/** The bar of a loading. */

import type { Progress } from "peregrine";

/** How far a loading is, from 0 to 1; it never goes back. */
export class Bar {
  #value = 0;
  #arriving = false;
  #quantizing = false;

  after(progress: Progress): number {
    // A download takes longest, so the bar follows it; what is on the disk is there at once, then
    // preparing the GPU takes longest.
    let now = 0;
    if (progress.phase === "download") {
      this.#arriving ||= progress.rate > 0 && progress.loaded < progress.total && progress.total > 50e6;
      now = this.#arriving && progress.total > 0 ? (0.9 * progress.loaded) / progress.total : 0;
    } else if (progress.phase === "quantize") {
      // That takes longest of all that is done here.
      const from = this.#arriving ? 0.9 : 0;
      this.#quantizing = true;
      now = from + ((0.95 - from) * progress.loaded) / Math.max(progress.total, 1);
    } else if (progress.phase === "upload" && !this.#arriving && !this.#quantizing) {
      now = (0.3 * progress.loaded) / Math.max(progress.total, 1);
    } else if (progress.phase === "compile") {
      const from = this.#quantizing ? 0.95 : this.#arriving ? 0.9 : 0.3;
      now = from + ((1 - from) * progress.done) / Math.max(progress.total, 1);
    }
    return (this.#value = Math.max(this.#value, now));
  }
}
