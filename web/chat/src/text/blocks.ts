/** The blocks of a growing text: only those that new text can still change are read again. */

import type { Token } from "marked";
import { Drawer, type Labels } from "./elements.js";
import { Reader } from "./grammar.js";
import type { Child } from "./nodes.js";

interface Block {
  readonly token: Token;
  /** Where it begins in the source. */
  readonly at: number;
  readonly drawn: readonly Child[];
}

/** Whether text behind a blank line can still belong to this block. */
const goesOn = (token: Token) => token.type === "list" || (token.type === "code" && token.codeBlockStyle === "indented");

/** Whether this block ends with its line, whatever comes. */
const isLine = (token: Token) => token.type === "heading" && /^ {0,3}#[^\n]*\n/.test(token.raw);

function commonStart(a: string, b: string): number {
  if (b.startsWith(a)) return a.length;
  const shorter = Math.min(a.length, b.length);
  let i = 0;
  while (i < shorter && a.charCodeAt(i) === b.charCodeAt(i)) i++;
  return i;
}

export class Blocks {
  #source = "";
  #more = false;
  #blocks: Block[] = [];
  /** The addresses that the text defines, for any of its links. */
  #links = "{}";
  readonly #drawer: Drawer;

  constructor(labels: Labels) {
    this.#drawer = new Drawer(new Reader(false), labels);
  }

  /** What is drawn for a text; `more` while it may grow. */
  update(markdown: string, more: boolean): Child[] {
    const source = markdown.replace(/\r\n?/g, "\n").replaceAll("\0", "\uFFFD");
    let keep = more === this.#more && this.#links === "{}" ? this.#unchanged(commonStart(this.#source, source)) : 0;
    let reader = new Reader(more);
    let tokens = reader.blocks(source.slice(this.#blocks[keep]?.at ?? 0));
    let links = JSON.stringify(reader.links);
    if (links !== "{}" && keep > 0) {
      // An address may belong to a link far above, so all is read together.
      keep = 0;
      reader = new Reader(more);
      tokens = reader.blocks(source);
      links = JSON.stringify(reader.links);
    }
    const anew = more !== this.#more || links !== this.#links;
    this.#drawer.begin(reader, anew);
    this.#blocks = this.#draw(tokens, keep, anew);
    const covered = this.#blocks.reduce((sum, { token }) => sum + token.raw.length, 0);
    // marked drops some text, an address that was defined before say: places behind it are unknown
    // then.
    this.#source = covered === source.length ? source : "";
    this.#more = more;
    this.#links = links;
    return this.#blocks.flatMap((block) => block.drawn);
  }

  /** How many blocks a change at `change` leaves as they are. */
  #unchanged(change: number): number {
    const blocks = this.#blocks;
    let i = blocks.length;
    const touched = ({ at, token }: Block) => at + token.raw.length >= change;
    while (i > 0 && touched(blocks[i - 1] as Block)) i--;
    // What comes behind a blank line may belong to the block before it.
    if (i > 0 && (i === blocks.length || blocks[i]?.token.type === "space")) i--;
    while (i > 0) {
      const before = blocks[i - 1] as Block;
      if (isLine(before.token)) break;
      const filled = blocks[i - 2];
      if (before.token.type === "space" && filled !== undefined && !goesOn(filled.token)) break;
      i--;
    }
    return i;
  }

  #draw(tokens: readonly Token[], keep: number, anew: boolean): Block[] {
    const blocks = this.#blocks.slice(0, keep);
    let at = this.#blocks[keep]?.at ?? 0;
    for (const token of tokens) {
      const was = anew ? undefined : this.#blocks[blocks.length];
      const same = was?.token.type === token.type && was.token.raw === token.raw;
      blocks.push({ token, at, drawn: same && was ? was.drawn : this.#drawer.block(token) });
      at += token.raw.length;
    }
    return blocks;
  }
}
