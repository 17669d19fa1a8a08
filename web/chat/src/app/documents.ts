/** Documents that go along with the next question: read here, kept until they are sent or removed. */

import { effect, signal, type Signal } from "@preact/signals";
import { number, t, type Key } from "../i18n/index.js";
import type { Database } from "../store/database.js";
import { newId, type Attachment, type DraftDocument } from "../store/types.js";
import type { Models } from "./models.js";
import { tell } from "./notices.js";
import type { Settings } from "./settings.js";
import type { Talk } from "./talk.js";

/** Characters of a pasted text from which it becomes a document. */
export const LONG_PASTE = 100_000;

/** A document beside the message box. */
export interface Pending {
  id: string;
  name: string;
  /** How much of it is read, while it is. */
  read?: { done: number; total: number };
  stop: () => void;
  /** Once it is read. */
  kept?: DraftDocument;
}

/** Documents of the chat on the page. */
export class Documents {
  readonly pending: Signal<readonly Pending[]> = signal([]);
  readonly #db: Promise<Database>;
  readonly #talk: Talk;
  readonly #models: Models;
  readonly #settings: Signal<Settings>;

  constructor(db: Promise<Database>, talk: Talk, models: Models, settings: Signal<Settings>) {
    this.#db = db;
    this.#talk = talk;
    this.#models = models;
    this.#settings = settings;
    effect(() => {
      const chat = talk.chat.value;
      this.pending.value = [];
      void this.#restore(chat);
    });
  }

  async #restore(chat: string | null): Promise<void> {
    const draft = await (await this.#db).drafts.get(chat ?? "new").catch(() => undefined);
    if (this.#talk.chat.value !== chat || !draft) return;
    const known = new Set(this.pending.value.map(({ id }) => id));
    const kept = draft.documents.filter(({ id }) => !known.has(id)).map((one): Pending => ({ id: one.id, name: one.document.name, stop: () => undefined, kept: one }));
    this.pending.value = [...kept, ...this.pending.value];
  }

  async #keep(): Promise<void> {
    const id = this.#talk.chat.value ?? "new";
    const documents = this.pending.value.flatMap(({ kept }) => (kept ? [kept] : []));
    const { drafts } = await this.#db;
    // What does not fit the disk is there as long as the page is.
    const keeping: PromiseLike<unknown> = documents.length > 0 ? drafts.put({ id, documents }) : drafts.delete(id);
    await keeping.then(undefined, () => undefined);
  }

  #change(id: string, what: Partial<Pending>): void {
    this.pending.value = this.pending.value.map((one) => (one.id === id ? { ...one, ...what } : one));
  }

  /** Takes one away. */
  remove(id: string): void {
    this.pending.value.find((one) => one.id === id)?.stop();
    this.pending.value = this.pending.value.filter((one) => one.id !== id);
    void this.#keep();
  }

  /** Reads files. */
  async attach(files: readonly File[]): Promise<void> {
    for (const file of files) await this.#read(file.name, async (library, signal, onProgress) => library.extract(file, { signal, onProgress }));
  }

  /** A long text that was pasted. */
  paste(text: string): Promise<void> {
    return this.#read(t("document.pasted"), async (library) => library.fromText(text, t("document.pasted")));
  }

  async #read(name: string, read: (library: Library, signal: AbortSignal, onProgress: (progress: { done: number; total: number }) => void) => Promise<DraftDocument["document"]>): Promise<void> {
    const id = newId();
    const abort = new AbortController();
    const chat = this.#talk.chat.value;
    this.pending.value = [...this.pending.value, { id, name, read: { done: 0, total: 0 }, stop: () => abort.abort() }];
    try {
      const library = await import("../documents/index.js");
      const document = await read(library, abort.signal, ({ done, total }) => this.#change(id, { read: { done, total } }));
      if (abort.signal.aborted || this.#talk.chat.value !== chat) return;
      const tokens = await this.#count(library.compose(document));
      const { pending } = this;
      pending.value = pending.value.map(({ read: _read, ...one }) => (one.id === id ? { ...one, kept: { id, document, tokens } } : { ...one, ...(_read && { read: _read }) }));
      for (const { code } of document.warnings) tell(t(`document.${code}` as Key, { name }));
      await this.#keep();
    } catch (error) {
      this.pending.value = this.pending.value.filter((one) => one.id !== id);
      if (abort.signal.aborted) return;
      const { name: kind, code, detail } = error as { name?: string; code?: string; detail?: string };
      tell(kind === "DocumentError" ? t(`document.${code}` as Key, { name, detail: detail ?? "" }) : t("document.damaged", { name }));
    }
  }

  /** Tokens of a text; without a model about as many as there would be. */
  async #count(text: string): Promise<number> {
    const engine = this.#models.engine.value;
    if (!engine) return Math.ceil(text.length / 3);
    return engine.tokenizer.countTokens(text);
  }

  /** What goes along with a question: documents as a whole where they fit the context, else the passages that matter. */
  async attachments(question: string): Promise<Attachment[]> {
    const ready = this.pending.value.flatMap(({ kept }) => (kept ? [kept] : []));
    if (ready.length === 0) return [];
    const { compose, passages } = await import("../documents/index.js");
    const all = this.#models.engine.value?.info.model.contextLength ?? 4096;
    const answer = this.#talk.branch.value.findLast(({ prompt }) => prompt !== undefined);
    const used = answer ? (answer.prompt ?? 0) + (answer.tokens ?? 0) : 0;
    const reserve = Math.min(this.#settings.value.maxTokens, all / 4) + (await this.#count(question)) + 64;
    const chosen: Attachment[] = [];
    let room = Math.max(0, all - used - reserve);
    for (const [i, { id, document }] of ready.entries()) {
      const selection = await passages(document, question, { tokens: Math.floor(room / (ready.length - i)), countTokens: (text) => this.#count(text) });
      room -= selection.tokens;
      const attachment: Attachment = { id, name: document.name, text: compose(selection), tokens: selection.tokens };
      if (document.pages) attachment.pages = document.pages.length;
      if (!selection.whole) attachment.part = partOf(selection);
      chosen.push(attachment);
    }
    return chosen;
  }

  /** They have been sent in this chat. */
  async sent(chat: string | null, attachments: readonly Attachment[]): Promise<void> {
    const ids = new Set(attachments.map(({ id }) => id));
    this.pending.value = this.pending.value.filter(({ id }) => !ids.has(id));
    await (await this.#db).drafts.delete(chat ?? "new");
    await this.#keep();
  }
}

type Library = typeof import("../documents/index.js");

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
