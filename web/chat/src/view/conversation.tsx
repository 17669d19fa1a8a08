/** The conversation: what was said, in the branch that one reads. */

import { useSignal } from "@preact/signals";
import { useCallback, useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { useApp } from "../app/app.js";
import { hostOf } from "../app/engine.js";
import { budgetOf, needOf } from "../app/footprint.js";
import { RECOMMENDED } from "../app/offers.js";
import { bytes, t, type Key } from "../i18n/index.js";
import { Icon } from "./icons.js";
import { MessageView } from "./message.js";
import { focusPage } from "./parts.js";
import { Status } from "./status.js";
import { Unanswered } from "./unanswered.js";

/**
 * What a first visit is told where a real GPU is: the demo is a demo, and this is a model for that
 * GPU.
 */
function Recommended() {
  const app = useApp();
  const info = app.models.where.value;
  const { name, model, bytes: size, shape } = RECOMMENDED;
  const need = needOf(shape, app.settings.value);
  const budget = budgetOf(app.settings.value);
  // What is on its way, or waits, needs no recommendation.
  const busy = app.models.loading.value ?? app.models.paused.value;
  if (app.models.choice.value.kind !== "embedded" || !info || info.where === "server" || info.device.software !== false || busy) return null;
  if (budget !== null && need.first > budget) return null;
  const get = async () => {
    const models = await import("peregrine/download").then(({ listModels }) => listModels()).catch(() => []);
    const here = models.some((one) => one.model === model && one.complete);
    if (here) return app.models.load({ kind: "remote", model });
    app.asking.value = RECOMMENDED;
    app.dialog.value = "models";
  };
  return (
    <section class="recommended" id="recommended" aria-labelledby="recommended-title">
      <h2 id="recommended-title">{t("welcome.recommended", { name })}</h2>
      <p>{t("welcome.recommendedWhy", { device: info.device.name, size: bytes(size), first: bytes(need.first) })}</p>
      <div class="buttons">
        <button type="button" class="primary" id="get-recommended" onClick={() => void get()}>
          {t("welcome.get")}
        </button>
        <button type="button" class="plain" onClick={() => (app.dialog.value = "models")}>
          {t("way.other")}
        </button>
      </div>
    </section>
  );
}

function Welcome({ hidden }: { hidden: boolean }) {
  const app = useApp();
  const host = hostOf(app.models.where.value);
  const suggestions: Key[] = ["welcome.suggestion1", "welcome.suggestion2", "welcome.suggestion3", "welcome.suggestion4"];
  const ask = (text: string) => {
    focusPage();
    void app.sender.suggest(text);
  };
  return (
    <section id="welcome" aria-labelledby="welcome-title" hidden={hidden}>
      <h1 id="welcome-title">
        {t(host ? "server.welcome" : "welcome.title")
          .split("\n")
          .map((line, i) => [i > 0 && <br key={line} />, line])}
      </h1>
      <p class="lead">{host ? t("server.hint", { host }) : t("welcome.lead")}</p>
      <p class="toy" id="toy-note" hidden={app.models.choice.value.kind !== "embedded" || host !== undefined}>
        {t("welcome.demo")} <strong>{t("welcome.demoNot")}</strong> {t("welcome.demoRest")}{" "}
        <button type="button" class="link" id="open-models" onClick={() => (app.dialog.value = "models")}>
          {t("welcome.choose")}
        </button>{" "}
        {t("welcome.chooseRest")}
      </p>
      {!hidden && <Recommended />}
      <div id="suggestions" class="suggestions" role="group" aria-label={t("welcome.suggestions")} hidden={!app.models.engine.value}>
        {suggestions.map((key) => (
          <button key={key} type="button" onClick={() => ask(t(key))}>
            {t(key)}
          </button>
        ))}
      </div>
    </section>
  );
}

/** Pixels from the end that still count as the end. */
const NEAR = 48;

export function Conversation() {
  const { talk } = useApp();
  const scroller = useRef<HTMLElement>(null);
  const column = useRef<HTMLDivElement>(null);
  const following = useRef(true);
  const top = useRef(0);
  const away = useSignal(false);
  const branch = talk.branch.value;
  const tree = talk.tree.value;
  const writing = talk.writing.value;
  const last = branch.at(-1);
  const begun = branch.length > 0 || talk.chat.value !== null;

  /** Keeps the end in view, unless the reader has scrolled up. */
  const follow = useCallback(() => {
    const { current } = scroller;
    if (current && following.current && talk.branch.peek().length > 0) current.scrollTop = current.scrollHeight;
  }, [talk]);
  const toEnd = useCallback(() => {
    following.current = true;
    away.value = false;
    follow();
  }, [follow, away]);
  const reveal = useCallback(() => {
    requestAnimationFrame(() => (talk.branch.peek().length > 0 ? toEnd() : document.getElementById("status")?.scrollIntoView({ block: "nearest" })));
  }, [talk, toEnd]);

  useEffect(() => {
    const observer = new ResizeObserver(follow);
    if (scroller.current) observer.observe(scroller.current);
    if (column.current) observer.observe(column.current);
    return () => observer.disconnect();
  }, [follow]);
  // Another chat, or a question of one's own, is read from its end.
  const asked = branch.findLast(({ role }) => role === "user")?.id;
  useLayoutEffect(() => {
    toEnd();
    if (branch.length === 0 && scroller.current) scroller.current.scrollTop = 0;
  }, [talk.chat.value, asked]);

  const onScroll = () => {
    const { current } = scroller;
    if (!current) return;
    const atEnd = branch.length === 0 || current.scrollHeight - current.scrollTop - current.clientHeight < NEAR;
    // What has grown below is followed; only who scrolls up wants to stay.
    if (atEnd) following.current = true;
    else if (current.scrollTop < top.current - 1) following.current = false;
    top.current = current.scrollTop;
    away.value = !following.current;
  };
  return (
    <main id="scroller" tabIndex={-1} ref={scroller} onScroll={onScroll}>
      <div class="column" ref={column}>
        <Welcome hidden={begun} />
        {begun && <h1 class="hidden-visually">{t("talk.label")}</h1>}
        <section id="messages" aria-label={t("talk.label")}>
          {branch.map((message, depth) => (
            <MessageView
              // By place: a switched version keeps the buttons, and so the focus.
              key={depth}
              message={message}
              versions={tree.versions(message.id).map(({ id }) => id)}
              last={message === last}
              mine={message.id === writing?.id}
              busy={writing !== undefined}
              documents={branch.slice(0, depth).some(({ attachments = [] }) => attachments.length > 0)}
              editing={talk.editing.value === message.id}
            />
          ))}
          {last && last.role !== "assistant" && !writing && <Unanswered key={branch.length} message={last} waits={talk.waiting.value === last.id} />}
        </section>
        <Status reveal={reveal} />
      </div>
      <button type="button" class="jump" id="jump" hidden={!away.value} onClick={() => (toEnd(), focusPage())}>
        <Icon name="down" />
        <span>{t("talk.latest")}</span>
      </button>
    </main>
  );
}
