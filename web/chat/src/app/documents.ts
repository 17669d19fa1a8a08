/**
 * Documents that go along with the next question: read here, kept until they are sent or removed.
 */

import { batch, computed, effect, signal, type ReadonlySignal } from "@preact/signals";
import { t, type Key } from "../i18n/index.js";
import type { Database } from "../store/database.js";
import { keepSources } from "../store/sources.js";
import { withRoom } from "../store/states.js";
import { newId, type Attachment, type DraftDocument } from "../store/types.js";
import type { Choosing, Mode } from "./choosing.js";
import { forgetMode, keepMode, modeOf } from "./local.js";
import { tell } from "./notices.js";
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

/** A document that is read in another way. */
const inMode = ({ mode: _, ...one }: DraftDocument, mode: string): DraftDocument => (mode === "passages" ? { ...one, mode } : one);

/** In place of how it is read: it was removed. */
const REMOVED = "removed";

const keyOf = (chat: string | null) => chat ?? "new";

/**
 * Documents that wait beside the message box, chat by chat: one that is still read when its chat is
 * left goes on there.
 */
export class Documents {
  /** Those of the chat on the page. */
  readonly pending: ReadonlySignal<readonly Pending[]>;
  readonly #all = signal<ReadonlyMap<string, readonly Pending[]>>(new Map());
  /** Those that this tab has removed or sent. */
  readonly #over = new Set<string>();
  /** What is being taken from one chat to another. */
  #moved: Promise<void> = Promise.resolve();
  readonly #db: Promise<Database>;
  readonly #talk: Talk;
  readonly #choosing: Choosing;

  constructor(db: Promise<Database>, talk: Talk, choosing: Choosing) {
    this.#db = db;
    this.#talk = talk;
    this.#choosing = choosing;
    this.pending = computed(() => this.#all.value.get(keyOf(talk.chat.value)) ?? []);
    effect(() => void this.#restore(keyOf(talk.chat.value)));
  }

  #change(chat: string, change: (pending: readonly Pending[]) => readonly Pending[]): void {
    this.#all.value = new Map(this.#all.peek()).set(chat, change(this.#all.peek().get(chat) ?? []));
  }

  /**
   * The chat beside whose box a document stands: one that begins while it is read takes it along.
   */
  #chatOf(id: string): string | undefined {
    return [...this.#all.peek()].find(([, all]) => all.some((one) => one.id === id))?.[0];
  }

  #update(chat: string, id: string, what: Pick<Pending, "read" | "kept" | "stored">): void {
    this.#change(chat, (all) => all.map((one) => (one.id === id ? { id, name: one.name, stop: one.stop, ...what } : one)));
  }

  /** What the browser keeps, and what is only here. */
  async #restore(chat: string): Promise<void> {
    const draft = await (await this.#db).drafts.get(chat).catch(() => undefined);
    const all = (draft?.documents ?? []).filter(({ id }) => !this.#over.has(id));
    // What a page that was closed at once had not told the database.
    const removed = all.filter(({ id }) => modeOf(id) === REMOVED).map(({ id }) => id);
    if (removed.length > 0) void this.#end(chat, removed);
    const found = all.filter(({ id }) => !removed.includes(id)).map((one) => inMode(one, modeOf(one.id) ?? one.mode ?? "whole"));
    const there = new Set(found.map(({ id }) => id));
    const kept = found.map((one): Pending => ({ id: one.id, name: one.document.name, stop: () => undefined, kept: one, stored: true }));
    // What was stored and is not any more has been sent or removed by another tab.
    this.#change(chat, (all) => [...kept, ...all.filter(({ id, stored }) => !stored && !there.has(id))]);
    for (const { id } of found) {
      const mode = modeOf(id);
      if (mode !== null) void this.choose(id, mode as Mode);
    }
  }

  /**
   * Changes what is kept of a chat; other tabs may do so too. False: what does not fit the disk is
   * there as long as the page is.
   */
  async #keep(chat: string, change: (documents: DraftDocument[]) => DraftDocument[]): Promise<boolean> {
    try {
      const db = await this.#db;
      const { drafts, gone } = db;
      const keep = async () => {
        // What was still read when its chat was deleted for good goes with it.
        const documents = (await gone.get(chat)) ? [] : change((await drafts.get(chat))?.documents ?? []);
        if (documents.length > 0) await drafts.put({ id: chat, documents });
        else await drafts.delete(chat);
      };
      await withRoom(db, () => db.transaction("rw", drafts, gone, keep));
      return true;
    } catch {
      return false;
    }
  }

  async #end(chat: string, ids: readonly string[]): Promise<void> {
    for (const id of ids) {
      this.#over.add(id);
      keepMode(id, REMOVED);
    }
    this.#change(chat, (all) => all.filter(({ id }) => !ids.includes(id)));
    const stored = await this.#keep(chat, (documents) => documents.filter(({ id }) => !ids.includes(id)));
    if (stored) for (const id of ids) forgetMode(id);
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

  /** How a document is read: as a whole where it fits, or only the passages that matter. */
  async choose(id: string, mode: Mode): Promise<void> {
    const chat = this.#chatOf(id);
    if (chat === undefined) return;
    keepMode(id, mode);
    this.#change(chat, (all) => all.map((one) => (one.id === id && one.kept ? { ...one, kept: inMode(one.kept, mode) } : one)));
    const stored = await this.#keep(chat, (documents) => documents.map((one) => (one.id === id ? inMode(one, mode) : one)));
    if (stored) forgetMode(id, mode);
  }

  /**
   * What is beside the box of one chat, apart from some, stands beside that of another: of a new
   * one that has begun, or of one that has not.
   */
  move(from: string | null, to: string | null, apart: readonly string[] = []): Promise<void> {
    const [source, target] = [keyOf(from), keyOf(to)];
    const goes = ({ id }: { id: string }) => !apart.includes(id);
    const moving = (this.#all.peek().get(source) ?? []).filter(goes);
    if (source === target || moving.length === 0) return this.#moved;
    const ids = new Set(moving.map(({ id }) => id));
    batch(() => {
      this.#change(source, (all) => all.filter(({ id }) => !ids.has(id)));
      // Not kept there yet: until it is, it is here.
      this.#change(target, (all) => [...all.filter(({ id }) => !ids.has(id)), ...moving.map((one) => (one.stored ? { ...one, stored: false } : one))]);
    });
    // One after the other: what is taken back must not be taken away by what took it along.
    return (this.#moved = this.#moved.then(async () => {
      const there = await this.#moveKept(source, target, ids).catch(() => []);
      for (const id of there) {
        const now = this.#chatOf(id);
        if (now === target) this.#change(now, (all) => all.map((one) => (one.id === id ? { ...one, stored: true } : one)));
      }
    }));
  }

  /**
   * The same for what the browser keeps. Those that were kept. @throws what the database throws;
   * then all is as it was
   */
  async #moveKept(source: string, target: string, ids: ReadonlySet<string>): Promise<string[]> {
    const { drafts } = await this.#db;
    return drafts.db.transaction("rw", drafts, async () => {
      const [from, to] = await drafts.bulkGet([source, target]);
      const moving = from?.documents.filter(({ id }) => ids.has(id)) ?? [];
      if (!from || moving.length === 0) return [];
      const left = from.documents.filter(({ id }) => !ids.has(id));
      await drafts.put({ id: target, documents: [...(to?.documents ?? []), ...moving] });
      if (left.length > 0) await drafts.put({ id: source, documents: left });
      else await drafts.delete(source);
      return moving.map(({ id }) => id);
    });
  }

  /** Tokens that there is room for beside what the conversation has, and an answer. */
  readonly room = computed(() => this.#choosing.roomAfter(this.#talk.branch.value));

  #begin(name: string, read: (library: Library, signal: AbortSignal, onProgress: (progress: { done: number; total: number }) => void) => Promise<DraftDocument["document"]>): () => Promise<void> {
    const id = newId();
    const abort = new AbortController();
    const begun = keyOf(this.#talk.chat.value);
    // It may have been taken along to a chat that has begun meanwhile.
    const chat = () => this.#chatOf(id) ?? begun;
    this.#change(begun, (all) => [...all, { id, name, read: { done: 0, total: 0 }, stop: () => abort.abort() }]);
    return async () => {
      try {
        abort.signal.throwIfAborted();
        const library = await import("../documents/index.js");
        const document = await read(library, abort.signal, ({ done, total }) => this.#update(chat(), id, { read: { done, total } }));
        const tokens = await this.#choosing.count(library.compose(document));
        abort.signal.throwIfAborted();
        const kept = { id, document, tokens };
        const place = chat();
        const stored = await this.#keep(place, (documents) => [...documents, kept]);
        const now = chat();
        if (stored && now !== place && (await this.#keep(now, (documents) => [...documents.filter((one) => one.id !== id), kept]))) {
          await this.#keep(place, (documents) => documents.filter((one) => one.id !== id));
        }
        this.#update(now, id, { kept, stored });
        for (const { code } of document.warnings) tell(t(`document.${code}` as Key, { name }));
      } catch (error) {
        this.#change(chat(), (all) => all.filter((one) => one.id !== id));
        if (abort.signal.aborted) return;
        const { name: kind, code, detail } = error as { name?: string; code?: string; detail?: string };
        tell(kind === "DocumentError" ? t(`document.${code}` as Key, { name, detail: detail ?? "" }) : t("document.damaged", { name }));
      }
    };
  }

  /**
   * What goes along with a question: documents as a whole where they fit the context, else the
   * passages that matter.
   */
  async attachments(question: string): Promise<Attachment[]> {
    const ready = this.pending.value.flatMap(({ kept }) => (kept ? [kept] : []));
    const chosen: Attachment[] = [];
    if (ready.length === 0) return chosen;
    let room = Math.max(0, this.room.value - (await this.#choosing.count(question)));
    for (const [i, kept] of ready.entries()) {
      const attachment = await this.#choosing.attachment(kept, question, Math.floor(room / (ready.length - i)));
      room -= attachment.tokens ?? 0;
      chosen.push(attachment);
    }
    return chosen;
  }

  /** They stood beside the box of one chat, and have been sent in another, or the same. */
  async sent(from: string | null, to: string, attachments: readonly Attachment[]): Promise<void> {
    const ids = attachments.map(({ id }) => id);
    const documents = (this.#all.peek().get(keyOf(from)) ?? []).flatMap(({ kept }) => (kept && ids.includes(kept.id) ? [kept] : []));
    await keepSources(await this.#db, to, documents);
    await this.#end(keyOf(from), ids);
  }

  /** One that was sent before stands beside the box again, for the next question. */
  async addAgain(document: DraftDocument["document"], tokens: number): Promise<void> {
    const [id, chat] = [newId(), keyOf(this.#talk.chat.value)];
    const kept: DraftDocument = { id, document, tokens };
    this.#change(chat, (all) => [...all, { id, name: document.name, stop: () => undefined, kept }]);
    const stored = await this.#keep(chat, (documents) => [...documents, kept]);
    const now = this.#chatOf(id);
    if (stored && now === chat) this.#update(chat, id, { kept, stored });
  }
}

type Library = typeof import("../documents/index.js");
