/**
 * What is kept of conversations. A chat is a tree: every answer and every edited question is a
 * branch of its own.
 */

import type { ReadDocument } from "../documents/types.js";

/** Who wrote a message. */
export type Role = "system" | "user" | "assistant";

/** How an answer stands that did not come to its own end; `writing` while it comes. */
export type Ending = "writing" | "stopped" | "interrupted" | "length" | "context" | "failed";
export const ENDINGS: readonly Ending[] = ["writing", "stopped", "interrupted", "length", "context", "failed"];

/** What an answer says about how it was made. */
export interface Facts {
  /** Tokens of the answer. */
  tokens?: number;
  /** Tokens a second; 0 or missing: not known. */
  speed?: number;
  /** Tokens that stood before it, and how many of them had been read in an earlier request. */
  prompt?: number;
  cached?: number;
  /** Messages that were left out because the context was full. */
  dropped?: number;
  /** Name of the model. */
  model?: string;
  /** Host of the server that answered; missing where the device did. */
  server?: string;
  /** Small print of an older version of this page, as it was written. */
  facts?: string;
}

/**
 * A document that a question brings along: its text stands in the question that the model reads.
 */
export interface Attachment {
  id: string;
  name: string;
  /** What the model reads of it. */
  text: string;
  /** Pages, where the document has some. */
  pages?: number;
  /** Tokens of `text`, once they were counted. */
  tokens?: number;
  /** What of the document this is: all, or passages, and of which pages. */
  part?: string;
  /**
   * Tokens of the whole document, where that is kept as a {@link Source}: then one can choose anew
   * what of it is read.
   */
  whole?: number;
}

/** A document as it was attached, whatever was read of it. */
export interface Source {
  /** The attachment's id. */
  id: string;
  chat: string;
  document: ReadDocument;
}

/** A message: one node of a chat's tree. */
export interface Message extends Facts {
  id: string;
  chat: string;
  /** The message before it; null for the first. */
  parent: string | null;
  role: Role;
  content: string;
  /** Milliseconds since 1970. */
  created: number;
  /** Missing where an answer came to its own end, and for questions. */
  ending?: Ending;
  attachments?: Attachment[];
  /**
   * Of a question whose reading has begun and not ended: tokens that are to be read, and whether a
   * person stopped it.
   */
  reading?: { total: number; stopped?: true };
}

/** How answers are made. Whatever is missing is the global setting. */
export interface Sampling {
  temperature: number;
  topP: number;
  topK: number;
  minP: number;
  repetitionPenalty: number;
  presencePenalty: number;
  frequencyPenalty: number;
  /** Longest answer, in tokens. */
  maxTokens: number;
  /** Fixed for the same answer each time; null is a fresh one each time. */
  seed: number | null;
}

/** A conversation, without its messages. */
export interface Chat {
  id: string;
  title: string;
  /** The person has chosen the title. */
  named?: boolean;
  /** Milliseconds since 1970. */
  created: number;
  updated: number;
  /** The last message of the branch that is shown when the chat is opened. */
  head: string | null;
  /** What the model is told first in this chat. Missing: the global instructions. */
  instructions?: string;
  pinned?: boolean;
  /** When it was deleted; it can be brought back until it is purged. */
  deleted?: number;
}

/**
 * What the engine had read of a conversation, or of documents that conversations begin with: with
 * it they go on without being read again.
 */
export interface KeptState {
  /** The chat's; of documents, what they are known by. */
  id: string;
  state: Blob;
  /**
   * Where a reading was stopped: tokens that it had read, whether one stands before them that
   * begins a document, and for which question.
   */
  read?: { tokens: number; addBos: boolean; question?: string };
  /** Of documents: the chats that they were read in; it goes with the last of them. */
  chats?: string[];
  /** Milliseconds since 1970. */
  updated: number;
}

/**
 * A chat that was deleted for good: so other tabs do not take it for one that the browser has lost.
 */
export interface Gone {
  id: string;
  at: number;
}

/** A document that was attached and is not sent yet. */
export interface DraftDocument {
  id: string;
  document: ReadDocument;
  tokens: number;
  /** Only passages of it are to be read, also where all of it fits. */
  mode?: "passages";
}

/** The documents beside the message box of a chat; "new" for one that has not begun. */
export interface Draft {
  id: string;
  documents: DraftDocument[];
}

/** A LoRA adapter that acts beside a model, also in the next visit. */
export interface KeptAdapter {
  /** The model that it was loaded beside. */
  model: string;
  /**
   * What the model was loaded by, where it is kept on this device: with it the adapter is deleted.
   */
  source?: string;
  /** What the engine calls it. */
  id: string;
  /** Milliseconds since 1970: adapters come back in the order in which they came. */
  added: number;
  files: { /** Inside its folder. */ path: string; file: File }[];
}

/** A chat with all of its messages. */
export interface Conversation {
  chat: Chat;
  messages: Message[];
}

/** An id that nothing else has. */
export function newId(): string {
  // Only secure contexts have randomUUID.
  if (typeof crypto.randomUUID === "function") return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A title for a conversation that begins with this question. */
export function titleOf(question: string): string {
  const line = question.trim().replace(/\s+/g, " ");
  return line.length > 60 ? `${line.slice(0, 59).trimEnd()}…` : line;
}
