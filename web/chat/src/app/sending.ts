/**
 * Sends what was written, with the documents beside it. Until it is kept it is a draft, so nothing
 * that goes wrong loses it.
 */

import { t } from "../i18n/index.js";
import { newId } from "../store/types.js";
import type { Documents } from "./documents.js";
import { draftOf, joined, keepDraft, putDraft } from "./local.js";
import { tell } from "./notices.js";
import type { Talk } from "./talk.js";

/** Sends questions, one at a time in each chat. */
export class Sender {
  readonly #talk: Talk;
  readonly #documents: Documents;
  /** What is on its way, chat by chat. */
  readonly #going = new Map<string | null, string>();

  constructor(talk: Talk, documents: Documents) {
    this.#talk = talk;
    this.#documents = documents;
  }

  /** Whether a question is on its way in the chat on the page; the next one waits in the box. */
  get busy(): boolean {
    return this.#going.has(this.#talk.chat.value);
  }

  /** What stands in the box of a chat: its draft, unless that is on its way. */
  boxOf(chat: string | null): string {
    const draft = draftOf(chat);
    return this.#going.get(chat) === draft ? "" : draft;
  }

  /**
   * Sends a text in the chat on the page. The box is empty meanwhile, and what is written there
   * stays.
   */
  async send(text: string): Promise<void> {
    if (this.busy) return;
    const from = this.#talk.chat.value;
    const to = from ?? newId();
    let at = from;
    this.#going.set(from, text);
    keepDraft(from, text);
    try {
      const attachments = await this.#documents.attachments(text);
      // Who opens another chat meanwhile has sent it all the same: here.
      if (from === null) {
        this.#begin(to, text);
        // What has been attached meanwhile is that chat's too; what goes along with the question is
        // not there any more once it is kept.
        void this.#documents.move(from, to, attachments.map(({ id }) => id));
      }
      at = to;
      const asked = await this.#talk.ask(to, text, attachments);
      this.#going.delete(at);
      if (!asked) return this.#bringBack(from, at, text);
      if (draftOf(to) === text) putDraft(to, "");
      if (attachments.length > 0) await this.#documents.sent(from, to, attachments);
    } catch {
      this.#going.delete(at);
      this.#bringBack(from, at, text);
      tell(t("composer.notKept"));
    }
  }

  /**
   * Sends a text that the person has not written, in a chat of its own: what stands in the box
   * stays, and so do the documents beside it.
   */
  async suggest(text: string): Promise<void> {
    if (this.busy) return;
    const to = newId();
    for (const chat of [null, to]) this.#going.set(chat, text);
    let asked = false;
    try {
      if (this.#talk.chat.value === null) this.#talk.open(to, "replace");
      asked = Boolean(await this.#talk.ask(to, text, []));
    } catch {
      tell(t("composer.notKept"));
    } finally {
      for (const chat of [null, to]) this.#going.delete(chat);
    }
    if (!asked && this.#talk.chat.value === to) this.#talk.open(null, "replace");
  }

  /** A new chat gets an id, and an address. What is written after the question goes along. */
  #begin(id: string, text: string): void {
    this.#going.delete(null);
    this.#going.set(id, text);
    keepDraft(id, draftOf(null));
    keepDraft(null, "");
    if (this.#talk.chat.value === null) this.#talk.open(id, "replace");
  }

  /**
   * The question stands in the box again, before what was written after it; that of a chat that has
   * not begun in the box of a new one.
   */
  #bringBack(from: string | null, at: string | null, text: string): void {
    if (from === at) return putDraft(from, joined(text, draftOf(from)));
    const next = draftOf(at);
    void this.#documents.move(at, from);
    keepDraft(at, "");
    putDraft(from, joined(text, next, draftOf(from)));
    if (this.#talk.chat.value === at) this.#talk.open(from, "replace");
  }
}
