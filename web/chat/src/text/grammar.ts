/**
 * What an answer may hold besides GitHub's Markdown: formulas and footnotes. Every rule is a
 * tokenizer of marked.
 */

import { Lexer, Marked, type Token, type Tokens, type TokenizerThis } from "marked";
import { guarded, parts, TOO_DEEP } from "./limits.js";

export interface MathToken extends Tokens.Generic {
  type: "math";
  tex: string;
  display: boolean;
}
export interface NoteToken extends Tokens.Generic {
  type: "note" | "noteref";
  label: string;
  text: string;
}

/**
 * Whether more text is coming, which decides what an unfinished formula is. marked hands its
 * options to the tokenizers.
 */
const streaming = (self: TokenizerThis) => (self.lexer.options as { streaming?: boolean }).streaming === true;

const DISPLAY_BLOCK = /^ {0,3}(?:\$\$((?:\\[^\n]|[^\\$]|\$(?!\$))+?)\$\$|\\\[([\s\S]+?)\\\])[ \t]*(?:\n+|$)/;
const OPEN_BLOCK = /^ {0,3}(?:\$\$|\\\[)(?:(?!\n[ \t]*\n)[\s\S])*$/;
/** No formula is as long as this: what seems to be one that is not finished is something else. */
const LONGEST_OPEN = 4000;
const BLANK_LINE = /\n[ \t]*\n/;
const INLINE =
  /^(?:\$\$((?:\\[^\n]|[^\\$])+?)\$\$|\\\[([\s\S]+?)\\\]|\\\(([\s\S]+?)\\\)|\$(?![\s$])((?:\\[^\n]|[^\\$`])+?)(?<!\s)\$(?![\w$]))/;
const DEEP = new RegExp(`^(?:${TOO_DEEP})+`);
const DEEP_LATER = new RegExp(`\\n${TOO_DEEP}`);
const OPEN_INLINE = /^(?:\$\$|\\\[|\\\()/;
const STARTS_INLINE = /\\[([]|(?<![\w$\\])\$/;
const NOTE = /^ {0,3}\[\^([^\]\s^]{1,40})\]:[ \t]*([^\n]*(?:\n(?![ \t]*(?:\n|$)| {0,3}\[\^)[^\n]*)*)(?:\n+|$)/;
const NOTE_REFERENCE = /^\[\^([^\]\s^]{1,40})\](?!:)/;

/**
 * Two amounts of money in one sentence look like a formula between dollars: words or a number with
 * words are none.
 */
function isProse(tex: string): boolean {
  return !tex.includes("\\") && (/^\d[\d.,]*\p{L}?\s+\p{L}{2,}/u.test(tex) || /\p{L}{3,}[,;:]?\s+\p{L}{2,}/u.test(tex));
}

/** The formula that `source` begins with, in the middle of text. */
function inlineMath(source: string): MathToken | undefined {
  const found = INLINE.exec(source);
  if (!found || BLANK_LINE.test(found[0])) return undefined;
  const single = found[4];
  if (single !== undefined && isProse(single)) return undefined;
  const tex = (found[1] ?? found[2] ?? found[3] ?? single ?? "").trim();
  if (tex === "") return undefined;
  return { type: "math", raw: found[0], tex, display: found[1] !== undefined || found[2] !== undefined };
}

/**
 * Stars and underlines in formulas are no emphasis: marked looks for its end in what is returned
 * here.
 */
function hideMath(source: string): string {
  let out = "";
  for (let rest = source; rest !== "";) {
    const at = rest.search(STARTS_INLINE);
    if (at < 0) return out + rest;
    const found = inlineMath(rest.slice(at));
    const length = found ? found.raw.length : 1;
    out += rest.slice(0, at) + (found ? "a".repeat(length) : rest[at]);
    rest = rest.slice(at + length);
  }
  return out;
}

const marked = new Marked({
  async: false,
  gfm: true,
  breaks: true,
  hooks: { emStrongMask: hideMath },
  extensions: [
    {
      name: "too-deep",
      level: "block",
      start: (source) => after(DEEP_LATER.exec(source)),
      tokenizer(source): Tokens.Generic | undefined {
        const found = DEEP.exec(source)?.[0];
        return found === undefined ? undefined : { type: "literal", raw: found, text: found };
      },
    },
    {
      name: "math-block",
      level: "block",
      start: (source) => after(/\n {0,3}(?:\$\$|\\\[)/.exec(source)),
      tokenizer(source): Tokens.Generic | undefined {
        const found = DISPLAY_BLOCK.exec(source);
        const tex = (found?.[1] ?? found?.[2] ?? "").trim();
        if (found && tex !== "" && !BLANK_LINE.test(found[1] ?? found[2] ?? "")) return { type: "math", raw: found[0], tex, display: true };
        const open = streaming(this) && !found && source.length <= LONGEST_OPEN ? OPEN_BLOCK.exec(source) : null;
        // "$$x$$ and more" is closed, though not a block of its own.
        return open && !inlineMath(open[0].trimStart()) ? { type: "literal", raw: open[0], text: open[0] } : undefined;
      },
    },
    {
      name: "math-inline",
      level: "inline",
      start: (source) => STARTS_INLINE.exec(source)?.index,
      tokenizer(source): Tokens.Generic | undefined {
        const found = inlineMath(source);
        if (found) return found;
        return streaming(this) && OPEN_INLINE.test(source) ? { type: "literal", raw: source, text: source } : undefined;
      },
    },
    {
      name: "note",
      level: "block",
      start: (source) => after(/\n {0,3}\[\^[^\]\s^]{1,40}\]:/.exec(source)),
      tokenizer(source): NoteToken | undefined {
        const found = NOTE.exec(source);
        return found
          ? { type: "note", raw: found[0], label: found[1] ?? "", text: (found[2] ?? "").replace(/\n[ \t]+/g, "\n") }
          : undefined;
      },
    },
    {
      name: "noteref",
      level: "inline",
      start: (source) => /\[\^/.exec(source)?.index,
      tokenizer(source): NoteToken | undefined {
        const found = NOTE_REFERENCE.exec(source);
        return found ? { type: "noteref", raw: found[0], label: found[1] ?? "", text: "" } : undefined;
      },
    },
  ],
});

function after(found: RegExpExecArray | null): number | undefined {
  return found ? found.index + 1 : undefined;
}

/** Reads Markdown into blocks, and the text of a block into its parts, when they are asked for. */
export class Reader {
  readonly #lexer: Lexer;

  constructor(more: boolean) {
    const options = { ...marked.defaults, streaming: more };
    this.#lexer = new Lexer<string, string>(options);
  }

  /** The addresses that the blocks read so far define. */
  get links(): Lexer["tokens"]["links"] {
    return this.#lexer.tokens.links;
  }

  blocks(source: string): Token[] {
    const blocks = guarded(source, (text) => this.#lexer.blockTokens(text, []));
    // marked reads the text of every block at the end; here only what has changed is read, by
    // `inline`.
    this.#lexer.inlineQueue = [];
    return blocks;
  }

  inline(text: string): Token[] {
    return parts(text).flatMap((part) => guarded(part, (one) => this.#lexer.inlineTokens(one, [])));
  }
}
