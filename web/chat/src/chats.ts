/** The list of conversations, and which of them is on the page. */

import * as conversation from "./conversation.js";
import { announce, byId, make, toast } from "./dom.js";
import { allChats, chatOf, forget, isKept, keep, onElsewhere, titleOf, type Chat } from "./library.js";
import { readChats, saveJson, saveMarkdown } from "./transfer.js";

const LAST = "peregrine.chat";
const list = byId("chat-list");
const panel = byId("chats");

/** The conversation on the page; nothing before its first message. */
let current: Chat | undefined;
/** What the rest of the page does when another conversation comes. */
let leave: () => void = () => {};
let regenerate: () => void = () => {};

/** The conversation on the page, once it has a message. */
export const currentChat = (): string | undefined => current?.id;

function remember(id: string | undefined): void {
  try {
    if (id) localStorage.setItem(LAST, id);
    else localStorage.removeItem(LAST);
  } catch {
    // Then the next visit begins with an empty page.
  }
}

function hidePanel(): void {
  // On wide screens the panel is part of the page.
  if (panel.matches(":popover-open")) panel.hidePopover();
}

/** Keeps what is on the page; called after each change. */
async function save(): Promise<void> {
  const { messages } = conversation;
  if (messages.length === 0) {
    // The only question was taken back.
    if (current) await forget(current.id);
    current = undefined;
    remember(undefined);
    return refresh();
  }
  const now = Date.now();
  current ??= { id: crypto.randomUUID(), title: titleOf(messages), created: now, updated: now, messages: [] };
  current = { ...current, updated: now, messages: messages.map((message) => ({ ...message })) };
  remember(current.id);
  await keep(current);
  await refresh();
}

/** An empty page. */
export function startAnew(): void {
  leave();
  current = undefined;
  remember(undefined);
  conversation.clearConversation();
  hidePanel();
  void refresh();
}

/** Done when the chat that was chosen last is on the page. */
let showing: Promise<void> = Promise.resolve();
export const shown = (): Promise<void> => showing;

async function show(id: string): Promise<void> {
  if (id === current?.id) return hidePanel();
  leave();
  const chat = await chatOf(id);
  if (chat) {
    current = chat;
    remember(id);
    conversation.showConversation(chat.messages, regenerate);
    announce(`${chat.title}, ${chat.messages.length} messages`);
  }
  hidePanel();
  await refresh();
}

/** A question is changed: what came before it becomes a chat of its own, and the old one stays as it is. */
function branch(index: number, onText: (text: string) => void): void {
  leave();
  const text = conversation.messages[index]?.content ?? "";
  const before = conversation.messages.slice(0, index);
  current = undefined;
  remember(undefined);
  conversation.showConversation(before, regenerate);
  void refresh();
  onText(text);
}

async function remove(chat: Chat): Promise<void> {
  if (chat.id === current?.id) startAnew();
  await forget(chat.id);
  await refresh();
  toast("Chat deleted", { label: "Undo", go: () => void keep(chat).then(refresh) });
}

function rename(chat: Chat, item: HTMLElement): void {
  const field = make("input", { type: "text", value: chat.title, maxLength: 120, ariaLabel: "Title of the chat" });
  let done = false;
  const end = async (accept: boolean) => {
    if (done) return;
    done = true;
    field.remove();
    const title = field.value.trim();
    if (accept && title !== "" && title !== chat.title) {
      if (chat.id === current?.id) current = { ...current, title };
      await keep({ ...((await chatOf(chat.id)) ?? chat), title });
    }
    await refresh();
    byId("chat-list").querySelector<HTMLElement>(`[data-id="${chat.id}"] button`)?.focus();
  };
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      void end(event.key === "Enter");
    }
  });
  field.addEventListener("blur", () => void end(true));
  item.replaceChildren(field);
  field.select();
}

function row(chat: Chat): HTMLElement {
  const open = make("button", { type: "button", className: "chat-title", textContent: chat.title, title: chat.title });
  if (chat.id === current?.id) open.setAttribute("aria-current", "true");
  open.addEventListener("click", () => (showing = show(chat.id)));
  const menu = make("div", { className: "menu" });
  const more = make("details", { className: "more" }, make("summary", { ariaLabel: `More for “${chat.title}”`, textContent: "⋯" }), menu);
  const item = make("li", {}, open, more);
  item.dataset.id = chat.id;
  const action = (label: string, go: () => void) => {
    const button = make("button", { type: "button", textContent: label });
    button.addEventListener("click", () => {
      more.open = false;
      go();
    });
    return button;
  };
  menu.append(
    action("Rename", () => rename(chat, item)),
    action("Save as Markdown", () => saveMarkdown(chat)),
    action("Save as JSON", () => saveJson([chat])),
    action("Delete", () => void remove(chat)),
  );
  return item;
}

/** Draws the list anew. */
async function refresh(): Promise<void> {
  // A name that is being written is not taken away.
  if (list.querySelector("input")) return;
  const chats = await allChats();
  list.replaceChildren(...chats.map(row));
  byId("no-chats").hidden = chats.length > 0;
  byId<HTMLButtonElement>("save-all").disabled = chats.length === 0;
}

async function bring(file: File): Promise<void> {
  try {
    const chats = readChats(await file.text());
    await keep(...chats);
    await refresh();
    toast(chats.length === 1 ? "1 chat is back" : `${chats.length} chats are back`);
  } catch (error) {
    toast((error as Error).message);
  }
}

/**
 * Connects the list; `onLeave` ends what is going on, `onRegenerate` answers the last question again, `onText` is given a question
 * to change.
 */
export async function watchChats(onLeave: () => void, onRegenerate: () => void, onText: (text: string) => void): Promise<void> {
  leave = onLeave;
  regenerate = onRegenerate;
  conversation.onChange(() => void save());
  conversation.onEdit((index) => branch(index, onText));
  byId("new-chat-in-list").addEventListener("click", () => (startAnew(), byId("prompt").focus()));
  byId("save-all").addEventListener("click", () => void allChats().then(saveJson));
  const chooser = byId<HTMLInputElement>("chats-file");
  byId("bring-back").addEventListener("click", () => chooser.click());
  chooser.addEventListener("change", () => {
    const [file] = chooser.files ?? [];
    if (file) void bring(file);
    chooser.value = "";
  });
  // One menu at a time, and none when something else is clicked.
  document.addEventListener("click", ({ target }) => {
    for (const menu of list.querySelectorAll("details[open]")) if (!menu.contains(target as Node)) menu.removeAttribute("open");
  });
  list.addEventListener("keydown", (event) => {
    const menu = (event.target as Element).closest<HTMLDetailsElement>("details[open]");
    if (event.key !== "Escape" || !menu) return;
    event.stopPropagation();
    event.preventDefault();
    menu.open = false;
    menu.querySelector("summary")?.focus();
  });
  onElsewhere(() => void refresh());
  if (!(await isKept())) {
    byId("no-chats").textContent = "This browser lets the page keep nothing, so chats last until it is closed.";
  }
  let last: string | null = null;
  try {
    last = localStorage.getItem(LAST);
  } catch {
    // Nothing to go on with.
  }
  if (last && conversation.messages.length === 0) await (showing = show(last));
  await refresh();
}
