/** Sends what was written, with the documents beside it. Until it is kept it is a draft, so nothing that goes wrong loses it. */

import { t } from "../i18n/index.js";
import { newId } from "../store/types.js";
import type { Documents } from "./documents.js";
import { draftOf, joined, keepDraft, putDraft } from "./local.js";
import { tell } from "./notices.js";
import type { Talk } from "./talk.js";

/** Sends questions, one at a time. */
export class Sender {
  readonly #talk: Talk;
  readonly #documents: Documents;
  /** Chats in which a question is on its way. */
  readonly #busy = new Set<string | null>();

  constructor(talk: Talk, documents: Documents) {
    this.#talk = talk;
    this.#documents = documents;
  }

  /** Whether a question is on its way in the chat on the page; the next one waits in the box. */
  get busy(): boolean {
    return this.#busy.has(this.#talk.chat.value);
  }

  /** Sends a text in the chat on the page. The box is empty meanwhile, and what is written there stays. */
  async send(text: string): Promise<void> {
    if (this.busy) return;
    const { chat } = this.#talk;
    const from = chat.value;
    this.#busy.add(from);
    keepDraft(from, text);
    let to = from;
    try {
      const attachments = await this.#documents.attachments(text);
      await this.#talk.loaded;
      // Who opens another chat meanwhile does not ask there; the question waits where it was written.
      if (chat.value !== from) return;
      if (from === null) {
        to = newId();
        this.#busy.add(to);
        this.#begin(to, text);
      }
      if (!(await this.#talk.ask(text, attachments))) return this.#bringBack(from, to, text);
      if (draftOf(from) === text) putDraft(from, "");
      if (attachments.length > 0) await this.#documents.sent(from, attachments);
    } catch {
      this.#bringBack(from, to, text);
      tell(t("composer.notKept"));
    } finally {
      this.#busy.delete(from);
      this.#busy.delete(to);
    }
  }

  /** A new chat gets an id, and an address. What is written after the question goes along. */
  #begin(id: string, text: string): void {
    const next = draftOf(null);
    if (next !== text) keepDraft(id, next);
    keepDraft(null, text);
    this.#talk.open(id, "replace");
  }

  /** The question stands in the box again, before what was written after it. */
  #bringBack(from: string | null, to: string | null, text: string): void {
    const next = draftOf(to);
    if (from === to) return putDraft(from, joined(text, next));
    keepDraft(to, "");
    putDraft(from, joined(text, next));
    if (this.#talk.chat.value === to) this.#talk.open(from, "replace");
  }
}
