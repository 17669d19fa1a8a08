/** What is asked in the chat on the page, and the answers that come. */

import { batch, effect, signal, untracked, type Signal } from "@preact/signals";
import { OutOfMemoryError, type PeregrineError } from "peregrine";
import { number, t } from "../i18n/index.js";
import type { Locks } from "../store/liveness.js";
import type { Store } from "../store/store.js";
import { Tree } from "../store/tree.js";
import type { Attachment, Message } from "../store/types.js";
import { asOurs, faultOf, fullOf, titleOf, type Way } from "./faults.js";
import { hostOf, type Answerer } from "./engine.js";
import { keepDraft } from "./local.js";
import type { Models } from "./models.js";
import { announce, tell } from "./notices.js";
import { OpenChat } from "./open-chat.js";
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

/** The chat on the page, and what is asked in it. */
export class Talk extends OpenChat {
  readonly #needs: Needs;
  readonly #states: States;
  #idle: Promise<void> = Promise.resolve();
  /** What the store said last when it would not take an answer. */
  #why = "";
  /** Chats in which a question is being kept: two at once would stand beside each other. */
  readonly #asking = new Set<string>();
  /** What is written once there is a model. */
  #later: Wanted | undefined;
  /** The answer at which a longer context was asked for last, and what can still be asked for. */
  readonly #asked = signal<{ answer: string; tokens: number | undefined } | undefined>(undefined);

  constructor(needs: Needs) {
    super(needs.store, needs.locks);
    this.#needs = needs;
    this.#states = new States(needs.store.then(({ db }) => db));
    effect(() => {
      const id = this.waiting.value;
      if (!needs.models.engine.value || id === undefined) return;
      untracked(() => {
        const what = this.#later as Wanted;
        this.waiting.value = undefined;
        // One that is gone on with, or answered again, stands there still.
        if (this.branch.value.at(-1)?.id === (what.continued?.id ?? what.before ?? id)) void this.#write(what);
      });
    });
    // Where one comes back to an answer that is not kept, it is told again.
    effect(() => {
      const chat = this.chat.value;
      if (chat !== null) untracked(() => this.#tellUnkept());
    });
    addEventListener("beforeunload", (event) => this.unkept.value.length > 0 && event.preventDefault());
  }

  protected override isBeginning(chat: string): boolean {
    return this.#asking.has(chat);
  }

  /** Resolves when no answer is being written. */
  idle(): Promise<void> {
    return this.#idle;
  }

  /**
   * Asks a question at the end of a chat's branch; done when it is kept. It is answered where the
   * chat is still open then. False: another one is on its way there, and nothing was asked. @throws
   * what the store throws; then nothing was asked either
   */
  ask(chat: string, content: string, attachments: Attachment[] = []): Promise<boolean> {
    return this.#say(chat, (_, branch) => branch, content, attachments);
  }

  async #say(chat: string, place: (tree: Tree, branch: readonly Message[]) => readonly Message[], content: string, attachments: Attachment[]): Promise<boolean> {
    if (this.#asking.has(chat)) return false;
    this.#asking.add(chat);
    try {
      if (this.chat.value === chat) await this.loaded;
      const store = await this.store;
      await this.#settled();
      await this.#keepNow(store, chat);
      // Only now: an answer that was stopped before its first word is no part of it any more.
      const branch = await this.#placeIn(store, chat, place);
      const message = await store.ask({ chat, parent: branch.at(-1)?.id ?? null, content, attachments }, this.known(chat));
      if (this.chat.value !== chat) return true;
      batch(() => {
        this.fault.value = undefined;
        this.editing.value = undefined;
        this.add(message);
      });
      void this.#write({ chat, branch: [...branch, message], before: null });
      return true;
    } finally {
      this.#asking.delete(chat);
    }
  }

  /** Where a question belongs: by what is on the page, or by the store where the chat was left. */
  async #placeIn(store: Store, chat: string, place: (tree: Tree, branch: readonly Message[]) => readonly Message[]): Promise<readonly Message[]> {
    if (this.chat.value === chat) return place(this.tree.value, this.branch.value);
    const found = await store.conversation(chat);
    const tree = new Tree(found?.messages ?? []);
    return place(tree, tree.branch(null, found?.chat.head ?? null));
  }

  /**
   * An edited question: a version beside the old one. False where it was not asked. @throws what
   * the store throws
   */
  async edit(id: string, content: string, attachments = this.tree.value.get(id)?.attachments ?? []): Promise<boolean> {
    const old = this.tree.value.get(id);
    if (!old || !(await this.#say(old.chat, (tree) => tree.upTo(old.parent), content, attachments))) return false;
    keepDraft(`edit ${id}`, "");
    return true;
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

  /** An answer that was stopped ends before the next begins. */
  async #settled(): Promise<void> {
    if (this.writing.value?.signal.aborted) await this.#idle;
  }

  async #write(what: Wanted): Promise<void> {
    await this.#settled();
    if (this.unkept.value.some(({ chat }) => chat === what.chat)) {
      // What comes now must find in the store what it follows.
      const kept = await this.#keepNow(await this.store, what.chat).then(() => true, () => false);
      if (!kept) return this.#tellUnkept();
    }
    const { models, settings, locks } = this.#needs;
    const engine = models.engine.value;
    const last = what.branch.at(-1) as Message;
    if (this.writing.value || this.chat.value !== what.chat) return;
    if (!engine) {
      this.#later = what;
      this.waiting.value = last.id;
      return;
    }
    const instructions = this.row.value?.instructions ?? settings.value.instructions;
    const task: Task = { ...what, instructions, drop: what.drop || settings.value.whenFull === "drop" };
    const writing = new Writing(task, engine.info.model.name, hostOf(engine.info));
    batch(() => {
      this.fault.value = undefined;
      this.writing.value = writing;
      this.leaf.value = writing.id;
    });
    announce(t("talk.answering"));
    const written = this.store.then((store) => {
      const means: Means = { store, locks, states: this.#states, settings, known: this.known };
      return write(means, engine, writing);
    });
    const end = written.then(({ ending, error, unkept, refused }) => {
      batch(() => {
        const { value: reading } = writing.reading;
        this.stoppedAt.value = reading && { question: last.id, done: reading.done, total: reading.total };
        const row = { ...writing.row.value };
        delete row.ending;
        if (ending) row.ending = ending;
        writing.row.value = row;
        this.writing.value = undefined;
        if (unkept !== undefined) this.#keepLater(writing, unkept);
        const empty = row.content.trim() === "";
        const here = this.chat.value === what.chat;
        if (here && unkept === undefined && !refused) this.replace(row);
        if (empty && here && this.leaf.value === writing.id) this.leaf.value = what.before ?? last.id;
        if (here && error !== undefined && models.engine.value === engine) this.#failed(error, what, row.content.trim() === "");
        if (here) announce(`${ending ? `${t(`talk.ended.${ending}`)} ` : ""}${plain(row.content)}`);
      });
    });
    this.#idle = end;
    await end;
  }

  #failed(error: unknown, what: Wanted, empty: boolean): void {
    const ours = asOurs(error);
    if (ours.code === "context-full") return this.#tellFull(ours, this.#needs.models.longerContext(), what, empty);
    this.fault.value = faultOf(ours, "answer", [this.#close, this.#anew]);
  }

  get #close(): Way {
    return { label: t("way.close"), go: () => (this.fault.value = undefined) };
  }

  get #anew(): Way {
    return { label: t("way.newChat"), go: () => this.open(null) };
  }

  /** A context that is full: it may grow to so many tokens, or the oldest messages are left out. */
  #tellFull(error: PeregrineError, tokens: number | undefined, what: Wanted, empty: boolean): void {
    const drop = { label: t("way.drop"), go: () => void this.answer((what.branch.at(-1) as Message).id, true) };
    const others = empty && this.branch.value.length > 2 ? [drop, this.#anew, this.#close] : [this.#close, this.#anew];
    const longer = tokens === undefined ? undefined : { label: t("way.context", { tokens: number(tokens) }), go: () => void this.#grow(tokens, what, empty) };
    this.fault.value = fullOf(error, longer, others);
  }

  /** Lets the model remember more, and asks again. */
  async #grow(tokens: number, what: Wanted, empty: boolean): Promise<void> {
    const { models } = this.#needs;
    const { value: engine } = models.engine;
    const { value: fault } = this.fault;
    const last = this.branch.value.at(-1)?.id;
    // Whoever asks something else meanwhile, or looks at another version, has gone on from it.
    const isThere = () => this.chat.value === what.chat && this.branch.value.at(-1)?.id === last;
    try {
      await models.growContext(tokens);
    } catch (error) {
      if (models.engine.value !== engine || !isThere()) return;
      const ours = asOurs(error);
      // It is as full as before, and nobody may know beforehand what the memory has room for.
      return this.#tellFull(ours, largerOf(ours, engine), what, empty);
    }
    if (isThere()) return this.#write(what);
    if (this.fault.value === fault) this.fault.value = undefined;
  }

  /** Tokens that the context may grow to at an answer for which messages were left out. */
  longerAt(answer: string): number | undefined {
    const { value: asked } = this.#asked;
    return asked?.answer === answer ? asked.tokens : this.#needs.models.longerContext();
  }

  /**
   * Lets the model remember more from now on. The answer stays: who wants another one asks for it.
   */
  async growAt(answer: string, tokens: number): Promise<void> {
    const { models } = this.#needs;
    const { value: engine } = models.engine;
    this.#asked.value = { answer, tokens: undefined };
    try {
      await models.growContext(tokens);
    } catch (error) {
      if (models.engine.value !== engine) return;
      const ours = asOurs(error);
      this.#asked.value = { answer, tokens: largerOf(ours, engine) };
      return tell(titleOf(ours, "answer"));
    }
    tell(t("talk.grown", { tokens: number(tokens) }));
  }

  /** The store would not take an answer: it stays on the page, and the person may try again. */
  #keepLater(writing: Writing, error: unknown): void {
    this.#why = reason(error);
    this.unkept.value = [...this.unkept.value.filter((one) => one !== writing), writing];
    if (this.chat.value === writing.chat) this.#tellUnkept();
  }

  #tellUnkept(): void {
    if (!this.unkept.value.some(({ chat }) => chat === this.chat.value)) return;
    const again = async () => {
      const chat = this.chat.value;
      const fault = this.fault.value;
      await this.#keepNow(await this.store, chat).catch((error: unknown) => (this.#why = reason(error)));
      if (this.chat.value !== chat || this.fault.value !== fault) return;
      if (this.unkept.value.some((one) => one.chat === chat)) this.#tellUnkept();
      else this.fault.value = undefined;
    };
    this.fault.value = { title: t("error.notKept"), advice: t("advice.notKept"), detail: this.#why, ways: [{ label: t("way.keepAgain"), go: () => void again() }] };
  }

  /** Keeps what could not be kept before. @throws what the store throws */
  async #keepNow(store: Store, chat: string | null): Promise<void> {
    for (const writing of this.unkept.value.filter((one) => one.chat === chat)) {
      const { value: row } = writing.row;
      await store.endAnswer(row, row.ending, writing.task.before, this.known(writing.chat));
      batch(() => {
        if (this.chat.value === writing.chat) this.replace(row);
        this.unkept.value = this.unkept.value.filter((one) => one !== writing);
      });
    }
  }
}

/** An answer that is asked for. */
type Wanted = Omit<Task, "instructions" | "drop"> & { drop?: boolean };

/** Tokens of the context that has room, by an error that says so, where they are more than now. */
function largerOf(error: PeregrineError, engine: Answerer | undefined): number | undefined {
  const tokens = error instanceof OutOfMemoryError ? error.fit?.largestContext : undefined;
  const info = engine?.info;
  return tokens !== undefined && info && info.where !== "server" && tokens > info.model.contextLength ? tokens : undefined;
}

const reason = (error: unknown): string => (error instanceof Error ? `${error.name}: ${error.message}` : String(error));

/** Text without the signs of Markdown, as one hears it. */
function plain(markdown: string): string {
  return markdown.replace(/^#{1,6} |\*\*|`+/gm, "").trim();
}
