/** The chat on the page: what is read of its tree, what is asked, and the answer that is being written. */

import { batch, computed, effect, signal, untracked, type Signal } from "@preact/signals";
import type { Subscription } from "dexie";
import { t } from "../i18n/index.js";
import type { Locks } from "../store/liveness.js";
import type { Store } from "../store/store.js";
import { Tree } from "../store/tree.js";
import { newId, titleOf, type Attachment, type Chat, type Conversation, type Message } from "../store/types.js";
import { addressOf, chatOfAddress } from "./address.js";
import { asOurs, faultOf, type Fault } from "./faults.js";
import { keepDraft, lastChat, rememberChat } from "./local.js";
import type { Models } from "./models.js";
import { announce, tell } from "./notices.js";
import type { Settings } from "./settings.js";
import { States } from "./states.js";
import { write, Writing, type Means, type Task } from "./writer.js";

/** What a talk needs of the page. */
export interface Needs {
  store: Promise<Store>;
  locks: Locks;
  models: Models;
  settings: Signal<Settings>;
}

/** The chat on the page. */
export class Talk {
  /** Which chat; null: one that begins with its first message. */
  readonly chat = signal<string | null>(null);
  readonly #conversation = signal<Conversation | undefined>(undefined);
  /** The message that one reads to the end of. */
  readonly #leaf = signal<string | null>(null);
  /** The answer that this tab writes. */
  readonly writing = signal<Writing | undefined>(undefined);
  /** An answer that could not be kept: it stays on the page. */
  readonly #unkept = signal<Writing | undefined>(undefined);
  /** The question that is answered as soon as there is a model. */
  readonly waiting = signal<string | undefined>(undefined);
  /** The question that is being edited. */
  readonly editing = signal<string | undefined>(undefined);
  readonly fault = signal<Fault | undefined>(undefined);
  /** Done when the chat that was chosen last is here. */
  loaded: Promise<void> = Promise.resolve();
  readonly #needs: Needs;
  readonly #states: States;
  #subscription: Subscription | undefined;
  #idle: Promise<void> = Promise.resolve();
  /** Answers of other tabs whose end is awaited. */
  readonly #watched = new Set<string>();

  constructor(needs: Needs) {
    this.#needs = needs;
    this.#states = new States(needs.store.then(({ db }) => db));
    addEventListener("popstate", () => this.open(chatOfAddress(location.hash), "none", true));
    effect(() => {
      const id = this.waiting.value;
      if (!needs.models.engine.value || id === undefined) return;
      untracked(() => {
        this.waiting.value = undefined;
        if (this.branch.value.at(-1)?.id === id) void this.answer(id);
      });
    });
  }

  /** The row of the chat, once it has one. */
  readonly row = computed((): Chat | undefined => this.#conversation.value?.chat);

  /** All versions of everything, the words that have just come included. */
  readonly tree = computed(() => {
    const messages = [...(this.#conversation.value?.messages ?? [])];
    for (const writing of [this.writing.value, this.#unkept.value]) {
      if (writing?.chat !== this.chat.value || !writing) continue;
      const { value } = writing.row;
      const at = messages.findIndex(({ id }) => id === value.id);
      if (at >= 0) messages[at] = value;
      else messages.push(value);
    }
    return new Tree(messages);
  });

  /** What is read: from the first message to the last of this branch. */
  readonly branch = computed(() => this.tree.value.branch(this.#leaf.value, this.row.value?.head ?? null));

  /** Resolves when no answer is being written. */
  idle(): Promise<void> {
    return this.#idle;
  }

  /** The address bar's chat, or the one that was open last. */
  begin(): void {
    const asked = chatOfAddress(location.hash);
    this.open(asked ?? (location.hash === "" ? lastChat() : null), asked === null ? "replace" : "none", asked !== null);
  }

  /** Another chat, or a new one. */
  open(id: string | null, how: "push" | "replace" | "none" = "push", must = false): void {
    if (id === this.chat.value) {
      if (how !== "none" && location.hash !== addressOf(id)) history.replaceState(null, "", addressOf(id));
      return;
    }
    this.leave();
    this.#subscription?.unsubscribe();
    this.#subscription = undefined;
    batch(() => {
      this.chat.value = id;
      this.#conversation.value = undefined;
      this.#leaf.value = null;
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

  async #follow(id: string, must: boolean): Promise<void> {
    const store = await this.#needs.store;
    if (this.chat.value !== id) return;
    await new Promise<void>((resolve) => {
      let first = true;
      this.#subscription = store
        .live(() => store.conversation(id))
        .subscribe((found) => {
          if (this.chat.value !== id) return resolve();
          void this.#came(found, first ? must : undefined);
          if (first && found) announce(t("list.opened", { title: found.chat.title, count: found.messages.length }));
          first = false;
          resolve();
        });
    });
  }

  /** What the store says about the chat; `must`: it was asked for by its address, just now. */
  async #came(found: Conversation | undefined, must?: boolean): Promise<void> {
    const store = await this.#needs.store;
    const known = this.#conversation.value;
    if (!found) {
      if (must === true) return this.#close(t("app.noChat"));
      // A chat that is about to begin has no known messages.
      return known && this.#lost(known);
    }
    if (found.chat.deleted !== undefined) {
      const { id } = found.chat;
      const back = () => void store.undelete(id).then(() => this.open(id));
      return this.#close(t("list.deleted"), { action: { label: t("app.undo"), go: back } });
    }
    batch(() => {
      this.#conversation.value = found;
      // From now on this tab stays where it is, whatever branch another one opens.
      this.#leaf.value = this.branch.value.at(-1)?.id ?? null;
    });
    for (const message of found.messages) if (message.ending === "writing" && message.id !== this.writing.value?.id) void this.#watch(message.id);
  }

  #close(text: string, more?: Parameters<typeof tell>[1]): void {
    this.open(null, "replace");
    tell(text, more);
  }

  /** The chat is not in the database any more: deleted for good in another tab, or cleared by the browser. */
  async #lost(known: Conversation): Promise<void> {
    const store = await this.#needs.store;
    if (await store.isGone(known.chat.id)) return this.#close(t("list.deleted"));
    const { value: tree } = this.tree;
    await store.restore({ chat: known.chat, messages: known.messages.map((message) => tree.get(message.id) ?? message) });
    tell(t("app.cleared"));
  }

  /** Looks whether the database still has what is on the page. */
  async check(): Promise<void> {
    const id = this.chat.value;
    if (id === null || !this.#conversation.value) return;
    const store = await this.#needs.store;
    if (!(await store.conversation(id))) await this.#came(undefined);
    this.#subscription?.unsubscribe();
    if (this.chat.value === id) await this.#follow(id, false);
  }

  /** Waits for the end of an answer that another tab writes: if that tab is closed, what is there of it can be gone on with. */
  async #watch(id: string): Promise<void> {
    if (this.#watched.has(id)) return;
    this.#watched.add(id);
    await this.#needs.locks.whenFree(id);
    this.#watched.delete(id);
    await (await this.#needs.store).recover();
  }

  #known = (chat: string): Conversation | undefined => (this.chat.value === chat ? this.#conversation.value : undefined);

  /** Whether another tab is writing at the end of this branch. */
  readonly elsewhere = computed(() => {
    const last = this.branch.value.at(-1);
    return last?.ending === "writing" && last.id !== this.writing.value?.id;
  });

  /** Asks a question at the end of the branch; done when it is kept. @throws what the store throws; then nothing was asked */
  async ask(content: string, attachments: Attachment[] = []): Promise<void> {
    await this.loaded;
    // The new chat gets an id, and an address.
    if (this.chat.value === null) this.open(newId(), "replace");
    await this.#say(this.branch.value, content, attachments);
  }

  async #say(branch: readonly Message[], content: string, attachments: Attachment[]): Promise<void> {
    const chat = this.chat.value as string;
    const store = await this.#needs.store;
    await this.#settled();
    const message = await store.ask({ chat, parent: branch.at(-1)?.id ?? null, content, attachments }, this.#known(chat));
    if (this.chat.value !== chat) return;
    batch(() => {
      this.fault.value = undefined;
      this.editing.value = undefined;
      this.#add(message);
    });
    void this.#write({ chat, branch: [...branch, message], before: null });
  }

  /** Shows a message before the store tells of it. */
  #add(message: Message): void {
    const { chat: id, created } = message;
    const known = this.#conversation.value ?? { chat: { id, title: titleOf(message.content), created, updated: created, head: message.id }, messages: [] };
    const there = known.messages.some((one) => one.id === message.id);
    this.#conversation.value = there ? known : { ...known, messages: [...known.messages, message] };
    this.#leaf.value = message.id;
  }

  /** An edited question: a version beside the old one. */
  async edit(id: string, content: string): Promise<void> {
    const old = this.tree.value.get(id);
    if (!old) return;
    await this.#say(this.tree.value.upTo(old.parent), content, old.attachments ?? []);
    keepDraft(`edit ${id}`, "");
  }

  /** Another version of an answer. */
  async again(id: string, drop = false): Promise<void> {
    const old = this.tree.value.get(id);
    if (old) await this.#write({ chat: old.chat, branch: this.tree.value.upTo(old.parent), before: id, drop });
  }

  /** An answer to a question that has none. */
  async answer(id: string, drop = false): Promise<void> {
    const { value: tree } = this.tree;
    const question = tree.get(id);
    if (question) await this.#write({ chat: question.chat, branch: tree.upTo(id), before: null, drop });
  }

  /** Goes on with an answer that was cut. */
  async continue(id: string): Promise<void> {
    const cut = this.tree.value.get(id);
    if (cut) await this.#write({ chat: cut.chat, branch: this.tree.value.upTo(cut.parent), before: null, continued: cut });
  }

  /** Shows another version. */
  show(id: string): void {
    const chat = this.chat.value;
    const leaf = this.tree.value.leafBelow(id, this.row.value?.head ?? null);
    this.#leaf.value = leaf;
    if (chat !== null) void this.#needs.store.then((store) => store.show(chat, leaf));
  }

  /** An answer that was stopped ends before the next begins. */
  async #settled(): Promise<void> {
    if (this.writing.value?.signal.aborted) await this.#idle;
  }

  async #write(what: Omit<Task, "instructions" | "drop"> & { drop?: boolean }): Promise<void> {
    await this.#settled();
    const { models, settings, locks } = this.#needs;
    const engine = models.engine.value;
    const last = what.branch.at(-1) as Message;
    if (this.writing.value || this.chat.value !== what.chat) return;
    if (!engine) {
      this.waiting.value = last.id;
      return;
    }
    const instructions = this.row.value?.instructions ?? settings.value.instructions;
    const task: Task = { ...what, instructions, drop: what.drop || settings.value.whenFull === "drop" };
    const writing = new Writing(task, engine.info.model.name);
    batch(() => {
      this.fault.value = undefined;
      this.writing.value = writing;
      this.#leaf.value = writing.id;
    });
    announce(t("talk.answering"));
    const store = await this.#needs.store;
    const means: Means = { store, locks, states: this.#states, settings, known: this.#known };
    const end = write(means, engine, writing).then(({ ending, error, unkept, refused }) => {
      batch(() => {
        const row = { ...writing.row.value };
        delete row.ending;
        if (ending) row.ending = ending;
        writing.row.value = row;
        this.writing.value = undefined;
        if (unkept !== undefined) this.#keepLater(writing, unkept);
        const empty = row.content.trim() === "";
        const here = this.chat.value === what.chat;
        if (empty && here && this.#leaf.value === writing.id) this.#leaf.value = what.before ?? last.id;
        else if (here && unkept === undefined && !refused) this.#replace(row);
        if (here && error !== undefined && models.engine.value === engine) this.#failed(error, last.id, row.content.trim() === "");
        if (here) announce(`${ending ? `${t(`talk.ended.${ending}`)} ` : ""}${plain(row.content)}`);
      });
    });
    this.#idle = end;
    await end;
  }

  /** Shows an answer as it ended before the store tells of it. */
  #replace(row: Message): void {
    const known = this.#conversation.value;
    if (known) this.#conversation.value = { ...known, messages: [...known.messages.filter(({ id }) => id !== row.id), row] };
  }

  #failed(error: unknown, question: string, empty: boolean): void {
    const ours = asOurs(error);
    const close = { label: t("way.close"), go: () => (this.fault.value = undefined) };
    const anew = { label: t("way.newChat"), go: () => this.open(null) };
    const drop = { label: t("way.drop"), go: () => void this.answer(question, true) };
    const canDrop = ours.code === "context-full" && empty && this.branch.value.length > 2;
    this.fault.value = faultOf(ours, "answer", canDrop ? [drop, anew, close] : [close, anew]);
  }

  /** The store would not take an answer: it stays on the page, and the person may try again. */
  #keepLater(writing: Writing, error: unknown): void {
    this.#unkept.value = writing;
    const { ending } = writing.row.value;
    const again = async () => {
      const store = await this.#needs.store;
      try {
        await store.endAnswer(writing.row.value, ending, writing.task.before, this.#known(writing.chat));
        batch(() => {
          this.#unkept.value = undefined;
          this.fault.value = undefined;
        });
      } catch (error) {
        this.#keepLater(writing, error);
      }
    };
    const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    this.fault.value = { title: t("error.notKept"), advice: t("advice.notKept"), detail: message, ways: [{ label: t("way.keepAgain"), go: () => void again() }] };
  }
}

/** Text without the signs of Markdown, as one hears it. */
function plain(markdown: string): string {
  return markdown.replace(/^#{1,6} |\*\*|`+/gm, "").trim();
}
