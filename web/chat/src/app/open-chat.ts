/**
 * The chat that is open: its address, its tree as every tab changes it, and the branch that one
 * reads.
 */

import { batch, computed, signal } from "@preact/signals";
import type { Subscription } from "dexie";
import { t } from "../i18n/index.js";
import type { Locks } from "../store/liveness.js";
import type { Store } from "../store/store.js";
import { Tree } from "../store/tree.js";
import { titleOf, type Chat, type Conversation, type Message } from "../store/types.js";
import { addressOf, chatOfAddress, sharedId, sharedText } from "./address.js";
import type { Fault } from "./faults.js";
import { draftOf, joined, keepDraft, lastChat, rememberChat } from "./local.js";
import { announce, tell } from "./notices.js";
import type { Writing } from "./writer.js";

/** The chat on the page. */
export abstract class OpenChat {
  /** Which chat; null: one that begins with its first message. */
  readonly chat = signal<string | null>(null);
  readonly #conversation = signal<Conversation | undefined>(undefined);
  /** The message that one reads to the end of. */
  protected readonly leaf = signal<string | null>(null);
  /** The answer that this tab writes. */
  readonly writing = signal<Writing | undefined>(undefined);
  /** Answers that could not be kept: they stay on the page. */
  protected readonly unkept = signal<readonly Writing[]>([]);
  /** The question that is answered as soon as there is a model. */
  readonly waiting = signal<string | undefined>(undefined);
  /** Where the reading for a question was stopped, in this visit. */
  readonly stoppedAt = signal<{ question: string; done: number; total: number } | undefined>(undefined);
  /** The question that is being edited. */
  readonly editing = signal<string | undefined>(undefined);
  readonly fault = signal<Fault | undefined>(undefined);
  /** Done when the chat that was chosen last is here. */
  loaded: Promise<void> = Promise.resolve();
  protected readonly store: Promise<Store>;
  protected readonly locks: Locks;
  #subscription: Subscription | undefined;
  /** Ends the wait for a chat that is left before it is here. */
  #arrived: () => void = () => {};
  /** Answers of other tabs whose end is awaited. */
  readonly #watched = new Set<string>();

  constructor(store: Promise<Store>, locks: Locks) {
    this.store = store;
    this.locks = locks;
    addEventListener("popstate", () => this.open(chatOfAddress(location.hash), "none", "told"));
  }

  /** The row of the chat, once it has one. */
  readonly row = computed((): Chat | undefined => this.#conversation.value?.chat);

  /** All versions of everything, the words that have just come included. */
  readonly tree = computed(() => {
    const messages = [...(this.#conversation.value?.messages ?? [])];
    for (const writing of [this.writing.value, ...this.unkept.value]) {
      if (writing?.chat !== this.chat.value || !writing) continue;
      const { value } = writing.row;
      const at = messages.findIndex(({ id }) => id === value.id);
      if (at >= 0) messages[at] = value;
      else messages.push(value);
    }
    return new Tree(messages);
  });

  /** What is read: from the first message to the last of this branch. */
  readonly branch = computed(() => this.tree.value.branch(this.leaf.value, this.row.value?.head ?? null));

  /** The address bar's chat, or the one that was open last. */
  begin(): void {
    const shared = sharedText(location.search);
    if (shared !== "" || sharedId(location.search) !== null) {
      // What another app shares waits in the box of a new chat; the address forgets it.
      if (shared !== "") keepDraft(null, joined(draftOf(null), shared));
      history.replaceState(null, "", `${location.pathname}#/`);
    }
    const asked = chatOfAddress(location.hash);
    this.open(asked ?? (location.hash === "" ? lastChat() : null), asked === null ? "replace" : "none", asked === null ? "silent" : "told");
  }

  /** Another chat, or a new one. `must`: one that is not there any more is not begun anew. */
  open(id: string | null, how: "push" | "replace" | "none" = "push", must?: "told" | "silent"): void {
    if (id === this.chat.value) {
      if (how !== "none" && location.hash !== addressOf(id)) history.replaceState(null, "", addressOf(id));
      return;
    }
    this.leave();
    this.#subscription?.unsubscribe();
    this.#subscription = undefined;
    this.#arrived();
    batch(() => {
      this.chat.value = id;
      this.#conversation.value = undefined;
      this.leaf.value = null;
      this.waiting.value = undefined;
      this.editing.value = undefined;
      this.fault.value = undefined;
    });
    rememberChat(id);
    if (how === "push") history.pushState(null, "", addressOf(id));
    else if (how === "replace") history.replaceState(null, "", id === null ? location.pathname + location.search : addressOf(id));
    this.loaded = id === null ? Promise.resolve() : this.#follow(id, must);
  }

  /** Ends the answer that is being written, with what is there of it. */
  leave(): void {
    this.writing.value?.stop();
  }

  async #follow(id: string, must?: "told" | "silent"): Promise<void> {
    const store = await this.store;
    if (this.chat.value !== id) return;
    await new Promise<void>((resolve) => {
      this.#arrived = resolve;
      let first = true;
      this.#subscription = store
        .live(() => store.conversation(id))
        .subscribe((found) => {
          if (this.chat.value !== id) return resolve();
          void this.#came(id, found, first ? must : undefined);
          if (first && found) announce(t("list.opened", { title: found.chat.title, count: found.messages.length }));
          first = false;
          resolve();
          // What cannot be read cannot be written either: that is told where somebody writes.
        }, resolve);
    });
  }

  /**
   * What the store says about the chat; `must`: it was asked for by its address, or is the one that
   * was open last.
   */
  async #came(id: string, found: Conversation | undefined, must?: "told" | "silent"): Promise<void> {
    const store = await this.store;
    if (this.chat.value !== id) return;
    const known = this.#conversation.value;
    if (!found) {
      // One whose first question is just being kept is about to be there.
      if (must && !this.isBeginning(id)) return this.#missing(must === "told");
      // A chat that is about to begin has no known messages.
      return known && this.#lost(known);
    }
    if (found.chat.deleted !== undefined) {
      // Who has gone on with something else stays there.
      const open = () => this.chat.value === null && this.open(id);
      const back = () => void store.undelete(id).then(open, () => tell(t("app.notKept")));
      return this.#close(t("list.deleted"), { action: { label: t("app.undo"), go: back } });
    }
    batch(() => {
      this.#conversation.value = found;
      // From now on this tab stays where it is, whatever branch another one opens.
      this.leaf.value = this.branch.value.at(-1)?.id ?? null;
    });
    for (const message of found.messages) if (message.ending === "writing" && message.id !== this.writing.value?.id) void this.#watch(message.id);
  }

  /** Whether a question is being kept in a chat. */
  protected abstract isBeginning(chat: string): boolean;

  /** A chat that is not there: what was written for it waits in the box of a new one. */
  #missing(told: boolean): void {
    const id = this.chat.value;
    keepDraft(null, joined(draftOf(null), draftOf(id)));
    keepDraft(id, "");
    this.open(null, "replace");
    if (told) tell(t("app.noChat"));
  }

  #close(text: string, more?: Parameters<typeof tell>[1]): void {
    this.open(null, "replace");
    tell(text, more);
  }

  /**
   * The chat is not in the database any more: deleted for good in another tab, or cleared by the
   * browser.
   */
  async #lost(known: Conversation): Promise<void> {
    const store = await this.store;
    // It may have been left meanwhile.
    const isHere = () => this.chat.value === known.chat.id;
    if (await store.isGone(known.chat.id)) return isHere() ? this.#close(t("list.deleted")) : undefined;
    const { value: tree } = this.tree;
    await store.restore({ chat: known.chat, messages: known.messages.map((message) => tree.get(message.id) ?? message) });
    tell(t("app.cleared"));
  }

  /** Looks whether the database still has what is on the page. */
  async check(): Promise<void> {
    const id = this.chat.value;
    if (id === null || !this.#conversation.value) return;
    const store = await this.store;
    if (!(await store.conversation(id))) await this.#came(id, undefined);
    this.#subscription?.unsubscribe();
    if (this.chat.value === id) await this.#follow(id);
  }

  /**
   * Waits for the end of an answer that another tab writes: if that tab is closed, what is there of
   * it can be gone on with.
   */
  async #watch(id: string): Promise<void> {
    if (this.#watched.has(id)) return;
    this.#watched.add(id);
    await this.locks.whenFree(id);
    this.#watched.delete(id);
    await (await this.store).recover();
  }

  protected readonly known = (chat: string): Conversation | undefined => (this.chat.value === chat ? this.#conversation.value : undefined);

  /** Whether another tab is writing at the end of this branch. */
  readonly elsewhere = computed(() => {
    const last = this.branch.value.at(-1);
    return last?.ending === "writing" && last.id !== this.writing.value?.id;
  });

  /** Shows another version. */
  show(id: string): void {
    const chat = this.chat.value;
    const leaf = this.tree.value.leafBelow(id, this.row.value?.head ?? null);
    this.leaf.value = leaf;
    // Where that is not kept, the next visit opens with the other version.
    if (chat !== null) void this.store.then((store) => store.show(chat, leaf)).catch(() => undefined);
  }

  /** Shows a message before the store tells of it. */
  protected add(message: Message): void {
    const { chat: id, created } = message;
    const known = this.#conversation.value ?? { chat: { id, title: titleOf(message.content), created, updated: created, head: message.id }, messages: [] };
    const there = known.messages.some((one) => one.id === message.id);
    this.#conversation.value = there ? known : { ...known, messages: [...known.messages, message] };
    this.leaf.value = message.id;
  }

  /** Shows an answer as it ended before the store tells of it; one without a word is none. */
  protected replace(row: Message): void {
    const known = this.#conversation.value;
    if (!known) return;
    const others = known.messages.filter(({ id }) => id !== row.id);
    this.#conversation.value = { ...known, messages: row.content.trim() === "" ? others : [...others, row] };
  }
}
