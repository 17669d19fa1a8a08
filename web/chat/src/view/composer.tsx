/** Where a person writes. What is written is kept, chat by chat, until it is sent. */

import { useSignal, useSignalEffect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { useApp } from "../app/app.js";
import { draftOf, keepDraft } from "../app/local.js";
import { announce, tell } from "../app/notices.js";
import { number, t } from "../i18n/index.js";
import { Icon, StopIcon } from "./icons.js";

/** How full the context is. */
function Ring() {
  const { models, talk, settings } = useApp();
  const all = models.engine.value?.info.model.contextLength;
  const answer = talk.branch.value.findLast(({ prompt }) => prompt !== undefined);
  if (!all || !answer) return null;
  const used = Math.min(all, (answer.prompt ?? 0) + (answer.tokens ?? 0));
  const share = used / all;
  const what = t("composer.context", { percent: (share).toLocaleString(undefined, { style: "percent" }), used: number(used), all: number(all) });
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

export function Composer() {
  const app = useApp();
  const { talk, models } = app;
  const box = useRef<HTMLTextAreaElement>(null);
  const blank = useSignal(true);
  const writing = talk.writing.value;
  const canSend = models.engine.value !== undefined || models.loading.value !== undefined;
  const ready = models.engine.value !== undefined;

  /** The height follows the text; CSS sets the limit. */
  const changed = () => {
    const { current } = box;
    if (!current) return;
    current.style.height = "auto";
    current.style.height = `${current.scrollHeight}px`;
    blank.value = current.value.trim() === "";
  };
  const fill = (text: string) => {
    if (box.current) box.current.value = text;
    changed();
  };
  // At once when the chat changes: what is written next is the other chat's.
  useSignalEffect(() => fill(draftOf(talk.chat.value)));
  useEffect(() => {
    document.body.classList.toggle("ready", ready);
    if (ready && document.activeElement === document.body) box.current?.focus();
  }, [ready]);

  const submit = async () => {
    const text = box.current?.value ?? "";
    if (text.trim() === "") return;
    if (!canSend) return tell(t("composer.noModel"));
    if (talk.elsewhere.value) return tell(t("composer.elsewhere"));
    if (talk.writing.value && !talk.writing.value.signal.aborted) return announce(t("talk.answering"));
    const chat = talk.chat.value;
    fill("");
    try {
      await talk.ask(text);
      // What is written meanwhile stays.
      if (draftOf(chat) === text) keepDraft(chat, "");
    } catch {
      if (box.current?.value === "") fill(text);
      keepDraft(talk.chat.value, text);
      tell(t("composer.notKept"));
    }
  };
  const onKeyDown = (event: KeyboardEvent) => {
    // While an input method composes a character, Enter chooses it.
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      void submit();
    } else if (event.key === "ArrowUp" && box.current?.value === "") {
      const question = talk.branch.value.findLast(({ role }) => role === "user");
      if (!question) return;
      event.preventDefault();
      talk.editing.value = question.id;
    }
  };
  const stop = () => {
    writing?.stop();
    box.current?.focus();
  };
  return (
    <footer>
      <form class="composer column" id="composer" onSubmit={(event) => (event.preventDefault(), void submit())}>
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
        />
        <button type="submit" class="send" id="send" aria-label={t("composer.send")} disabled={!canSend || blank.value} hidden={writing !== undefined}>
          <Icon name="up" />
        </button>
        <button type="button" class="send stop" id="stop" aria-label={t("composer.stop")} hidden={writing === undefined} onClick={stop}>
          <StopIcon />
        </button>
      </form>
      <p class="hint column" id="hint">
        <Ring />
        <Speed />
        <span id="hint-model">{t(models.choice.value.kind === "embedded" ? "composer.demo" : "composer.mistakes")}</span>{" "}
        <span class="keys">{t("composer.keys")}</span>
      </p>
    </footer>
  );
}
