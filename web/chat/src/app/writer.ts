/** The answer that this tab writes: from the engine to the page, and to the store while it comes. */

import { signal, type Signal } from "@preact/signals";
import type { Engine } from "peregrine";
import type { Locks } from "../store/liveness.js";
import type { Store } from "../store/store.js";
import { newId, type Conversation, type Ending, type Message } from "../store/types.js";
import { asOurs } from "./faults.js";
import { continueAnswer, messagesOf, startAnswer } from "./request.js";
import type { Settings } from "./settings.js";
import type { States } from "./states.js";

/** Milliseconds between writes of an answer that is coming. */
const EVERY = 250;

/** What is to be answered. */
export interface Task {
  chat: string;
  /** From the beginning to the message that is answered. */
  branch: readonly Message[];
  /** The answer that was read before; it is shown again where not a word comes. */
  before: string | null;
  /** An answer that is gone on with, in place of a new version. */
  continued?: Message;
  /** What the page knows of the instructions, for the case that the store cannot be asked. */
  instructions: string;
  /** Leave out the oldest messages where the context is too short. */
  drop: boolean;
}

/** An answer that is being written, or was and could not be kept. */
export class Writing {
  readonly id: string;
  readonly chat: string;
  /** The answer so far. */
  readonly row: Signal<Message>;
  readonly tokens = signal(0);
  /** Tokens a second so far. */
  readonly speed = signal(0);
  readonly #abort = new AbortController();
  readonly #task: Task;

  constructor(task: Task, model: string) {
    const { chat, branch, continued } = task;
    this.#task = task;
    this.chat = chat;
    this.id = continued?.id ?? newId();
    const parent = (branch.at(-1) as Message).id;
    this.row = signal(continued ? { ...continued, ending: "writing" } : { id: this.id, chat, parent, role: "assistant", content: "", created: Date.now(), ending: "writing", model });
  }

  get task(): Task {
    return this.#task;
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Ends it where it is. */
  stop(): void {
    this.#abort.abort();
  }
}

/** What the writer works with. */
export interface Means {
  store: Store;
  locks: Locks;
  states: States;
  settings: Signal<Settings>;
  /** The conversation as the page knows it, for the case that the browser loses it. */
  known: (chat: string) => Conversation | undefined;
}

/** How an answer ended. */
export interface Outcome {
  ending: Ending | undefined;
  /** Nothing was done: another tab has gone on with the answer. */
  refused?: true;
  /** What went wrong with the engine. */
  error?: unknown;
  /** What went wrong with the store: then the answer is only on the page. */
  unkept?: unknown;
}

/** Writes an answer. Never throws. */
export async function write(means: Means, engine: Engine, writing: Writing): Promise<Outcome> {
  const { store, locks } = means;
  const { row, task } = writing;
  await locks.hold(writing.id);
  // What the store does not take now it may take at the end; if not, it is told then, and the answer is there.
  const began = await begin(means, writing).catch(() => true);
  const keep = new Keeper(means, writing);
  let outcome: Outcome;
  try {
    outcome = began ? { ending: await stream(means, engine, writing) } : { ending: task.continued?.ending, refused: true };
  } catch (error) {
    outcome = writing.signal.aborted || asOurs(error).code === "cancelled" ? { ending: "stopped" } : { ending: "failed", error };
  }
  await keep.end();
  if (outcome.refused) {
    locks.release(writing.id);
    return outcome;
  }
  const { continued } = task;
  // Not a word more came: it stands as it stood.
  if (continued && row.value.content === continued.content) outcome.ending = continued.ending;
  try {
    await store.endAnswer(row.value, outcome.ending, task.before, means.known(task.chat));
  } catch (unkept) {
    // Of an answer without a word nothing is lost.
    if (row.value.content.trim() !== "") outcome.unkept = unkept;
  }
  locks.release(writing.id);
  return outcome;
}

async function begin({ store, known }: Means, { row, task, id }: Writing): Promise<boolean> {
  const { chat, parent, model } = row.value;
  if (task.continued) return store.resume(row.value, task.continued.content, known(task.chat));
  row.value = await store.beginAnswer(chat, parent as string, model ?? "", known(task.chat), id);
  return true;
}

async function stream(means: Means, engine: Engine, writing: Writing): Promise<Ending | undefined> {
  const { row, task, signal: stopped } = writing;
  const settings = means.settings.value;
  stopped.throwIfAborted();
  await means.states.bring(engine, task.chat);
  stopped.throwIfAborted();
  const messages = messagesOf(task.branch, await means.store.instructions(task.chat, settings.instructions).catch(() => task.instructions));
  stopped.throwIfAborted();
  const { continued } = task;
  const answer = continued
    ? await continueAnswer(engine, messages, continued.content, settings, stopped)
    : await startAnswer(engine, messages, settings, task.drop, stopped);
  let began = 0;
  const before = continued?.tokens ?? 0;
  try {
    for await (const { text, token } of answer) {
      began ||= performance.now();
      if (token) writing.tokens.value += 1;
      const spent = performance.now() - began;
      if (spent > 1000) writing.speed.value = (1000 * (writing.tokens.value - 1)) / spent;
      if (text !== "") row.value = { ...row.value, content: row.value.content + text };
    }
  } finally {
    // Counted here too, for answers that are stopped before the engine tells.
    const { usage } = answer;
    const facts: Partial<Message> = { tokens: before + (usage?.completion_tokens ?? writing.tokens.value) };
    const speed = usage?.timings.tokens_per_second ?? writing.speed.value;
    if (speed > 0) facts.speed = speed;
    if (usage) {
      facts.prompt = usage.prompt_tokens - (continued ? before : 0);
      facts.cached = Math.min(usage.prompt_tokens_details.cached_tokens, facts.prompt);
      if (usage.prompt_tokens_details.dropped_messages > 0) facts.dropped = usage.prompt_tokens_details.dropped_messages;
    }
    row.value = { ...row.value, ...facts };
  }
  void means.states.take(engine, task.chat);
  const { usage } = answer;
  const full = usage && usage.prompt_tokens + usage.completion_tokens >= engine.info.model.contextLength;
  if (full) return "context";
  return usage && usage.completion_tokens >= settings.maxTokens ? "length" : undefined;
}

/** Writes an answer to the store every now and then, and when the page goes. */
class Keeper {
  readonly #means: Means;
  readonly #writing: Writing;
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #onHide = () => void this.#keep();
  #kept = "";
  #open: Promise<unknown> | undefined;

  constructor(means: Means, writing: Writing) {
    this.#means = means;
    this.#writing = writing;
    this.#kept = writing.row.value.content;
    this.#timer = setInterval(() => void this.#keep(), EVERY);
    addEventListener("pagehide", this.#onHide);
    document.addEventListener("visibilitychange", this.#onHide);
  }

  async #keep(): Promise<void> {
    const { row, chat } = this.#writing;
    const { value } = row;
    if (this.#open || value.content === this.#kept) return;
    const { store, known } = this.#means;
    // What cannot be written now is written at the end, and told then.
    this.#open = store.writeAnswer(value, known(chat)).then(
      (there) => {
        this.#kept = value.content;
        if (!there) this.#writing.stop();
      },
      () => undefined,
    );
    await this.#open;
    this.#open = undefined;
  }

  async end(): Promise<void> {
    clearInterval(this.#timer);
    removeEventListener("pagehide", this.#onHide);
    document.removeEventListener("visibilitychange", this.#onHide);
    await this.#open;
  }
}
