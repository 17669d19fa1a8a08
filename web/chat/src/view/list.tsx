/** The list of chats: by date, with search over everything that was said. */

import { useSignal, useSignalEffect } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { tell } from "../app/notices.js";
import { useApp, type App } from "../app/app.js";
import { language, t } from "../i18n/index.js";
import type { Chat, Message } from "../store/types.js";
import { useLive } from "./live.js";
import { composes, focusPage, Menu } from "./parts.js";

const DAY = 24 * 3600 * 1000;

/** The heading under which a chat stands. */
function groupOf({ pinned, updated }: Chat, now: Date): string {
  if (pinned) return t("list.pinned");
  const today = new Date(now.getFullYear(), now.getMonth(), now.getDate()).getTime();
  if (updated >= today) return t("list.today");
  if (updated >= today - DAY) return t("list.yesterday");
  if (updated >= today - 7 * DAY) return t("list.week");
  return new Date(updated).toLocaleDateString(language.value, { month: "long", year: "numeric" });
}

interface Found {
  chat: Chat;
  message?: Message;
}

function grouped(found: readonly Found[]): [string, Found[]][] {
  const groups = new Map<string, Found[]>();
  const now = new Date();
  for (const one of found) {
    const name = groupOf(one.chat, now);
    const group = groups.get(name);
    if (group) group.push(one);
    else groups.set(name, [one]);
  }
  return [...groups];
}

/** The piece of a message around what was searched. */
function pieceOf({ content }: Message, wanted: string): string {
  const at = Math.max(0, content.toLocaleLowerCase().indexOf(wanted.toLocaleLowerCase()));
  const from = Math.max(0, at - 20);
  return `${from > 0 ? "…" : ""}${content.slice(from, at + 80).replace(/\s+/g, " ")}`;
}

function Rename({ chat, done }: { chat: Chat; done: () => void }) {
  const { change } = useApp();
  const over = useRef(false);
  const box = useRef<HTMLInputElement>(null);
  // At once: what had the focus is gone, and the next key is for the title.
  useLayoutEffect(() => {
    box.current?.focus();
    box.current?.select();
  }, []);
  const end = async (field: HTMLInputElement, accept: boolean) => {
    if (over.current) return;
    over.current = true;
    const title = field.value.trim();
    if (accept && title !== "" && title !== chat.title) await change((store) => store.change(chat.id, { title, named: true }));
    done();
  };
  return (
    <input
      type="text"
      dir="auto"
      defaultValue={chat.title}
      maxLength={120}
      aria-label={t("list.renameLabel")}
      ref={box}
      onBlur={(event) => void end(event.currentTarget, true)}
      onKeyDown={(event) => {
        if ((event.key !== "Enter" && event.key !== "Escape") || composes(event)) return;
        event.preventDefault();
        event.stopPropagation();
        void end(event.currentTarget, event.key === "Enter");
      }}
    />
  );
}

/** Deletes a chat; it can be brought back. */
async function remove({ change }: App, chat: Chat, current: boolean): Promise<void> {
  if (!(await change((store) => store.delete(chat.id)))) return;
  // The open one is closed, and tells, by itself.
  if (!current) tell(t("list.deleted"), { action: { label: t("app.undo"), go: () => void change((store) => store.undelete(chat.id)) } });
}

function Row({ chat, message, wanted, hide }: Found & { wanted: string; hide: () => void }) {
  const app = useApp();
  const renaming = useSignal(false);
  const row = useRef<HTMLLIElement>(null);
  const current = app.talk.chat.value === chat.id;
  const title = chat.title || t("list.untitled");
  const open = () => {
    app.talk.open(chat.id);
    hide();
  };
  const stopRenaming = () => {
    renaming.value = false;
    setTimeout(() => row.current?.querySelector<HTMLElement>(".chat-title")?.focus());
  };
  const items = () => [
    { label: t("list.rename"), go: () => (renaming.value = true) },
    { label: t(chat.pinned ? "list.unpin" : "list.pin"), go: () => void app.change((store) => store.change(chat.id, { pinned: !chat.pinned })) },
    {
      label: t("list.instructions"),
      go: () => {
        app.subject.value = chat.id;
        app.dialog.value = "instructions";
      },
    },
    { label: t("list.saveMarkdown"), go: () => void app.withFiles((files, store) => files.saveChat(store, chat.id, "md")) },
    { label: t("list.saveJson"), go: () => void app.withFiles((files, store) => files.saveChat(store, chat.id, "json")) },
    // Only what is on the page can be printed.
    ...(current ? [{ label: t("list.print"), go: () => setTimeout(print) }] : []),
    {
      label: t("list.delete"),
      danger: true,
      go: () => {
        const next = row.current?.nextElementSibling ?? row.current?.previousElementSibling;
        void remove(app, chat, current);
        const goal = next?.querySelector<HTMLElement>(".chat-title");
        if (goal) goal.focus();
        else focusPage();
      },
    },
  ];
  return (
    <li data-id={chat.id} ref={row}>
      {renaming.value ? (
        <Rename chat={chat} done={stopRenaming} />
      ) : (
        <>
          <button type="button" class="chat-title" dir="auto" title={title} aria-current={current ? "true" : undefined} onClick={open}>
            {title}
            {message && <small dir="auto">{pieceOf(message, wanted)}</small>}
          </button>
          <Menu label={t("list.more", { title })} items={items} />
        </>
      )}
    </li>
  );
}

export function ChatList() {
  const app = useApp();
  const panel = useRef<HTMLElement>(null);
  const chooser = useRef<HTMLInputElement>(null);
  const wanted = useSignal("");
  const text = wanted.value.trim();
  const all = useLive((store) => store.chats());
  const trash = useLive((store) => store.deletedChats());
  const hits = useLive(async (store) => (text === "" ? undefined : store.search(text)), [text]);
  const found: Found[] = text === "" ? (all ?? []).map((chat) => ({ chat })) : (hits ?? []);
  const hide = () => {
    // On wide screens the panel is part of the page.
    if (panel.current?.matches(":popover-open")) panel.current.hidePopover();
  };
  useSignalEffect(() => {
    const title = app.talk.row.value?.title;
    document.title = title ? `${title} · Peregrine` : "Peregrine";
  });
  const anew = () => {
    app.talk.open(null);
    hide();
    focusPage();
  };
  const bring = (input: HTMLInputElement) => {
    const [file] = input.files ?? [];
    if (file) void app.withFiles((files, store) => files.importChats(store, file));
    input.value = "";
  };
  return (
    <aside id="chats" popover="auto" aria-label={t("app.chats")} ref={panel}>
      <button type="button" class="plain" id="new-chat-in-list" onClick={anew}>
        {t("app.newChat")}
      </button>
      <input
        type="search"
        id="search"
        dir="auto"
        aria-label={t("list.search")}
        placeholder={t("list.search")}
        value={wanted.value}
        onInput={(event) => (wanted.value = event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key !== "Escape" || wanted.value === "") return;
          event.preventDefault();
          event.stopPropagation();
          wanted.value = "";
        }}
      />
      <div id="chat-list">
        {grouped(found).map(([name, chats]) => (
          <section key={name} aria-label={name}>
            <h2>{name}</h2>
            <ul>
              {chats.map((one) => (
                <Row key={one.chat.id} {...one} wanted={text} hide={hide} />
              ))}
            </ul>
          </section>
        ))}
        {text !== "" && hits?.length === 0 && <p class="help">{t("list.nothing")}</p>}
      </div>
      {(all?.length === 0 || app.kept.value === false) && text === "" && (
        <p class="help" id="no-chats">
          {t(app.kept.value === false ? "list.notKept" : "list.empty")}
        </p>
      )}
      {trash !== undefined && trash.length > 0 && (
        <button type="button" class="small" id="open-trash" onClick={() => (hide(), (app.dialog.value = "trash"))}>
          {t("list.trash", { count: trash.length })}
        </button>
      )}
      <div class="buttons">
        <button type="button" class="small" id="save-all" disabled={!all?.length} onClick={() => void app.withFiles((files, store) => files.saveAll(store))}>
          {t("list.exportAll")}
        </button>
        <button type="button" class="small" id="bring-back" onClick={() => chooser.current?.click()}>
          {t("list.import")}
        </button>
      </div>
      <input
        type="file"
        id="chats-file"
        ref={chooser}
        accept=".json,application/json"
        hidden
        aria-label={t("list.file")}
        onChange={(event) => bring(event.currentTarget)}
      />
    </aside>
  );
}
