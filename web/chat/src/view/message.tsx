/** One message: a question with its editor, or an answer with what can be done about it. */

import { Component } from "preact";
import { useRef } from "preact/hooks";
import { useApp } from "../app/app.js";
import { draftOf, keepDraft } from "../app/local.js";
import { announce, tell } from "../app/notices.js";
import { language, number, t } from "../i18n/index.js";
import type { Message } from "../store/types.js";
import { Icon } from "./icons.js";
import { Markdown } from "./markdown.js";
import { composes, CopyButton, focusPage } from "./parts.js";
import { SentDocument } from "./sent.js";
import { Thinking } from "./unanswered.js";

/** What a message is drawn from. */
export interface MessageProps {
  message: Message;
  /** Ids of all versions at this place. */
  versions: readonly string[];
  /** Whether it is the last of its branch. */
  last: boolean;
  /** Whether this tab writes it. */
  mine: boolean;
  /** Whether any answer is being written here: then nothing else can be begun. */
  busy: boolean;
  editing: boolean;
  /** Whether a document stands before it. */
  documents: boolean;
}

/** Tokens from which it is worth telling that they were not read again. */
const MANY = 512;

function Versions({ message, versions }: Pick<MessageProps, "message" | "versions">) {
  const { talk } = useApp();
  if (versions.length < 2) return null;
  const at = versions.indexOf(message.id);
  const go = (to: number) => talk.show(versions[to] as string);
  return (
    <div class="versions" role="group" aria-label={t("talk.versionSaid", { at: at + 1, of: versions.length })}>
      <button type="button" class="small" aria-label={t("talk.older")} aria-disabled={at === 0} onClick={() => at > 0 && go(at - 1)}>
        <Icon name="before" />
      </button>
      <small>{t("talk.version", { at: at + 1, of: versions.length })}</small>
      <button type="button" class="small" aria-label={t("talk.newer")} aria-disabled={at === versions.length - 1} onClick={() => at < versions.length - 1 && go(at + 1)}>
        <Icon name="after" />
      </button>
    </div>
  );
}

function Editor({ message, busy }: Pick<MessageProps, "message" | "busy">) {
  const { talk, sent } = useApp();
  const box = useRef<HTMLTextAreaElement>(null);
  const key = `edit ${message.id}`;
  const close = () => {
    const text = box.current?.value ?? "";
    keepDraft(key, "");
    talk.editing.value = undefined;
    focusPage();
    const back = () => {
      keepDraft(key, text);
      // Who has gone on with another chat stays there; the draft is kept until it is edited again.
      if (talk.chat.value !== null && talk.chat.value !== message.chat) return;
      talk.open(message.chat);
      void talk.loaded.then(() => (talk.editing.value = message.id));
    };
    // Escape is pressed by accident too.
    if (text.trim() !== "" && text !== message.content) tell(t("talk.editDropped"), { action: { label: t("app.undo"), go: back } });
  };
  const send = () => {
    const text = box.current?.value ?? "";
    if (busy) return announce(t("talk.answering"));
    if (text.trim() === "") return;
    focusPage();
    void sent.edit(message.id, text).catch(() => tell(t("composer.notKept")));
  };
  const size = (field: HTMLTextAreaElement) => {
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight + 2}px`;
  };
  const begin = (field: HTMLTextAreaElement | null) => {
    if (!field || field === box.current) return;
    box.current = field;
    field.value = draftOf(key) || message.content;
    size(field);
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  };
  return (
    <form class="editor" onSubmit={(event) => (event.preventDefault(), send())}>
      <textarea
        dir="auto"
        aria-label={t("talk.editLabel")}
        ref={begin}
        onInput={(event) => (size(event.currentTarget), keepDraft(key, event.currentTarget.value))}
        onKeyDown={(event) => {
          if (composes(event)) return;
          if (event.key === "Escape") close();
          else if (event.key === "Enter" && !event.shiftKey) send();
          else return;
          event.preventDefault();
          event.stopPropagation();
        }}
      />
      <p class="help">{t("talk.editHelp")}</p>
      <div class="buttons">
        <button type="submit" class="primary" aria-disabled={busy}>
          {t("talk.send")}
        </button>
        <button type="button" class="plain" onClick={close}>
          {t("app.cancel")}
        </button>
      </div>
    </form>
  );
}

function Question({ message, versions, busy, editing }: MessageProps) {
  const { talk } = useApp();
  return (
    <article class={message.role}>
      <h2 class="hidden-visually">{`${t(message.role === "system" ? "talk.system" : "talk.you")}:`}</h2>
      {editing ? (
        <Editor message={message} busy={busy} />
      ) : (
        <>
          <button type="button" class="small edit" onClick={() => (talk.editing.value = message.id)}>
            {t("talk.edit")}
          </button>
          <div class="said">
            {message.attachments?.map((one) => (
              <SentDocument key={one.id} message={message} one={one} busy={busy} />
            ))}
            <div class="body" dir="auto">
              {message.content}
            </div>
            <Versions message={message} versions={versions} />
          </div>
        </>
      )}
    </article>
  );
}

/** The small print of an answer. */
export function factsOf({ ending, tokens, speed, facts, dropped, content }: Message): string {
  if (facts !== undefined && tokens === undefined) return [ending && t(`talk.ended.${ending}`), facts].filter(Boolean).join(" · ");
  const parts: string[] = [];
  if (ending) parts.push(t(`talk.ended.${ending}`));
  if (dropped) parts.push(t("talk.dropped", { count: dropped }));
  if (tokens !== undefined && content !== "") parts.push(t("talk.tokens", { count: tokens }));
  if (speed) parts.push(t("talk.speed", { speed: number(speed, 1) }));
  return parts.join(" · ");
}

/** Reads an answer aloud, where this device has a voice for its language. */
function AloudButton({ id, content }: Message) {
  const { aloud, languageOf } = useApp().voice.value ?? {};
  if (!aloud || !languageOf || content.trim() === "") return null;
  const code = languageOf(content, language.value);
  if (!aloud.voiceFor(code)) return null;
  const reading = aloud.reading.value === id;
  return (
    <button type="button" class="small aloud" onClick={() => (reading ? aloud.stop() : aloud.read(id, content, code))}>
      {t(reading ? "talk.aloudStop" : "talk.aloud")}
    </button>
  );
}

/** Where messages were left out: the context may grow, as far as the device allows it. */
function LongerButton({ id }: Message) {
  const { talk } = useApp();
  const tokens = talk.longerAt(id);
  if (tokens === undefined) return null;
  const grow = () => {
    // The button goes.
    focusPage();
    void talk.growAt(id, tokens);
  };
  return (
    <button type="button" class="small longer" onClick={grow}>
      {t("way.context", { tokens: number(tokens) })}
    </button>
  );
}

function Answer({ message, versions, last, mine, busy, documents }: MessageProps) {
  const { talk } = useApp();
  const { id, content, ending, prompt, cached, model } = message;
  const writing = ending === "writing";
  const read = prompt === undefined ? "" : t("talk.read", { cached: cached ?? 0, prompt });
  const start = (act: () => Promise<void>) => () => {
    focusPage();
    void act();
  };
  return (
    <article class={writing ? "assistant writing" : "assistant"}>
      <h2 class="hidden-visually">{`${t("talk.model")}:`}</h2>
      {message.server !== undefined && <p class="from-server">{t("server.from", { host: message.server })}</p>}
      {writing && content.trim() === "" ? <Thinking mine={mine} /> : <Markdown text={content} live={writing} />}
      {writing && !mine && <p class="elsewhere">{t("talk.elsewhere")}</p>}
      {!writing && (
        <div class="meta">
          <Versions message={message} versions={versions} />
          <CopyButton label={t("talk.copy")} text={() => content} />
          <AloudButton {...message} />
          {last && !busy && (
            <button type="button" class="small regenerate" onClick={start(() => talk.again(id))}>
              {t("talk.again")}
            </button>
          )}
          {last && !busy && ending !== undefined && (
            <button type="button" class="small continue" onClick={start(() => talk.continue(id))}>
              {t("talk.continue")}
            </button>
          )}
          {documents && prompt !== undefined && cached !== undefined && cached >= MANY && cached >= prompt / 2 && (
            <span class="remembered">{t("talk.remembered", { cached: number(cached), prompt: number(prompt) })}</span>
          )}
          <span title={[read, model].filter(Boolean).join(" · ")}>{factsOf(message)}</span>
          {last && !busy && (message.dropped ?? 0) > 0 && <LongerButton {...message} />}
        </div>
      )}
    </article>
  );
}

const same = (a: object, b: object) =>
  JSON.stringify(a) === JSON.stringify(b);

/** A message; it is drawn again only when something of it has changed. */
export class MessageView extends Component<MessageProps> {
  override shouldComponentUpdate(next: MessageProps): boolean {
    const { message, versions, ...rest } = this.props;
    const { message: nextMessage, versions: nextVersions, ...nextRest } = next;
    if (!same(rest, nextRest) || versions.join() !== nextVersions.join()) return true;
    return message !== nextMessage && !same(message, nextMessage);
  }

  override render() {
    return this.props.message.role === "assistant" ? <Answer {...this.props} /> : <Question {...this.props} />;
  }
}
