/** Bytes as they come: how many, and how fast. */

import type { Progress } from "../protocol.js";

/** Called with the bytes loaded so far, and in all. */
export type OnLoaded = (loaded: number, total: number) => void;

type Download = Extract<Progress, { phase: "download" }>;

/** The rate is that of so many milliseconds. */
const WINDOW = 3000;

/**
 * Adds up the downloads of several files, and reports at most every `EVERY` milliseconds, and at
 * the end.
 */
const EVERY = 50;

/** How fast bytes come. */
export class Speed {
  /** Time and bytes, oldest first. */
  readonly #points: [number, number][] = [];

  /** Bytes a second of the last seconds, with so many bytes by now. */
  after(bytes: number): number {
    const now = performance.now();
    const points = this.#points;
    points.push([now, bytes]);
    while (points.length > 2 && now - (points[0] as [number, number])[0] > WINDOW) points.shift();
    const [from, before] = points[0] as [number, number];
    return now > from ? Math.max(0, ((bytes - before) * 1000) / (now - from)) : 0;
  }
}

/** A meter over some files. */
export class Meter {
  readonly #report: (progress: Download) => void;
  readonly #files = new Map<number, { loaded: number; total: number; resumed: number }>();
  readonly #speed = new Speed();
  #told = 0;

  constructor(report: (progress: Download) => void) {
    this.#report = report;
  }

  /** Bytes of file number `file`, and how many of them were here before. */
  set(file: number, loaded: number, total: number, resumed = 0): void {
    this.#files.set(file, { loaded, total, resumed });
    const sum = (of: "loaded" | "total" | "resumed") => [...this.#files.values()].reduce((n, one) => n + one[of], 0);
    const [all, resumedFrom] = [sum("loaded"), sum("resumed")];
    const now = performance.now();
    const rate = this.#speed.after(all - resumedFrom);
    const done = [...this.#files.values()].every((one) => one.loaded === one.total);
    if (!done && now - this.#told < EVERY) return;
    this.#told = now;
    this.#report({ phase: "download", loaded: all, total: sum("total"), rate, resumedFrom });
  }
}
