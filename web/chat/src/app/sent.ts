/**
 * Documents of questions that were asked: what of them is read can be chosen anew. That is a
 * version of the question; the one before stays.
 */

import { t } from "../i18n/index.js";
import type { Database } from "../store/database.js";
import { sourceOf } from "../store/sources.js";
import type { Attachment, DraftDocument, Message } from "../store/types.js";
import type { Choosing, Mode } from "./choosing.js";
import type { Documents } from "./documents.js";
import { tell } from "./notices.js";
import type { Talk } from "./talk.js";

/** What was sent, and can be chosen anew. */
export class Sent {
  readonly #db: Promise<Database>;
  readonly #talk: Talk;
  readonly #choosing: Choosing;
  readonly #documents: Documents;
  /** Questions that are just being asked anew. */
  readonly #going = new Set<string>();

  constructor(db: Promise<Database>, talk: Talk, choosing: Choosing, documents: Documents) {
    this.#db = db;
    this.#talk = talk;
    this.#choosing = choosing;
    this.#documents = documents;
  }

  /** Tokens that there is room for in a question beside its words and its other documents. */
  #roomFor({ parent, attachments = [] }: Message, attachment: string, words: number): number {
    const others = attachments.filter(({ id }) => id !== attachment).reduce((sum, { text, tokens }) => sum + (tokens ?? this.#choosing.about(text)), 0);
    return Math.max(0, this.#choosing.roomAfter(this.#talk.tree.value.upTo(parent)) - words - others);
  }

  /** Whether all of a document fits where it was sent. */
  fits(message: Message, { id, whole }: Attachment): boolean {
    return whole !== undefined && whole <= this.#roomFor(message, id, this.#choosing.about(message.content));
  }

  /** The document as it was attached; where it is not kept any more, the person is told. */
  async #document({ id, name, whole }: Attachment, mode?: Mode): Promise<DraftDocument | undefined> {
    const source = await sourceOf(await this.#db, id);
    if (!source) tell(t("document.lost", { name }));
    return source && { id, document: source.document, tokens: whole ?? 0, ...(mode === "passages" && { mode }) };
  }

  /**
   * Asks a question anew with all of a document, or with the passages that matter. @throws what the
   * store throws
   */
  async choose(id: string, attachment: string, mode: Mode): Promise<void> {
    const message = this.#talk.tree.value.get(id);
    const old = message?.attachments?.find((one) => one.id === attachment);
    if (!message || !old || this.#going.has(id)) return;
    await this.#alone(id, async () => {
      const document = await this.#document(old, mode);
      if (!document) return;
      const room = this.#roomFor(message, attachment, await this.#choosing.count(message.content));
      const chosen = await this.#choosing.attachment(document, message.content, room);
      if (mode === "whole" && chosen.part !== undefined) return tell(t("document.tooLong", { name: old.name }));
      const attachments = message.attachments?.map((one) => (one.id === attachment ? chosen : one));
      await this.#talk.edit(id, message.content, attachments);
    });
  }

  /**
   * Asks an edited question; passages are those that matter for what is asked now. @throws what the
   * store throws
   */
  async edit(id: string, content: string): Promise<void> {
    const message = this.#talk.tree.value.get(id);
    if (!message || this.#going.has(id)) return;
    await this.#alone(id, async () => {
      const attachments: Attachment[] = [];
      for (const old of message.attachments ?? []) {
        const again = old.part !== undefined && old.whole !== undefined && content !== message.content;
        attachments.push(again ? await this.#anew(message, old, content) : old);
      }
      await this.#talk.edit(id, content, attachments);
    });
  }

  /** The passages of a document for other words; those of before where it cannot be read. */
  async #anew(message: Message, old: Attachment, content: string): Promise<Attachment> {
    const source = await sourceOf(await this.#db, old.id);
    if (!source) return old;
    const room = this.#roomFor(message, old.id, await this.#choosing.count(content));
    return this.#choosing.attachment({ id: old.id, document: source.document, tokens: old.whole ?? 0, mode: "passages" }, content, room).catch(() => old);
  }

  /** Puts a document beside the box again, for the next question. */
  async again(id: string, attachment: string): Promise<void> {
    const old = this.#talk.tree.value.get(id)?.attachments?.find((one) => one.id === attachment);
    const document = old && (await this.#document(old));
    if (document) await this.#documents.addAgain(document.document, document.tokens);
  }

  async #alone(id: string, act: () => Promise<void>): Promise<void> {
    this.#going.add(id);
    try {
      await act();
    } finally {
      this.#going.delete(id);
    }
  }
}
