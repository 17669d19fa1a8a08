/** Answers as a person reads them. See README.md of this folder. */

import { Blocks } from "./blocks.js";
import { ENGLISH, type Labels } from "./elements.js";
import { Later, LIBRARIES, type Libraries } from "./later.js";
import { type Child, type Hooks, patch } from "./nodes.js";

export type { Labels } from "./elements.js";
export type { Libraries } from "./later.js";
export { plainText } from "./plain.js";

/** A code block that was drawn. */
export interface CodeBlock {
  /** Its text as it is now: it grows while an answer streams. */
  readonly text: () => string;
  /** As the answer names it, or "". */
  readonly language: () => string;
}

export interface RenderOptions {
  /** Whether more is coming: unfinished formulas stay text. */
  streaming?: boolean;
  /** Words in the person's language, for elements that are drawn from now on. */
  labels?: Partial<Labels>;
  /** Nodes for the head of a code block, a copy button say; called once for each block. */
  codeActions?: (code: CodeBlock) => Node | readonly Node[];
  /** How formulas and colors are loaded; the page's own chunks if left out. */
  libraries?: Libraries;
}

/**
 * One answer that is drawn into one element, which belongs to it: nothing else may change its
 * children.
 */
class Answer implements Hooks {
  readonly #target: HTMLElement;
  readonly #later: Later;
  readonly #blocks: Blocks;
  readonly labels: string;
  #drawn: readonly Child[] = [];
  #actions: RenderOptions["codeActions"];

  constructor(target: HTMLElement, options: RenderOptions) {
    this.#target = target;
    this.#later = new Later(options.libraries ?? LIBRARIES);
    this.labels = JSON.stringify(options.labels ?? {});
    this.#blocks = new Blocks({ ...ENGLISH, ...options.labels });
    target.replaceChildren();
  }

  update(markdown: string, options: RenderOptions): void {
    this.#actions = options.codeActions;
    const next = this.#blocks.update(markdown, options.streaming === true);
    patch(this.#target, this.#drawn, next, this);
    this.#drawn = next;
  }

  late: Hooks["late"] = (element, late) => this.#later.want(element, late);

  slot: Hooks["slot"] = (element) => {
    if (!this.#actions) return;
    // Asked when somebody presses a button in it: by then the block around it is whole.
    const block = () => element.closest<HTMLElement>(".code");
    const nodes = this.#actions({
      text: () => block()?.querySelector("pre > code")?.textContent ?? "",
      language: () => block()?.dataset.language ?? "",
    });
    element.append(...("nodeType" in nodes ? [nodes] : nodes));
  };

  settled(): Promise<void> {
    return this.#later.settled();
  }
}

const answers = new WeakMap<HTMLElement, Answer>();

/** A footnote's number was pressed: its text comes into view, and Tab goes on from there. */
function goToNote(event: Event): void {
  const pressed = (event.target as HTMLElement).closest<HTMLElement>("[data-noteref]");
  const label = pressed?.dataset.noteref;
  if (label === undefined) return;
  const notes = (event.currentTarget as HTMLElement).querySelectorAll<HTMLElement>("[data-note]");
  const note = [...notes].find((one) => one.dataset.note === label);
  note?.scrollIntoView({ block: "nearest" });
  note?.focus({ preventScroll: true });
}

/**
 * Draws Markdown into an element, again and again as it grows: only what changed is touched, and a
 * selection stays. The element belongs to this function from the first call on; `forget` gives it
 * back.
 */
export function render(markdown: string, target: HTMLElement, options: RenderOptions = {}): void {
  let answer = answers.get(target);
  if (answer?.labels !== JSON.stringify(options.labels ?? {})) answer = undefined;
  if (!answer) {
    if (!answers.has(target)) target.addEventListener("click", goToNote);
    answer = new Answer(target, options);
    answers.set(target, answer);
  }
  answer.update(markdown, options);
}

/**
 * Resolves when the formulas and colors of what `render` drew into `target` are there. For
 * printing and for tests.
 */
export async function settled(target: HTMLElement): Promise<void> {
  await answers.get(target)?.settled();
}

/** Makes `target` an element like any other again, empty. */
export function forget(target: HTMLElement): void {
  answers.delete(target);
  target.removeEventListener("click", goToNote);
  target.replaceChildren();
}
