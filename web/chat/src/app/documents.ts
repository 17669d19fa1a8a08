/** Documents that go along with the next question: read here, kept until they are sent or removed. */

import { computed, effect, signal, type ReadonlySignal, type Signal } from "@preact/signals";
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
  /** Whether the browser keeps it. */
  stored?: boolean;
}

const keyOf = (chat: string | null) => chat ?? "new";

/** Documents that wait beside the message box, chat by chat: one that is still read when its chat is left goes on there. */
export class Documents {
  /** Those of the chat on the page. */
  readonly pending: ReadonlySignal<readonly Pending[]>;
  readonly #all = signal<ReadonlyMap<string, readonly Pending[]>>(new Map());
  /** Those that this tab has removed or sent. */
  readonly #over = new Set<string>();
  readonly #db: Promise<Database>;
  readonly #talk: Talk;
  readonly #models: Models;
  readonly #settings: Signal<Settings>;

  constructor(db: Promise<Database>, talk: Talk, models: Models, settings: Signal<Settings>) {
    this.#db = db;
    this.#talk = talk;
    this.#models = models;
    this.#settings = settings;
    this.pending = computed(() => this.#all.value.get(keyOf(talk.chat.value)) ?? []);
    effect(() => void this.#restore(keyOf(talk.chat.value)));
  }

  #change(chat: string, change: (pending: readonly Pending[]) => readonly Pending[]): void {
    this.#all.value = new Map(this.#all.peek()).set(chat, change(this.#all.peek().get(chat) ?? []));
  }

  #update(chat: string, id: string, what: Pick<Pending, "read" | "kept" | "stored">): void {
    this.#change(chat, (all) => all.map((one) => (one.id === id ? { id, name: one.name, stop: one.stop, ...what } : one)));
  }

  /** What the browser keeps, and what is only here. */
  async #restore(chat: string): Promise<void> {
    const draft = await (await this.#db).drafts.get(chat).catch(() => undefined);
    const found = (draft?.documents ?? []).filter(({ id }) => !this.#over.has(id));
    const there = new Set(found.map(({ id }) => id));
    const kept = found.map((one): Pending => ({ id: one.id, name: one.document.name, stop: () => undefined, kept: one, stored: true }));
    // What was stored and is not any more has been sent or removed by another tab.
    this.#change(chat, (all) => [...kept, ...all.filter(({ id, stored }) => !stored && !there.has(id))]);
  }

  /** Changes what is kept of a chat; other tabs may do so too. False: what does not fit the disk is there as long as the page is. */
  async #keep(chat: string, change: (documents: DraftDocument[]) => DraftDocument[]): Promise<boolean> {
    try {
      const { drafts, gone } = await this.#db;
      await drafts.db.transaction("rw", drafts, gone, async () => {
        // What was still read when its chat was deleted for good goes with it.
        const documents = (await gone.get(chat)) ? [] : change((await drafts.get(chat))?.documents ?? []);
        if (documents.length > 0) await drafts.put({ id: chat, documents });
        else await drafts.delete(chat);
      });
      return true;
    } catch {
      return false;
    }
  }

  async #end(chat: string, ids: readonly string[]): Promise<void> {
    for (const id of ids) this.#over.add(id);
    this.#change(chat, (all) => all.filter(({ id }) => !ids.includes(id)));
    await this.#keep(chat, (documents) => documents.filter(({ id }) => !ids.includes(id)));
  }

  /** Takes one away. */
  remove(id: string): void {
    this.pending.value.find((one) => one.id === id)?.stop();
    void this.#end(keyOf(this.#talk.chat.value), [id]);
  }

  /** Reads files, one after the other; all of them stand there from the beginning. */
  async attach(files: readonly File[]): Promise<void> {
    const reading = files.map((file) => this.#begin(file.name, async (library, signal, onProgress) => library.extract(file, { signal, onProgress })));
    for (const read of reading) await read();
  }

  /** A long text that was pasted. */
  paste(text: string): Promise<void> {
    return this.#begin(t("document.pasted"), async (library) => library.fromText(text, t("document.pasted")))();
  }

  #begin(name: string, read: (library: Library, signal: AbortSignal, onProgress: (progress: { done: number; total: number }) => void) => Promise<DraftDocument["document"]>): () => Promise<void> {
    const id = newId();
    const abort = new AbortController();
    const chat = keyOf(this.#talk.chat.value);
    this.#change(chat, (all) => [...all, { id, name, read: { done: 0, total: 0 }, stop: () => abort.abort() }]);
    return async () => {
      try {
        abort.signal.throwIfAborted();
        const library = await import("../documents/index.js");
        const document = await read(library, abort.signal, ({ done, total }) => this.#update(chat, id, { read: { done, total } }));
        const tokens = await this.#count(library.compose(document));
        abort.signal.throwIfAborted();
        const kept = { id, document, tokens };
        const stored = await this.#keep(chat, (documents) => [...documents, kept]);
        this.#update(chat, id, { kept, stored });
        for (const { code } of document.warnings) tell(t(`document.${code}` as Key, { name }));
      } catch (error) {
        this.#change(chat, (all) => all.filter((one) => one.id !== id));
        if (abort.signal.aborted) return;
        const { name: kind, code, detail } = error as { name?: string; code?: string; detail?: string };
        tell(kind === "DocumentError" ? t(`document.${code}` as Key, { name, detail: detail ?? "" }) : t("document.damaged", { name }));
      }
    };
  }

  /** Tokens of a text; without a model about as many as there would be. */
  async #count(text: string): Promise<number> {
    const about = Math.ceil(text.length / 3);
    // A model that is just being replaced does not count any more.
    return (await this.#models.engine.value?.tokenizer.countTokens(text).catch(() => about)) ?? about;
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

  /** They have been sent; they stood beside the box of this chat. */
  sent(chat: string | null, attachments: readonly Attachment[]): Promise<void> {
    return this.#end(keyOf(chat), attachments.map(({ id }) => id));
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
