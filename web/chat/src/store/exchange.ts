/** Conversations as files: what is exported, and what is read of a file that is imported. */

import { treeOfList } from "./database.js";
import type { Kind, Page, ReadDocument } from "../documents/types.js";
import { ENDINGS, type Attachment, type Chat, type Conversation, type Message, type Source } from "./types.js";

/** A chat in a file of version 2. */
type Told = Omit<Chat, "deleted"> & { messages: Omit<Message, "chat">[]; sources?: Omit<Source, "chat">[] };

/** A conversation with the documents of its questions. */
export interface Exported extends Conversation {
  sources?: readonly Source[];
}

/** Why a file cannot be read; the page has a sentence for each. */
export class ExchangeError extends Error {
  readonly code: "not-json" | "no-chats" | "version" | "damaged";
  /** The version found, or the number of the damaged chat. */
  readonly detail: string;

  constructor(code: ExchangeError["code"], detail = "") {
    super(`${code} ${detail}`);
    this.code = code;
    this.detail = detail;
  }
}

/** The text of a file with these conversations, all of their branches and documents included. */
export function fileOf(conversations: readonly Exported[]): string {
  const chats = conversations.map(({ chat: { deleted: _deleted, ...chat }, messages, sources = [] }): Told => {
    const told: Told = { ...chat, messages: messages.map(({ chat: _chat, ...message }) => message) };
    if (sources.length > 0) told.sources = sources.map(({ id, document }) => ({ id, document }));
    return told;
  });
  return JSON.stringify({ format: "peregrine-chats", version: 2, chats }, null, 2);
}

type Loose = Record<string, unknown>;
const isText = (value: unknown): value is string => typeof value === "string";
const isTime = (value: unknown): value is number => Number.isFinite(value);
const isMissing = (value: unknown): value is undefined | null => value === undefined || value === null;
const isRole = (value: unknown) => value === "system" || value === "user" || value === "assistant";

function attachmentOf(value: unknown): Attachment | undefined {
  const found = (value ?? {}) as Loose;
  if (!isText(found.id) || !isText(found.name) || !isText(found.text)) return undefined;
  const attachment: Attachment = { id: found.id, name: found.name, text: found.text };
  if (isTime(found.pages)) attachment.pages = found.pages;
  if (isTime(found.tokens)) attachment.tokens = found.tokens;
  if (isText(found.part)) attachment.part = found.part;
  if (isTime(found.whole)) attachment.whole = found.whole;
  return attachment;
}

const KINDS: readonly Kind[] = ["pdf", "docx", "html", "markdown", "text", "csv", "json", "code"];
const isKind = (value: unknown): value is Kind => (KINDS as readonly unknown[]).includes(value);
const isPage = (value: unknown): value is Page => isTime((value as Loose | null)?.number) && isText((value as Loose).text);

/** A document as it was attached. What was odd about its file has been told once. */
function sourceOf(value: unknown, chat: string): Source | undefined {
  const { id, document: given } = (value ?? {}) as Loose;
  const { name, kind, language, pages, text } = (given ?? {}) as Loose;
  if (!isText(id) || id === "" || !isText(name) || !isKind(kind) || !isText(text)) return undefined;
  if (!isMissing(pages) && !(Array.isArray(pages) && pages.every(isPage))) return undefined;
  const document: ReadDocument = {
    name,
    kind,
    text,
    warnings: [],
    ...(isText(language) && { language }),
    ...(!isMissing(pages) && { pages: (pages as Page[]).map(({ number, text }) => ({ number, text })) }),
  };
  return { id, chat, document };
}

function messageOf(value: unknown, chat: string): Message | undefined {
  const found = (value ?? {}) as Loose;
  const { id, parent, role, content, created, ending, attachments } = found;
  if (!isText(id) || id === "" || !(parent === null || isText(parent)) || !isRole(role) || !isText(content) || !isTime(created)) return undefined;
  if (!isMissing(ending) && !(ENDINGS as readonly unknown[]).includes(ending)) return undefined;
  const message: Message = { id, chat, parent, role: role as Message["role"], content, created };
  // Nobody writes on what comes from a file.
  if (!isMissing(ending)) message.ending = ending === "writing" ? "interrupted" : (ending as NonNullable<Message["ending"]>);
  for (const field of ["tokens", "speed", "prompt", "cached", "dropped"] as const) if (isTime(found[field])) message[field] = found[field];
  for (const field of ["model", "server", "facts"] as const) if (isText(found[field])) message[field] = found[field];
  if (!isMissing(attachments)) {
    const read = Array.isArray(attachments) ? attachments.map(attachmentOf) : [undefined];
    if (read.includes(undefined)) return undefined;
    message.attachments = read as Attachment[];
  }
  return message;
}

/** Whether every message has its parent here, and none is its own forebear. */
function isTree(messages: readonly Message[]): boolean {
  const parents = new Map(messages.map(({ id, parent }) => [id, parent]));
  if (parents.size !== messages.length) return false;
  const sound = new Set<string>();
  for (const { id } of messages) {
    const passed = new Set<string>();
    for (let at: string | null = id; at !== null && !sound.has(at); at = parents.get(at) as string | null) {
      if (passed.has(at) || !parents.has(at)) return false;
      passed.add(at);
    }
    for (const one of passed) sound.add(one);
  }
  return true;
}

/** A conversation of a file; `linear` where it is a list without ids, as version 1 wrote it. */
export interface Imported extends Conversation {
  linear: boolean;
  sources: Source[];
}

function conversationOf(value: unknown, version: number): Imported | undefined {
  const found = (value ?? {}) as Loose;
  const { id, title, created, updated, head, named, pinned, instructions, messages: list, sources: documents } = found;
  if (!isText(id) || id === "" || !isText(title) || !isTime(created) || !isTime(updated) || !Array.isArray(list)) return undefined;
  const chat: Chat = { id, title, created, updated, head: null };
  if (version === 1) {
    const said = list as Loose[];
    const fits = said.every((one) => isRole(one?.role) && isText(one.content) && (isMissing(one.facts) || isText(one.facts)));
    if (!fits) return undefined;
    const tree = treeOfList(id, created, said as never);
    chat.head = tree.messages.at(-1)?.id ?? null;
    if (tree.instructions !== undefined) chat.instructions = tree.instructions;
    return { chat, messages: tree.messages, linear: true, sources: [] };
  }
  const messages = list.map((one) => messageOf(one, id));
  if (messages.includes(undefined) || !isTree(messages as Message[])) return undefined;
  const sources = isMissing(documents) ? [] : Array.isArray(documents) ? documents.map((one) => sourceOf(one, id)) : [undefined];
  if (sources.includes(undefined)) return undefined;
  if (isText(head)) chat.head = head;
  if (named === true) chat.named = true;
  if (pinned === true) chat.pinned = true;
  if (isText(instructions)) chat.instructions = instructions;
  return { chat, messages: messages as Message[], linear: false, sources: sources as Source[] };
}

/** The conversations of an exported file. @throws ExchangeError */
export function readFile(text: string): Imported[] {
  let file: Loose;
  try {
    file = JSON.parse(text) as Loose;
  } catch {
    throw new ExchangeError("not-json");
  }
  if (file?.format !== "peregrine-chats" || !Array.isArray(file.chats)) throw new ExchangeError("no-chats");
  const version = file.version;
  if (version !== 1 && version !== 2) throw new ExchangeError("version", String(version));
  return file.chats.map((chat, i) => {
    const read = conversationOf(chat, version);
    if (!read) throw new ExchangeError("damaged", String(i + 1));
    return read;
  });
}
