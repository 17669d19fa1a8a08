/**
 * The answer that this tab writes: from the engine to the page, and to the store while it comes.
 */

import { signal, type Signal } from "@preact/signals";
import type { ChatMessage, Engine } from "peregrine";
import { hostOf, isDevice, type Answerer } from "./engine.js";
import type { Locks } from "../store/liveness.js";
import type { Store } from "../store/store.js";
import { newId, type Conversation, type Ending, type Message } from "../store/types.js";
import { asOurs } from "./faults.js";
import { Reader, type OnTheWay, type Reading } from "./reading.js";
import { beginningsOf, continueAnswer, messagesOf, startAnswer } from "./request.js";
import type { Settings } from "./settings.js";
import type { Brought, States } from "./states.js";

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
  /** How far a long conversation is read, while it is. */
  readonly reading = signal<Reading | undefined>(undefined);
  readonly #abort = new AbortController();
  readonly #task: Task;

  constructor(task: Task, model: string, server?: string) {
    const { chat, branch, continued } = task;
    this.#task = task;
    this.chat = chat;
    this.id = continued?.id ?? newId();
    const parent = (branch.at(-1) as Message).id;
    const row: Message = continued ? { ...continued, ending: "writing" } : { id: this.id, chat, parent, role: "assistant", content: "", created: Date.now(), ending: "writing", model };
    this.row = signal(server === undefined ? row : { ...row, server });
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
export async function write(means: Means, engine: Answerer, writing: Writing): Promise<Outcome> {
  const { store, locks } = means;
  const { row, task } = writing;
  await locks.hold(writing.id);
  // What the store does not take now it may take at the end; if not, it is told then, and the
  // answer is there.
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
  const { chat, parent, model, server } = row.value;
  if (task.continued) return store.resume(row.value, task.continued.content, known(task.chat));
  const begun = await store.beginAnswer(chat, parent as string, model ?? "", known(task.chat), id);
  row.value = server === undefined ? begun : { ...begun, server };
  return true;
}

async function stream(means: Means, engine: Answerer, writing: Writing): Promise<Ending | undefined> {
  const { row, task, signal: stopped } = writing;
  const settings = means.settings.value;
  stopped.throwIfAborted();
  // A server has no states, and reads with the answer.
  const brought = isDevice(engine) ? await means.states.bring(engine, task.chat) : undefined;
  stopped.throwIfAborted();
  const messages = messagesOf(task.branch, await means.store.instructions(task.chat, settings.instructions).catch(() => task.instructions));
  stopped.throwIfAborted();
  const { continued } = task;
  const reader = new Reader();
  if (!continued && brought && isDevice(engine)) await readFirst(means, engine, writing, messages, brought, reader);
  const answer = continued
    ? await continueAnswer(engine, messages, continued.content, settings, stopped)
    : await startAnswer(engine, messages, settings, task.drop, stopped);
  let began = 0;
  const before = continued?.tokens ?? 0;
  try {
    for await (const { text, token } of answer) {
      if (began === 0) mark(engine, row);
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
      // What was read just before, for this answer, was not remembered.
      facts.cached = Math.max(0, Math.min(usage.prompt_tokens_details.cached_tokens, facts.prompt) - reader.fresh);
      if (usage.prompt_tokens_details.dropped_messages > 0) facts.dropped = usage.prompt_tokens_details.dropped_messages;
    }
    row.value = { ...row.value, ...facts };
  }
  const { usage, isCut } = answer;
  if (isDevice(engine)) {
    void means.states.take(engine, task.chat);
    if (usage && usage.prompt_tokens + usage.completion_tokens >= engine.info.model.contextLength) return "context";
  }
  // Some servers count nothing.
  return (usage ? usage.completion_tokens >= settings.maxTokens : isCut) ? "length" : undefined;
}

/** Says whose the words are: before the first of them a server may have taken over. */
function mark(engine: Answerer, row: Signal<Message>): void {
  const server = hostOf(engine.info);
  if (server !== undefined) row.value = { ...row.value, server, model: engine.info.model.name };
}

/**
 * Whether a question is the one that has been read for, or a version of it that begins in the same
 * way.
 */
function isSame(question: Message, id: string | undefined, known: Conversation | undefined): boolean {
  if (id === question.id) return true;
  const other = known?.messages.find((message) => message.id === id);
  return other !== undefined && other.parent === question.parent && JSON.stringify(other.attachments) === JSON.stringify(question.attachments);
}

/**
 * Reads what is new and long before the answer, and tells how far that is; where it is stopped,
 * what has been read is kept.
 */
async function readFirst(means: Means, engine: Engine, writing: Writing, messages: ChatMessage[], { here, read }: Brought, reader: Reader): Promise<void> {
  const { task, signal } = writing;
  const { store, states } = means;
  const question = task.branch.at(-1) as Message;
  const at = task.branch.findLastIndex(({ prompt }) => prompt !== undefined);
  const { prompt, tokens = 0 } = task.branch[at] ?? {};
  const before = messages.slice(0, messages.length - (task.branch.length - at));
  const answered = prompt === undefined ? undefined : { messages: before, prompt, tokens };
  const stopped = read && isSame(question, read.question, means.known(task.chat)) ? read : undefined;
  const known = { answered, here, stopped, documents: beginningsOf(task.branch, messages) };
  /** What the store says: after a reload it is told. */
  let noted = question.reading;
  const note = async (reading: Message["reading"]) => {
    if (noted === reading || (noted && reading && noted.total === reading.total && noted.stopped === reading.stopped)) return;
    noted = reading;
    await store.noteReading(question.id, reading).catch(() => undefined);
  };
  const way: OnTheWay = {
    tell: (reading) => {
      writing.reading.value = reading;
      void note({ total: reading.total });
    },
    keep: (at) => states.keepReading(engine, task.chat, { ...at, question: question.id }),
    recall: (beginnings) => states.recall(engine, task.chat, beginnings),
    remember: (ids) => states.remember(engine, task.chat, ids),
  };
  try {
    await reader.read(engine, messages, known, signal, way);
  } catch (error) {
    const { value: reading } = writing.reading;
    if (reading) void note({ total: reading.total, stopped: true });
    if (signal.aborted && reader.at) void states.take(engine, task.chat, { ...reader.at, question: question.id });
    throw error;
  }
  void note(undefined);
  writing.reading.value = undefined;
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
