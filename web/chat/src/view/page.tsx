/** The whole page. */

import { useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { Page, type App } from "../app/app.js";
import { holdNotice, notice, tell } from "../app/notices.js";
import { t } from "../i18n/index.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { Dialogs } from "./dialogs.js";
import { Header } from "./header.js";
import { ChatList } from "./list.js";
import { Icon } from "./icons.js";
import { composes, focusPage } from "./parts.js";

function Toast() {
  const { value } = notice;
  const toast = useRef<HTMLDivElement>(null);
  // A notice that goes by itself does not take the focus along.
  const within = toast.current?.contains(document.activeElement);
  useLayoutEffect(() => {
    if (within && !toast.current?.contains(document.activeElement)) focusPage();
  }, [value]);
  const close = () => {
    notice.value = undefined;
    focusPage();
  };
  return (
    <div
      id="toast"
      hidden={!value}
      ref={toast}
      onMouseEnter={() => holdNotice(true)}
      onMouseLeave={() => holdNotice(false)}
      onFocusIn={() => holdNotice(true)}
      onFocusOut={() => holdNotice(false)}
    >
      {value && (
        <>
          <span>{value.text}</span>
          {value.action && (
            <button type="button" class="small" onClick={() => (close(), value.action?.go())}>
              {value.action.label}
            </button>
          )}
          <button type="button" class="small" aria-label={t("app.close")} onClick={close}>
            <Icon name="close" />
          </button>
        </>
      )}
    </div>
  );
}

function Drop({ app }: { app: App }) {
  const over = useSignal(false);
  useEffect(() => {
    const onOver = (event: DragEvent) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      over.value = true;
    };
    const onLeave = (event: DragEvent) => {
      if (!event.relatedTarget) over.value = false;
    };
    const onDrop = (event: DragEvent) => {
      over.value = false;
      const files = [...(event.dataTransfer?.files ?? [])];
      if (files.length === 0) return;
      event.preventDefault();
      // Folders are no files; what they are is known only now.
      const entries = [...(event.dataTransfer?.items ?? [])].flatMap((item) => item.webkitGetAsEntry() ?? []);
      const unreadable = () => tell(t("document.unreadable", { name: entries.map(({ name }) => name).join(", ") }));
      if (entries.some(({ isDirectory }) => isDirectory)) void import("../app/adapters.js").then(({ filesOf }) => filesOf(entries)).then((all) => app.take(all), unreadable);
      else void app.take(files);
    };
    document.addEventListener("dragover", onOver);
    document.addEventListener("dragleave", onLeave);
    document.addEventListener("drop", onDrop);
    return () => {
      document.removeEventListener("dragover", onOver);
      document.removeEventListener("dragleave", onLeave);
      document.removeEventListener("drop", onDrop);
    };
  }, [app, over]);
  return (
    <div id="drop" hidden={!over.value} aria-hidden="true">
      <span>{t("drop.here")}</span>
    </div>
  );
}

/** Whether something lies over the page that Escape closes by itself. */
const isCovered = () => document.querySelector("dialog[open], :popover-open") !== null;

function onKey(app: App, event: KeyboardEvent): void {
  if (event.defaultPrevented || composes(event) || isCovered()) return;
  const control = event.ctrlKey || event.metaKey;
  const typing = (event.target as Element).matches("input, textarea, select, [contenteditable]");
  if (event.key === "Escape") app.talk.leave();
  else if (event.key === "?" && !typing && !control) app.dialog.value = "keys";
  else if (control && event.shiftKey && event.key.toLowerCase() === "o") {
    app.talk.open(null);
    focusPage();
  } else if (control && !event.shiftKey && event.key.toLowerCase() === "k") {
    const panel = document.getElementById("chats");
    if (panel && !panel.checkVisibility()) panel.showPopover();
    document.getElementById("search")?.focus();
  } else return;
  event.preventDefault();
}

export function Root({ app }: { app: App }) {
  const chooser = useRef<HTMLInputElement>(null);
  app.openFile = () => chooser.current?.click();
  useEffect(() => {
    const listener = (event: KeyboardEvent) => onKey(app, event);
    document.addEventListener("keydown", listener);
    return () => document.removeEventListener("keydown", listener);
  }, [app]);
  const choose = (input: HTMLInputElement) => {
    const [file] = input.files ?? [];
    input.value = "";
    if (!file) return;
    app.dialog.value = undefined;
    void app.open(file);
  };
  return (
    <Page.Provider value={app}>
      <a class="skip" href="#prompt" onClick={(event) => (event.preventDefault(), document.getElementById("prompt")?.focus())}>
        {t("app.skip")}
      </a>
      <Header />
      <ChatList />
      <Conversation />
      <Composer />
      <Dialogs />
      <input type="file" id="file" accept=".gguf" hidden aria-label={t("models.file")} ref={chooser} onChange={(event) => choose(event.currentTarget)} />
      <Toast />
      <Drop app={app} />
    </Page.Provider>
  );
}
