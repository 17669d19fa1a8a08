/**
 * Models that go round in circles write thousands of brackets or quote marks. Reading such text
 * takes time with the square of its length, or all the stack; these bounds keep the page alive.
 */

import type { Token } from "marked";

/** Quotes and lists in one another are drawn to this depth; what is deeper stays as written. */
export const DEEPEST = 24;

/** The text of a block is read in parts of at most this many characters. */
const LONGEST = 2000;

const MARK = String.raw`[ \t]{0,3}(?:>[ \t]?|(?:[-*+]|\d{1,9}[.)])[ \t]+)`;
const RULE = String.raw`[ \t]*(?:(?:-[ \t]*)+|(?:\*[ \t]*)+)(?:\n|$)`;

/**
 * A line in ten quotes and lists at once. Nobody means that, and marked takes twice the time for
 * each more that a quote has.
 */
export const TOO_DEEP = String.raw`(?!${RULE})(?:${MARK}){10}[^\n]*(?:\n|$)`;

/** The parts of a long text: cut at a line's end, else behind a sentence, else at a space. */
export function parts(text: string): string[] {
  if (text.length <= LONGEST) return [text];
  const found: string[] = [];
  let rest = text;
  while (rest.length > LONGEST) {
    const window = rest.slice(0, LONGEST);
    const ends = [window.lastIndexOf("\n"), window.lastIndexOf(". "), window.lastIndexOf(" ")];
    const end = (ends.find((place) => place >= LONGEST / 2) ?? LONGEST - 1) + 1;
    // Not between the two halves of one character.
    const cut = /[\uD800-\uDBFF]/.test(rest[end - 1] ?? "") ? end - 1 : end;
    found.push(rest.slice(0, cut));
    rest = rest.slice(cut);
  }
  return rest === "" ? found : [...found, rest];
}

/** What `read` finds; the source as written where it cannot be read at all. */
export function guarded(source: string, read: (source: string) => Token[]): Token[] {
  try {
    return read(source);
  } catch {
    return [{ type: "literal", raw: source, text: source }];
  }
}
