/**
 * Which part of a document goes along with a question: all of it if there is room, else the
 * passages that matter.
 */

import MiniSearch from "minisearch";
import { compose } from "./compose.js";
import { fold, words } from "./terms.js";
import { type Piece, split } from "./split.js";
import type { ReadDocument } from "./types.js";

/**
 * Why a passage was chosen: words of the question, its neighbor was, it is the beginning, or one
 * of an even spread.
 */
export type Reason = "match" | "near" | "opening" | "overview";

export interface Passage {
  readonly parts: readonly Piece[];
  readonly text: string;
  /** Pages it stands on, of a PDF; otherwise empty. */
  readonly pages: readonly number[];
  /** Its place among the pieces of the document: first and last. */
  readonly range: readonly [number, number];
  /** The strongest reason of its parts. */
  readonly reason: Reason;
  /** Words of the question that it has, folded. */
  readonly terms: readonly string[];
  readonly score: number;
}

export interface Selection {
  readonly document: ReadDocument;
  readonly question: string;
  readonly whole: boolean;
  /** In the order of the document; empty when it is whole. */
  readonly passages: readonly Passage[];
  /** Pieces that there are in all. */
  readonly of: number;
  /** What `compose` of this costs. */
  readonly tokens: number;
  /** What the whole document would cost. */
  readonly wholeTokens: number;
}

export interface PassageOptions {
  /** Room for the composed text. */
  tokens: number;
  countTokens: (text: string) => number | Promise<number>;
  signal?: AbortSignal;
  /**
   * Choose passages even if the whole document fits, or refuse to: "passages", or "auto" if left
   * out.
   */
  mode?: "auto" | "passages";
}

/** Questions about all of a document, in the languages of the page. */
const ABOUT_ALL =
  /summar|overview|tl;?dr|zusammenfass|\bfass.*\bzusammen|überblick|résum|resum[aeoi]|riassu|sintesi|samenvat|\bvat\b.*\bsamen\b|overzicht|streszcz|stresc|podsum|shrn|souhrn|rezum|sammanfatt|översikt|обобщ|резюм|кратк(?:ое|о излож|о переска)|перескаж|подвед.*итог|要約|まとめ|总结|總結|摘要|概括|요약|सारांश|संक्षेप|ملخص|لخص|تلخيص|خلاصہ/iu;

interface Hit {
  readonly index: number;
  readonly score: number;
  /** The score before MiniSearch multiplies it by the number of words found. */
  readonly sum: number;
  readonly terms: readonly string[];
}

/** Does something for each of a list, and lets the page draw and listen now and then. */
async function inTurns<From, To>(list: readonly From[], make: (one: From, index: number) => To, signal?: AbortSignal): Promise<To[]> {
  const made: To[] = [];
  let begun = performance.now();
  for (const [index, one] of list.entries()) {
    made.push(make(one, index));
    if (performance.now() - begun < 12) continue;
    await new Promise((resolve) => setTimeout(resolve));
    signal?.throwIfAborted();
    begun = performance.now();
  }
  return made;
}

/** Pieces that have words of the question, the best first. */
async function search(pieces: readonly Piece[], question: string, signal: AbortSignal | undefined): Promise<Hit[]> {
  const found = await inTurns(pieces, (piece) => words(piece.text), signal);
  const frequency = new Map<string, number>();
  for (const list of found) for (const word of new Set(list)) frequency.set(word, (frequency.get(word) ?? 0) + 1);
  // A word that stands nearly everywhere, such as "the" in any language, finds nothing.
  const common = Math.max(4, pieces.length * 0.4);
  const asked = [...new Set(words(question))].filter((word) => (frequency.get(word) ?? 0) <= common);
  if (asked.length === 0) return [];
  const index = new MiniSearch<{ id: number; words: string }>({
    fields: ["words"],
    tokenize: (text) => text.split("\n"),
    processTerm: (term) => term,
  });
  await inTurns(found, (list, id) => index.add({ id, words: list.join("\n") }), signal);
  const isLong = (term: string, length: number) => /^\p{L}+$/u.test(term) && [...term].length >= length;
  const hits = index.search(asked.join("\n"), {
    prefix: (term) => isLong(term, 4),
    fuzzy: (term) => (isLong(term, 6) ? 0.17 : false),
    weights: { prefix: 0.5, fuzzy: 0.3 },
  });
  return hits
    .map((hit) => ({
      index: hit.id as number,
      score: hit.score,
      sum: hit.score / Math.max(1, hit.terms.length),
      terms: [...new Set(hit.queryTerms)].sort(),
    }))
    .sort((a, b) => b.score - a.score || a.index - b.index);
}

const RANK: readonly Reason[] = ["match", "overview", "near", "opening"];

class Choice {
  readonly #document: ReadDocument;
  readonly #pieces: readonly Piece[];
  readonly #options: PassageOptions;
  readonly #costs = new Map<number, number>();
  /** In the order of choosing. */
  readonly chosen = new Map<number, Reason>();
  #spent = 0;

  constructor(document: ReadDocument, pieces: readonly Piece[], options: PassageOptions) {
    this.#document = document;
    this.#pieces = pieces;
    this.#options = options;
  }

  async begin(): Promise<void> {
    this.#spent = await this.#options.countTokens(compose(this.selection([], "", 0, 0)));
  }

  async cost(index: number): Promise<number> {
    let cost = this.#costs.get(index);
    if (cost === undefined) {
      this.#options.signal?.throwIfAborted();
      // With the marks that may stand before it, so that the sum is seldom too low.
      cost = await this.#options.countTokens(`[…]\n\n[Page ${this.#pieces[index]?.page ?? 1}]\n${this.#pieces[index]?.text ?? ""}\n\n`);
      this.#costs.set(index, cost);
    }
    return cost;
  }

  /** Takes a piece if there is room for it; `most` is the share of the room that it may take. */
  async take(index: number, reason: Reason, most = 1): Promise<boolean> {
    if (index < 0 || index >= this.#pieces.length || this.chosen.has(index)) return false;
    const cost = await this.cost(index);
    if (this.#spent + cost > this.#options.tokens || cost > most * this.#options.tokens) return false;
    this.#spent += cost;
    this.chosen.set(index, reason);
    return true;
  }

  /** Gives back the piece that matters least. */
  drop(): boolean {
    const last = [...this.chosen.keys()].at(-1);
    return last !== undefined && this.chosen.delete(last);
  }

  selection(hits: readonly Hit[], question: string, tokens: number, wholeTokens: number): Selection {
    const byIndex = new Map(hits.map((hit) => [hit.index, hit]));
    const groups: number[][] = [];
    for (const index of [...this.chosen.keys()].sort((a, b) => a - b)) {
      const group = groups.at(-1);
      if (group && group.at(-1) === index - 1) group.push(index);
      else groups.push([index]);
    }
    const passages = groups.map((group): Passage => {
      const parts = group.map((index) => this.#pieces[index] as Piece);
      const reasons = group.map((index) => this.chosen.get(index) as Reason);
      return {
        parts,
        text: parts.map((part) => part.text).join("\n\n"),
        pages: [...new Set(parts.flatMap((part) => (part.page === undefined ? [] : [part.page])))],
        range: [group[0] ?? 0, group.at(-1) ?? 0],
        reason: RANK.find((reason) => reasons.includes(reason)) ?? "overview",
        terms: [...new Set(group.flatMap((index) => byIndex.get(index)?.terms ?? []))].sort(),
        score: Math.max(0, ...group.map((index) => byIndex.get(index)?.score ?? 0)),
      };
    });
    return { document: this.#document, question, whole: false, passages, of: this.#pieces.length, tokens, wholeTokens };
  }
}

/**
 * Takes pieces from the whole length of a document, as many as there is room for, at even
 * distances.
 */
async function spread(choice: Choice, count: number, tokens: number): Promise<void> {
  let sum = 0;
  const sample = [0, Math.floor(count / 3), Math.floor((2 * count) / 3), count - 1];
  for (const index of sample) sum += await choice.cost(index);
  const most = Math.max(1, Math.min(count, Math.floor(tokens / (sum / sample.length))));
  for (let i = 0; i < most; i++) await choice.take(most === 1 ? 0 : Math.round((i * (count - 1)) / (most - 1)), "overview");
}

/** What of a document goes along with a question. The same for the same input. */
export async function passages(document: ReadDocument, question: string, options: PassageOptions): Promise<Selection> {
  const { tokens, countTokens, signal } = options;
  signal?.throwIfAborted();
  const wholeTokens = await countTokens(compose(document));
  signal?.throwIfAborted();
  if (wholeTokens <= tokens && options.mode !== "passages") {
    return { document, question, whole: true, passages: [], of: 0, tokens: wholeTokens, wholeTokens };
  }
  // How many characters a token has depends on the language and the tokenizer: it has just been
  // measured.
  const characters = document.text.length / Math.max(1, wholeTokens);
  const pieces = split(document, characters * Math.min(300, Math.max(40, tokens / 8)));
  const choice = new Choice(document, pieces, options);
  await choice.begin();
  const hits = ABOUT_ALL.test(fold(question)) || ABOUT_ALL.test(question) ? [] : await search(pieces, question, signal);
  if (hits.length === 0) {
    if (pieces.length > 0) await spread(choice, pieces.length, tokens);
  } else {
    const strong = hits.filter((hit) => hit.sum >= 0.2 * (hits[0]?.sum ?? 0));
    const best = strong[0]?.index ?? 0;
    // The best one first: where there is room for one only, it is that.
    await choice.take(best, "match");
    await choice.take(0, "opening", 0.15);
    for (const hit of strong) await choice.take(hit.index, "match");
    for (const hit of strong) for (const index of [hit.index + 1, hit.index - 1]) await choice.take(index, "near");
  }
  for (;;) {
    const selection = choice.selection(hits, question, 0, wholeTokens);
    const cost = await countTokens(compose(selection));
    signal?.throwIfAborted();
    if (cost <= tokens || !choice.drop()) return { ...selection, tokens: cost };
  }
}
