/** The card under the conversation: loading, or what went wrong and what to do. */

import { useComputed, useSignalEffect } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { useApp } from "../app/app.js";
import { hostOf } from "../app/engine.js";
import { titleOf, type Fault } from "../app/faults.js";
import type { Consent, Loading } from "../app/models.js";
import { announce } from "../app/notices.js";
import { nameOf } from "../app/offers.js";
import type { Paused } from "../app/paused.js";
import { bytes, duration, language, t } from "../i18n/index.js";
import { focusPage } from "./parts.js";

function detailOf({ progress }: Loading): string {
  if (progress?.phase === "download") {
    const { loaded, total, rate, resumedFrom } = progress;
    const here = total > 0 ? t("load.here", { loaded: bytes(loaded), total: bytes(total) }) : t("load.hereUnknown", { loaded: bytes(loaded) });
    const before = resumedFrom > 0 && resumedFrom < total ? ` (${t("load.before", { bytes: bytes(resumedFrom) })})` : "";
    const arriving = rate > 0 && loaded < total;
    const left = arriving ? `, ${t("load.rate", { bytes: bytes(rate) })}, ${t("load.left", { time: duration((total - loaded) / rate) })}` : "";
    return `${here}${before}${left}`;
  }
  if (progress?.phase === "quantize") return t("load.quantize", { loaded: bytes(progress.loaded), total: bytes(progress.total) });
  if (progress?.phase === "upload") {
    const { loaded, total, rate } = progress;
    return `${t("load.upload", { loaded: bytes(loaded), total: bytes(total) })}${rate > 0 ? `, ${t("load.rate", { bytes: bytes(rate) })}` : ""}`;
  }
  if (progress?.phase === "compile") return t("load.compile", { done: progress.done, total: progress.total });
  if (progress?.phase === "check") return t("load.check");
  return t("load.starting");
}

function LoadingCard({ loading }: { loading: Loading }) {
  const { models } = useApp();
  const old = models.engine.value?.info.model.name;
  const pause = () => {
    models.pause();
    // The button has gone with its card.
    requestAnimationFrame(() => document.getElementById("go-on")?.focus());
  };
  return (
    <section id="status" class="loading">
      <h2>{t("load.title", { name: loading.name })}</h2>
      <progress max={1} value={loading.progress ? loading.bar : undefined} aria-label={t("load.bar")} />
      <p>{detailOf(loading)}</p>
      {old && <p>{t("load.meanwhile", { name: old })}</p>}
      <div class="buttons">
        {loading.download && (
          <button type="button" class="primary" id="pause" onClick={pause}>
            {t("load.pause")}
          </button>
        )}
        <button type="button" class="plain" onClick={loading.stop}>
          {t("load.stop")}
        </button>
      </div>
    </section>
  );
}

/** A download that waits for the person. */
function PausedCard({ paused }: { paused: Paused }) {
  const { models } = useApp();
  const { model, loaded, total } = paused;
  const share = loaded / total;
  const percent = Math.min(share, 0.99).toLocaleString(language.value, { style: "percent" });
  const act = (what: () => void) => () => {
    what();
    focusPage();
  };
  return (
    <section id="status" class="paused">
      <h2>{t("load.paused", { name: nameOf({ kind: "remote", model }), percent })}</h2>
      <progress max={1} value={share} aria-label={t("load.bar")} />
      <p>{t("load.here", { loaded: bytes(loaded), total: bytes(total) })}</p>
      <div class="buttons">
        <button type="button" class="primary" id="go-on" onClick={act(() => models.goOn())}>
          {t("way.goOn")}
        </button>
        <button type="button" class="plain" onClick={act(() => models.forgetPaused())}>
          {t("load.later")}
        </button>
      </div>
    </section>
  );
}

/** Before anything is sent to a server that the person has named: may it be asked? */
function ConsentCard({ consent: { info, answer } }: { consent: Consent }) {
  const host = hostOf(info);
  const title = t("server.may", { host });
  const why = info.error ? titleOf(info.error, "load") : "";
  useEffect(() => announce(`${title} ${why}`), [title]);
  const choose = (yes: boolean) => () => {
    answer(yes);
    focusPage();
  };
  return (
    <section id="status" class="consent">
      <h2>{title}</h2>
      <p>
        {why} {t("server.mayWhy", { host })}
      </p>
      <p class="detail" dir="ltr" tabIndex={0}>
        {info.address} · {info.model.name}
      </p>
      <div class="buttons">
        <button type="button" class="primary" id="let-server" onClick={choose(true)}>
          {t("server.yes")}
        </button>
        <button type="button" class="plain" onClick={choose(false)}>
          {t("server.no")}
        </button>
      </div>
    </section>
  );
}

function FaultCard({ fault }: { fault: Fault }) {
  useEffect(() => announce(`${fault.title} ${fault.advice}`), [fault]);
  return (
    <section id="status" class="failed">
      <h2>{fault.title}</h2>
      <p>{fault.advice}</p>
      {fault.detail && (
        <p class="detail" tabIndex={0} dir="auto">
          {fault.detail}
        </p>
      )}
      <div class="buttons">
        {fault.ways.map(({ label, go }, i) => (
          <button key={label} type="button" class={i === 0 ? "primary" : "plain"} onClick={go}>
            {label}
          </button>
        ))}
      </div>
    </section>
  );
}

/** One card at a time: what stands in the way comes before what is going on. */
export function Status({ reveal }: { reveal: () => void }) {
  const { models, talk } = useApp();
  const card = useComputed(() => models.consent.value ?? models.fault.value ?? talk.fault.value ?? models.loading.value?.choice ?? models.paused.value);
  useSignalEffect(() => {
    if (card.value) reveal();
  });
  if (models.consent.value) return <ConsentCard consent={models.consent.value} />;
  const fault = models.fault.value ?? talk.fault.value;
  if (fault) return <FaultCard fault={fault} />;
  if (models.loading.value) return <LoadingCard loading={models.loading.value} />;
  if (models.paused.value) return <PausedCard paused={models.paused.value} />;
  return <section id="status" hidden />;
}
