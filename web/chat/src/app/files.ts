/** Chats as files. */

import { t } from "../i18n/index.js";
import { ExchangeError, fileOf, readFile } from "../store/exchange.js";
import type { Store } from "../store/store.js";
import { Tree } from "../store/tree.js";
import type { Conversation } from "../store/types.js";
import { contentOf } from "./request.js";
import { offerFile } from "./saving.js";
import { tell } from "./notices.js";

/** Offers text as a download. */
const offer = (name: string, type: string, text: string) => offerFile(name, new Blob([text], { type }));

const fileName = (title: string, ending: string) => `${title.replace(/[^\p{L}\p{N} ._-]+/gu, "").trim().slice(0, 60) || "chat"}.${ending}`;

/** The branch of a conversation that is read, as Markdown. */
export function markdownOf({ chat, messages }: Conversation): string {
  const names = { user: t("talk.you"), assistant: t("talk.model"), system: t("talk.system") };
  const branch = new Tree(messages).branch(chat.head, chat.head);
  const turns = branch.map((message) => {
    const from = message.server === undefined ? "" : ` (${t("server.from", { host: message.server })})`;
    return `**${names[message.role]}${from}:**\n\n${contentOf(message).trim()}\n`;
  });
  const instructions = chat.instructions?.trim() ? [`**${names.system}:**\n\n${chat.instructions.trim()}\n`] : [];
  return `# ${chat.title}\n\n${[...instructions, ...turns].join("\n")}`;
}

/** Saves a chat. */
export async function saveChat(store: Store, id: string, as: "md" | "json"): Promise<void> {
  const found = await store.whole(id);
  if (!found) return;
  const name = fileName(found.chat.title, as);
  if (as === "md") offer(name, "text/markdown", markdownOf(found));
  else offer(name, "application/json", fileOf([found]));
}

/** Saves all chats. */
export async function saveAll(store: Store): Promise<void> {
  offer("peregrine chats.json", "application/json", fileOf(await store.everything()));
}

/** Reads chats from a file, and tells what became of them. */
export async function importChats(store: Store, file: Blob): Promise<void> {
  try {
    const { added, merged, messages, unchanged } = await store.import(readFile(await file.text()));
    const parts = [
      added > 0 && t("import.added", { count: added }),
      merged > 0 && t("import.merged", { count: merged, messages: t("import.messages", { count: messages }) }),
      unchanged > 0 && t("import.unchanged", { count: unchanged }),
    ].filter(Boolean);
    tell(parts.join(" ") || t("import.nothing"));
  } catch (error) {
    if (error instanceof ExchangeError) tell(t(`import.${error.code}`, { detail: error.detail }));
    else tell(t("import.failed", { message: (error as Error).message }));
  }
}
