/** Where an answer is to stand: how far reading is, and what can be done where there is none. */

import { useApp } from "../app/app.js";
import type { Reading } from "../app/reading.js";
import { duration, number, t } from "../i18n/index.js";
import { stateOf } from "../store/states.js";
import type { Message } from "../store/types.js";
import { useLive } from "./live.js";
import { focusPage } from "./parts.js";

/**
 * How far a long conversation is read before it is answered; in this tab only, where it happens.
 */
function ReadingBar({ reading: { done, total, left } }: { reading: Reading }) {
  const words = t("talk.reading", { done: number(done), total: number(total) });
  return (
    <div class="body reading">
      <progress max={total} value={done} aria-label={t("talk.readingLabel")} aria-valuetext={words} />
      <p>{[words, left !== undefined && left >= 1 && t("load.left", { time: duration(left) })].filter(Boolean).join(", ")}</p>
    </div>
  );
}

/** Until the first word comes. */
export function Thinking({ mine = false }: { mine?: boolean }) {
  const { talk } = useApp();
  const reading = mine && talk.writing.value?.reading.value;
  if (reading) return <ReadingBar reading={reading} />;
  return (
    <div class="body">
      <span class="thinking" role="img" aria-label={t("talk.thinking")}>
        <i />
        <i />
        <i />
      </span>
    </div>
  );
}

/** Under a question that has no answer. */
export function Unanswered({ message, waits }: { message: Message; waits: boolean }) {
  const { talk } = useApp();
  const here = talk.stoppedAt.value?.question === message.id && talk.stoppedAt.value;
  // After a reload: what the store has of it.
  const kept = useLive(async ({ db }) => (await stateOf(db, message.chat))?.read, [message.chat]);
  const { reading } = message;
  const stopped = here || (reading && { done: kept?.question === message.id ? kept.tokens : 0, total: reading.total });
  const interrupted = !here && reading?.stopped === undefined;
  if (waits) {
    return (
      <article class="assistant unanswered">
        <Thinking />
        <p class="elsewhere" role="status">
          {t("talk.waiting")}
        </p>
      </article>
    );
  }
  return (
    <article class="assistant unanswered">
      <div class="meta">
        {stopped ? t(interrupted ? "talk.readingInterrupted" : "talk.readingStopped", { done: number(stopped.done), total: number(stopped.total) }) : t("talk.unanswered")}
        <button type="button" class="small" onClick={() => (focusPage(), void talk.answer(message.id))}>
          {t(stopped ? "talk.readOn" : "talk.answer")}
        </button>
      </div>
    </article>
  );
}
