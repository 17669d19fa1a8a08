/** Conversations as files: Markdown to read, JSON to keep and to bring back. */

import { make } from "./dom.js";
import type { Chat, Said } from "./library.js";

/** What is in an exported file. */
interface Exported {
  format: "peregrine-chats";
  version: 1;
  chats: Chat[];
}

/** Offers text as a download. */
function offer(name: string, type: string, text: string): void {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = make("a", { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

const fileName = (title: string, ending: string) => `${title.replace(/[^\p{L}\p{N} ._-]+/gu, "").trim().slice(0, 60) || "chat"}.${ending}`;

/** A conversation as Markdown. */
export function markdownOf(chat: Chat): string {
  const names = { user: "You", assistant: "Peregrine", system: "System" };
  const turns = chat.messages.map(({ role, content }) => `**${names[role]}:**\n\n${content.trim()}\n`);
  return `# ${chat.title}\n\n${turns.join("\n")}`;
}

/** Saves a conversation as Markdown. */
export function saveMarkdown(chat: Chat): void {
  offer(fileName(chat.title, "md"), "text/markdown", markdownOf(chat));
}

/** Saves conversations as JSON. */
export function saveJson(chats: Chat[]): void {
  const file: Exported = { format: "peregrine-chats", version: 1, chats };
  const name = chats.length === 1 ? (chats[0] as Chat).title : "peregrine chats";
  offer(fileName(name, "json"), "application/json", JSON.stringify(file, null, 2));
}

const isMessage = (value: unknown): value is Said => {
  const { role, content, facts } = (value ?? {}) as Partial<Said>;
  return ["system", "user", "assistant"].includes(role as string) && typeof content === "string" && (facts === undefined || typeof facts === "string");
};

/** The conversations in an exported file. @throws Error with a sentence for people */
export function readChats(text: string): Chat[] {
  let file: Partial<Exported>;
  try {
    file = JSON.parse(text) as Partial<Exported>;
  } catch {
    throw new Error("This file is not JSON.");
  }
  if (file?.format !== "peregrine-chats" || !Array.isArray(file.chats)) throw new Error("This file has no chats that Peregrine has saved.");
  if (file.version !== 1) throw new Error(`This file is of version ${String(file.version)}; this page reads version 1.`);
  return file.chats.map((chat, i) => {
    const fits = typeof chat?.id === "string" && typeof chat.title === "string" && Number.isFinite(chat.created) && Number.isFinite(chat.updated);
    if (!fits || !Array.isArray(chat.messages) || !chat.messages.every(isMessage)) throw new Error(`Chat number ${i + 1} in this file is damaged.`);
    const { id, title, created, updated, messages } = chat;
    return { id, title, created, updated, messages };
  });
}
