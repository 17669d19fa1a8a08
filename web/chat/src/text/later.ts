/**
 * Formulas and colors of code: their libraries come when something needs them, and the work is
 * done in small pieces.
 */

import type { Late } from "./nodes.js";

/** The libraries, each a chunk of its own. Tests give their own. */
export interface Libraries {
  math: () => Promise<{ formula(tex: string, display: boolean): DocumentFragment | undefined }>;
  code: () => Promise<{ colors(text: string, language: string): DocumentFragment | undefined }>;
}

export const LIBRARIES: Libraries = { math: () => import("./formula.js"), code: () => import("./colors.js") };

/** Longer code keeps one color: to find the others would hold the page up. */
const LONGEST_COLORED = 40_000;
/** Work of one piece, in milliseconds; then the page may draw and listen. */
const PIECE = 5;

/** Changes what is in an element, and leaves the person's selection in its text where it was. */
export function keepingSelection(target: HTMLElement, change: () => void): void {
  const selection = target.ownerDocument.getSelection();
  const points = selection?.rangeCount
    ? ([
        [selection.anchorNode, selection.anchorOffset],
        [selection.focusNode, selection.focusOffset],
      ] as const)
    : [];
  const offsets = points.map(([node, offset]) => {
    if (!node || !target.contains(node)) return undefined;
    const before = target.ownerDocument.createRange();
    before.setStart(target, 0);
    before.setEnd(node, offset);
    return before.toString().length;
  });
  change();
  if (!selection || offsets.every((offset) => offset === undefined)) return;
  const [anchor, focus] = offsets.map((offset, i) => (offset === undefined ? points[i] : placeOf(target, offset)));
  if (anchor?.[0] && focus?.[0]) selection.setBaseAndExtent(anchor[0], anchor[1], focus[0], focus[1]);
}

function placeOf(target: HTMLElement, offset: number): [Node, number] {
  const walker = target.ownerDocument.createTreeWalker(target, 4 /* NodeFilter.SHOW_TEXT */);
  let left = offset;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const length = (node as Text).data.length;
    if (left <= length) return [node, left];
    left -= length;
  }
  return [target, target.childNodes.length];
}

/** The work of one answer that is done a little later. */
export class Later {
  readonly #libraries: Libraries;
  readonly #wanted = new Map<HTMLElement, Late>();
  #running: Promise<void> | undefined;

  constructor(libraries: Libraries) {
    this.#libraries = libraries;
  }

  /** An element shall show this; what it should have shown before is forgotten. */
  want(element: HTMLElement, late: Late): void {
    this.#wanted.delete(element);
    if (late.kind === "code" && (!late.closed || late.language === "" || late.text.length > LONGEST_COLORED)) return;
    this.#wanted.set(element, late);
    this.#running ??= this.#work();
  }

  /** Resolves when everything that was wanted is done. */
  async settled(): Promise<void> {
    while (this.#running) await this.#running;
  }

  async #work(): Promise<void> {
    await Promise.resolve();
    try {
      let begun = performance.now();
      for (let next = this.#next(); next; next = this.#next()) {
        const [element, late] = next;
        const make = await this.#maker(late);
        // The text may have changed while the library came.
        if (this.#wanted.get(element) !== late) continue;
        this.#wanted.delete(element);
        const made = make?.();
        if (made) keepingSelection(element, () => element.replaceChildren(made));
        if (performance.now() - begun > PIECE) {
          await new Promise((resolve) => setTimeout(resolve));
          begun = performance.now();
        }
      }
    } finally {
      this.#running = undefined;
    }
  }

  #next(): [HTMLElement, Late] | undefined {
    return this.#wanted.entries().next().value;
  }

  /**
   * How to make it; undefined when the library did not come, without a network say: the source
   * stays in view.
   */
  async #maker(late: Late): Promise<(() => DocumentFragment | undefined) | undefined> {
    try {
      if (late.kind === "math") {
        const { formula } = await this.#libraries.math();
        return () => formula(late.tex, late.display);
      }
      const { colors } = await this.#libraries.code();
      return () => colors(late.text, late.language);
    } catch {
      return undefined;
    }
  }
}
