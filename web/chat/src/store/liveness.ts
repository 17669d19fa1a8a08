/**
 * Which answers are being written: the tab that writes holds a lock, which the browser frees
 * however the tab ends.
 */

import type { Liveness } from "./store.js";

const nameOf = (answer: string) => `peregrine.answer.${answer}`;

/**
 * Through Web Locks. Where a browser has none, or gives none, only this tab's own answers are
 * known.
 */
export class Locks implements Liveness {
  readonly #mine = new Map<string, () => void>();

  /** Says that this tab writes this answer, until {@link release}. */
  async hold(answer: string): Promise<void> {
    const released = new Promise<void>((resolve) => this.#mine.set(answer, resolve));
    // Where a page may keep nothing, it may not lock either: then no other tab has this answer.
    await new Promise<void>((held) => {
      const asked = async () => {
        await navigator.locks?.request(nameOf(answer), () => {
          held();
          return released;
        });
      };
      void asked().then(held, () => held());
    });
  }

  release(answer: string): void {
    this.#mine.get(answer)?.();
    this.#mine.delete(answer);
  }

  isMine(answer: string): boolean {
    return this.#mine.has(answer);
  }

  async isAlive(answer: string): Promise<boolean> {
    if (this.#mine.has(answer)) return true;
    const { held } = (await navigator.locks?.query().catch(() => undefined)) ?? {};
    return held?.some(({ name }) => name === nameOf(answer)) ?? false;
  }

  /** Resolves when nobody writes this answer any more. */
  async whenFree(answer: string): Promise<void> {
    await navigator.locks?.request(nameOf(answer), { mode: "shared" }, () => undefined).catch(() => undefined);
  }
}
