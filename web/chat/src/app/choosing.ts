/**
 * What of a document goes along with a question: all of it where it fits the context, else the
 * passages that matter.
 */

import type { ReadonlySignal } from "@preact/signals";
import { number, t } from "../i18n/index.js";
import type { Attachment, DraftDocument, Message } from "../store/types.js";
import type { Models } from "./models.js";
import type { Settings } from "./settings.js";

/** Which of both a person wants. */
export type Mode = "whole" | "passages";

/** Numbers as ranges: 1, 3–5. */
function ranges(pages: readonly number[]): string {
  const sorted = [...new Set(pages)].sort((a, b) => a - b);
  const found: [number, number][] = [];
  for (const page of sorted) {
    const last = found.at(-1);
    if (last && last[1] === page - 1) last[1] = page;
    else found.push([page, page]);
  }
  return found.map(([from, to]) => (from === to ? number(from) : `${number(from)}–${number(to)}`)).join(", ");
}

function partOf({ passages, of }: { passages: readonly { pages: readonly number[]; parts: readonly unknown[] }[]; of: number }): string {
  const pages = passages.flatMap(({ pages }) => pages);
  const count = passages.reduce((sum, { parts }) => sum + parts.length, 0);
  return pages.length > 0 ? t("document.pages", { pages: ranges(pages) }) : t("document.passages", { count, of });
}

/** Chooses for the model in use. */
export class Choosing {
  readonly #models: Models;
  readonly #settings: ReadonlySignal<Settings>;

  constructor(models: Models, settings: ReadonlySignal<Settings>) {
    this.#models = models;
    this.#settings = settings;
  }

  get #context(): number {
    const info = this.#models.where.value;
    // A server does not say.
    return (info && info.where !== "server" ? info.model.contextLength : this.#settings.value.contextLength) ?? 4096;
  }

  /** Tokens that there is room for after what was said, and before an answer. */
  roomAfter(branch: readonly Message[]): number {
    const all = this.#context;
    const answer = branch.findLast(({ prompt }) => prompt !== undefined);
    const used = answer ? (answer.prompt ?? 0) + (answer.tokens ?? 0) : 0;
    return Math.max(0, all - used - Math.min(this.#settings.value.maxTokens, all / 4) - 64);
  }

  /** About as many tokens as a text has. */
  about(text: string): number {
    return Math.ceil(text.length / 3);
  }

  /** Tokens of a text; without a model about as many as there would be. */
  async count(text: string): Promise<number> {
    const about = this.about(text);
    // A model that is just being replaced does not count any more.
    return (await this.#models.engine.value?.tokenizer.countTokens(text).catch(() => about)) ?? about;
  }

  /** What of a document goes along with a question, where there is room for so many tokens. */
  async attachment({ id, document, tokens: whole, mode }: DraftDocument, question: string, room: number): Promise<Attachment> {
    const { compose, passages } = await import("../documents/index.js");
    // Passages leave room for the conversation, also where all of it would fit.
    const tokens = mode === "passages" ? Math.min(room, Math.max(1024, Math.floor(this.#context / 8))) : room;
    const selection = await passages(document, question, { mode: mode ?? "auto", tokens, countTokens: (text) => this.count(text) });
    const attachment: Attachment = { id, name: document.name, text: compose(selection), tokens: selection.tokens, whole };
    if (document.pages) attachment.pages = document.pages.length;
    if (!selection.whole) attachment.part = partOf(selection);
    return attachment;
  }
}
