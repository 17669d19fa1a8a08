/** What stands in the smaller dialogs: a chat's instructions, deleted chats, shortcuts. */

import "../dialogs.css";
import { useRef } from "preact/hooks";
import { useApp } from "../app/app.js";
import { draftOf, keepDraft } from "../app/local.js";
import { t, type Key } from "../i18n/index.js";
import { useLive } from "./live.js";

function Instructions({ chat }: { chat: string }) {
  const { change, dialog, settings } = useApp();
  const box = useRef<HTMLTextAreaElement>(null);
  // Kept while it is not saved: Escape takes nothing away.
  const draft = `instructions ${chat}`;
  const row = useLive((store) => store.db.chats.get(chat), [chat]);
  const save = async (instructions: string | undefined) => {
    if (!(await change((store) => store.change(chat, { instructions })))) return;
    keepDraft(draft, "");
    dialog.value = undefined;
  };
  // Not before it is known: what is written meanwhile would go.
  if (!row) return null;
  return (
    <form class="plain-form" onSubmit={(event) => (event.preventDefault(), void save(box.current?.value ?? ""))}>
      <textarea
        id="chat-instructions"
        rows={5}
        dir="auto"
        aria-label={t("instructions.title")}
        aria-describedby="instructions-help"
        ref={box}
        defaultValue={draftOf(draft) || (row.instructions ?? settings.value.instructions)}
        onInput={(event) => keepDraft(draft, event.currentTarget.value)}
      />
      <p class="help" id="instructions-help">
        {t("instructions.help")}
      </p>
      <div class="buttons">
        <button type="submit" class="primary">
          {t("instructions.save")}
        </button>
        <button type="button" class="plain" onClick={() => void save(undefined)}>
          {t("instructions.global")}
        </button>
      </div>
    </form>
  );
}

export function InstructionsSheet() {
  const { subject } = useApp();
  return subject.value === undefined ? null : <Instructions chat={subject.value} />;
}

export function TrashSheet() {
  const { change } = useApp();
  const chats = useLive((store) => store.deletedChats()) ?? [];
  const act = (button: HTMLElement, what: "undelete" | "purge", id: string) => {
    // The line goes; the focus stays in the dialog.
    button.closest("dialog")?.querySelector<HTMLElement>("h2")?.focus();
    if (what === "purge") for (const draft of [id, `instructions ${id}`]) keepDraft(draft, "");
    void change((store) => (what === "purge" ? store.purge([id]) : store.undelete(id)));
  };
  return (
    <>
      <p class="help">{t(chats.length > 0 ? "trash.help" : "trash.empty")}</p>
      <ul class="models">
        {chats.map(({ id, title }) => (
          <li key={id}>
            <div>
              <strong dir="auto">{title}</strong>
            </div>
            <button type="button" class="plain" aria-label={t("trash.restoreLabel", { title })} onClick={(event) => act(event.currentTarget, "undelete", id)}>
              {t("trash.restore")}
            </button>
            <button type="button" class="plain" aria-label={t("trash.purgeLabel", { title })} onClick={(event) => act(event.currentTarget, "purge", id)}>
              {t("trash.purge")}
            </button>
          </li>
        ))}
      </ul>
    </>
  );
}

const KEYS: [Key, string][] = [
  ["keys.send", "Enter"],
  ["keys.line", "Shift+Enter"],
  ["keys.stop", "Esc"],
  ["keys.edit", "↑"],
  ["keys.newChat", "Ctrl+Shift+O"],
  ["keys.search", "Ctrl+K"],
  ["keys.list", "?"],
];

export const KeysSheet = () => (
  <dl>
    {KEYS.map(([what, keys]) => [
      <dt key={what}>{t(what)}</dt>,
      <dd key={keys}>
        <kbd>{keys}</kbd>
      </dd>,
    ])}
  </dl>
);
