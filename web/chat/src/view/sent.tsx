/** A document that went along with a question: what of it was read, and what else can be. */

import { useSignal } from "@preact/signals";
import { useApp } from "../app/app.js";
import type { Mode } from "../app/choosing.js";
import { tell } from "../app/notices.js";
import { t } from "../i18n/index.js";
import type { Attachment, Message } from "../store/types.js";
import { Icon } from "./icons.js";
import { focusPage } from "./parts.js";

/** What of a sent document is read, and another use of it. */
function Anew({ message, one, busy }: { message: Message; one: Attachment; busy: boolean }) {
  const { sent } = useApp();
  const { id, name, part } = one;
  const label = t("document.mode", { name });
  const now: Mode = part === undefined ? "whole" : "passages";
  const fits = now === "whole" || sent.fits(message, one);
  const choose = (mode: Mode) => {
    focusPage();
    void sent.choose(message.id, id, mode).catch(() => tell(t("composer.notKept")));
  };
  return (
    <span class="anew">
      <select
        aria-label={label}
        title={fits ? t("document.askAgain") : t("document.tooLong", { name })}
        value={now}
        disabled={busy}
        onChange={(event) => {
          const mode = event.currentTarget.value as Mode;
          // What is shown is what was read; the new version shows the other.
          event.currentTarget.value = now;
          choose(mode);
        }}
      >
        <option value="whole" disabled={!fits}>
          {t("document.whole")}
        </option>
        <option value="passages">{t("document.matching")}</option>
      </select>
      <button type="button" class="small" aria-label={t("document.again", { name })} title={t("document.again", { name })} onClick={() => (focusPage(), void sent.again(message.id, id))}>
        <Icon name="clip" />
      </button>
    </span>
  );
}

/** A document that went along; of one that was read in part, the passages. */
function Passages({ one: { name, part, text } }: { one: Attachment }) {
  const open = useSignal(false);
  if (!part) {
    return (
      <p class="document" dir="auto">
        <Icon name="file" /> {name}
      </p>
    );
  }
  return (
    <details class="document" onToggle={(event) => (open.value = event.currentTarget.open)}>
      <summary dir="auto">
        <Icon name="file" /> {name} ({part})
      </summary>
      {open.value && (
        <div class="passages" dir="auto" tabIndex={0} role="region" aria-label={`${name} (${part})`}>
          {text}
        </div>
      )}
    </details>
  );
}

/** A document of a question. */
export function SentDocument({ message, one, busy }: { message: Message; one: Attachment; busy: boolean }) {
  return (
    <div class="sent">
      <Passages one={one} />
      {one.whole !== undefined && <Anew message={message} one={one} busy={busy} />}
    </div>
  );
}
