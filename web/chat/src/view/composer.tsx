/** Where a person writes. What is written is kept, chat by chat, until it is sent. */

import { useSignal, useSignalEffect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { useApp } from "../app/app.js";
import { LONG_PASTE, type Pending } from "../app/documents.js";
import { hostOf } from "../app/engine.js";
import type { DraftDocument } from "../store/types.js";
import { keepDraft, redrawn } from "../app/local.js";
import { announce, tell } from "../app/notices.js";
import { language, number, t } from "../i18n/index.js";
import { Icon, StopIcon } from "./icons.js";
import { composes } from "./parts.js";

/** How full the context is. */
function Ring() {
  const { models, talk, settings } = useApp();
  const info = models.where.value;
  // A server does not say how much it remembers.
  const all = info?.where === "server" ? undefined : info?.model.contextLength;
  const answer = talk.branch.value.findLast(({ prompt }) => prompt !== undefined);
  if (!all || !answer) return null;
  const used = Math.min(all, (answer.prompt ?? 0) + (answer.tokens ?? 0));
  const share = used / all;
  const what = t("composer.context", { percent: share.toLocaleString(language.value, { style: "percent" }), used: number(used), all: number(all) });
  const then = t(settings.value.whenFull === "drop" ? "composer.contextDrop" : "composer.contextStop");
  const around = 2 * Math.PI * 8;
  return (
    <span class={share > 0.85 ? "ring full" : "ring"} id="ring" role="img" aria-label={what} title={`${what}. ${then}`}>
      <svg viewBox="0 0 20 20" aria-hidden="true">
        <circle cx="10" cy="10" r="8" class="all" />
        <circle cx="10" cy="10" r="8" stroke-dasharray={`${around * share} ${around}`} transform="rotate(-90 10 10)" />
      </svg>
    </span>
  );
}

/** Tokens a second, while an answer comes. */
function Speed() {
  const { talk } = useApp();
  const speed = talk.writing.value?.speed.value ?? 0;
  return speed > 0 ? <span class="speed">{t("talk.speed", { speed: number(speed, 1) })}</span> : null;
}

/** Whether all of a document is read, or the passages that matter. */
function Choice({ one: { id, document, tokens, mode } }: { one: DraftDocument }) {
  const { documents } = useApp();
  const fits = tokens <= documents.room.value;
  const label = t("document.mode", { name: document.name });
  return (
    <select
      aria-label={label}
      title={fits ? label : t("document.tooLong", { name: document.name })}
      value={mode ?? (fits ? "whole" : "passages")}
      onChange={(event) => void documents.choose(id, event.currentTarget.value as "whole" | "passages")}
    >
      <option value="whole" disabled={!fits}>
        {t("document.whole")}
      </option>
      <option value="passages">{t("document.matching")}</option>
    </select>
  );
}

/** A document beside the message box. */
function Chip({ one }: { one: Pending }) {
  const { documents } = useApp();
  const { name, read, kept } = one;
  const pages = kept?.document.pages?.length;
  const facts = kept
    ? [pages !== undefined && t("document.pageCount", { count: pages }), t("document.tokens", { count: kept.tokens })].filter(Boolean).join(" · ")
    : read && read.total > 0
      ? t("document.readPart", { done: number(read.done), total: number(read.total) })
      : t("document.reading");
  const remove = () => {
    documents.remove(one.id);
    document.getElementById("prompt")?.focus();
  };
  return (
    <li>
      <Icon name="file" />
      <span class="name" dir="auto">
        {name}
      </span>
      <span class="facts">{facts}</span>
      {kept && <Choice one={kept} />}
      <button type="button" class="small" aria-label={t("document.remove", { name })} onClick={remove}>
        <Icon name="close" />
      </button>
    </li>
  );
}

function Attached() {
  const { documents } = useApp();
  if (documents.pending.value.length === 0) return null;
  return (
    <ul class="attached" aria-label={t("document.list")}>
      {documents.pending.value.map((one) => (
        <Chip key={one.id} one={one} />
      ))}
    </ul>
  );
}

export function Composer() {
  const app = useApp();
  const { talk, models, documents, sender } = app;
  const dictation = app.voice.value?.dictation;
  const box = useRef<HTMLTextAreaElement>(null);
  const chooser = useRef<HTMLInputElement>(null);
  const blank = useSignal(true);
  const writing = talk.writing.value;
  const canSend = models.engine.value !== undefined || models.loading.value !== undefined;
  const ready = models.engine.value !== undefined;
  const host = hostOf(models.where.value);

  /** The height follows the text; CSS sets the limit. */
  const changed = () => {
    const { current } = box;
    if (!current) return;
    current.style.height = "auto";
    current.style.height = `${current.scrollHeight}px`;
    blank.value = current.value.trim() === "";
  };
  const fill = (text: string) => {
    // What is the same stays, and so does the place in it.
    if (box.current && box.current.value !== text) box.current.value = text;
    changed();
  };
  // At once when the chat changes: what is written next is the other chat's.
  useSignalEffect(() => {
    void redrawn.value;
    fill(sender.boxOf(talk.chat.value));
  });
  useEffect(() => {
    document.body.classList.toggle("ready", ready);
    if (ready && document.activeElement === document.body) box.current?.focus();
  }, [ready]);

  const submit = () => {
    const text = box.current?.value ?? "";
    const { pending } = documents;
    if (text.trim() === "" && pending.value.length === 0) return;
    if (pending.value.some(({ kept }) => !kept)) return tell(t("document.wait"));
    if (!canSend) return tell(t("composer.noModel"));
    if (talk.elsewhere.value) return tell(t("composer.elsewhere"));
    if (talk.writing.value && !talk.writing.value.signal.aborted) return announce(t("talk.answering"));
    // The one before is just being kept.
    if (sender.busy) return;
    dictation?.stop();
    fill("");
    void sender.send(text);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (composes(event)) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      submit();
    } else if (event.key === "ArrowUp" && box.current?.value === "") {
      const question = talk.branch.value.findLast(({ role }) => role === "user");
      if (!question) return;
      event.preventDefault();
      talk.editing.value = question.id;
    }
  };
  const onPaste = (event: ClipboardEvent) => {
    const files = [...(event.clipboardData?.files ?? [])];
    const text = event.clipboardData?.getData("text/plain") ?? "";
    if (files.length === 0 && text.length < LONG_PASTE) return;
    event.preventDefault();
    void (files.length > 0 ? app.take(files) : documents.paste(text));
  };
  /** Puts what was said where the caret is. */
  const write = (said: string) => {
    const { current } = box;
    if (!current || said === "") return;
    const { selectionStart: from, selectionEnd: to, value } = current;
    const before = from > 0 && !/\s/.test(value[from - 1] as string) ? " " : "";
    current.setRangeText(`${before}${said}`, from, to, "end");
    keepDraft(talk.chat.value, current.value);
    changed();
  };
  const stop = () => {
    writing?.stop();
    box.current?.focus();
  };
  return (
    <footer>
      <div class="column">
        <Attached />
      </div>
      <form class="composer column" id="composer" onSubmit={(event) => (event.preventDefault(), submit())}>
        <textarea
          id="prompt"
          rows={1}
          dir="auto"
          placeholder={t("composer.placeholder")}
          aria-label={t("composer.label")}
          aria-describedby="hint"
          enterkeyhint="send"
          ref={box}
          onInput={(event) => {
            keepDraft(talk.chat.value, event.currentTarget.value);
            changed();
          }}
          onKeyDown={onKeyDown}
          onPaste={onPaste}
        />
        <button type="button" class="attach icon" id="attach" aria-label={t("document.attach")} title={t("document.attach")} onClick={() => chooser.current?.click()}>
          <Icon name="clip" />
        </button>
        {dictation && dictation.state.value !== "none" && (
          <button
            type="button"
            class={dictation.listening.value ? "attach icon listening" : "attach icon"}
            id="dictate"
            aria-label={t(dictation.listening.value ? "voice.end" : "voice.speak")}
            title={t(dictation.listening.value ? "voice.listening" : "voice.speak")}
            onClick={() => {
              dictation.toggle(write);
              box.current?.focus();
            }}
          >
            <Icon name="microphone" />
          </button>
        )}
        <input
          type="file"
          id="documents"
          multiple
          hidden
          aria-label={t("document.file")}
          ref={chooser}
          onChange={(event) => {
            const files = [...(event.currentTarget.files ?? [])];
            event.currentTarget.value = "";
            void app.take(files);
            box.current?.focus();
          }}
        />
        <button type="submit" class="send" id="send" aria-label={t("composer.send")} disabled={!canSend || (blank.value && documents.pending.value.length === 0)} hidden={writing !== undefined}>
          <Icon name="up" />
        </button>
        <button type="button" class="send stop" id="stop" aria-label={t("composer.stop")} hidden={writing === undefined} onClick={stop}>
          <StopIcon />
        </button>
      </form>
      <p class="hint column" id="hint">
        <Ring />
        <Speed />
        <span id="hint-model" class={host && "to-server"}>
          {host ? t("server.hint", { host }) : t(models.choice.value.kind === "embedded" ? "composer.demo" : "composer.mistakes")}
        </span>{" "}
        <span class="keys">{t("composer.keys")}</span>
      </p>
    </footer>
  );
}
