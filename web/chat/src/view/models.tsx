/**
 * The dialog for models: which one runs, which others there are, and what is kept on this device.
 */

import "../dialogs.css";
import { useSignal } from "@preact/signals";
import { deleteModel, exportModel, listModels, persist, storageEstimate, type EngineInfo, type StoredModel } from "peregrine";
import { useEffect, useRef } from "preact/hooks";
import { useApp } from "../app/app.js";
import { asOurs, faultOf, titleOf } from "../app/faults.js";
import { budgetOf, needOf } from "../app/footprint.js";
import { isSame, type Choice } from "../app/models.js";
import { offerFile } from "../app/saving.js";
import { license, nameOf, OFFERS, RECOMMENDED, type Offer } from "../app/offers.js";
import { bytes, number, parameters, t } from "../i18n/index.js";
import { useLive } from "./live.js";
import { HeaderCheck, needWords, verdictOf } from "./need.js";
import { ServerSection } from "./server.js";

/** Bytes from which a download is asked about first. */
const BIG = 200e6;

interface Connection {
  saveData?: boolean;
  type?: string;
}
/** Whether the connection seems to be paid by what goes over it. */
function isMetered(): boolean {
  const { connection } = navigator as { connection?: Connection };
  return connection?.saveData === true || connection?.type === "cellular";
}

/** Whether a model is likely to run here, as far as a page can know. */
function outlook(size: number): string {
  const memory = (navigator as { deviceMemory?: number }).deviceMemory;
  // Browsers tell at most 8 GB, and nothing of the GPU's own memory.
  if (memory !== undefined && memory < 8 && memory * 1e9 < 2.5 * size) return t("models.tooLarge", { memory });
  return "";
}

/** What the processor will come to, as answers say it. */
const speedOf = ({ tokensPerSecond = 0 }: EngineInfo["device"]) => t("talk.speed", { speed: number(tokensPerSecond, tokensPerSecond < 10 ? 1 : 0) });

function Facts() {
  const { models } = useApp();
  const found = models.where.value;
  const server = found?.where === "server" ? found : undefined;
  const info = found?.where === "server" ? undefined : found;
  const rows: [string, string][] = server
    ? [
        [t("models.name"), server.model.name],
        [t("models.runsOn"), server.address],
      ]
    : info
    ? [
        [t("models.name"), info.model.name],
        [t("models.size"), t("models.sizeIs", { parameters: parameters(info.model.parameters), bytes: bytes(info.model.bytes) })],
        [t("models.formats"), info.model.formats],
        [t("models.remembers"), t("models.remembersIs", { tokens: number(info.model.contextLength) })],
        [t("models.memory"), t("models.memoryIs", { needed: bytes(info.memory.needed) })],
        [t("models.runsOn"), info.device.name],
      ]
    : [[t("models.name"), t("models.none")]];
  const notes = [
    server?.error && `${titleOf(server.error, "load")} ${server.error.message}`,
    info?.device.software && (info.device.kind === "cpu" ? t(info.device.why.kind === "the app asked for it" ? "models.processorChosen" : "models.processor", { speed: speedOf(info.device) }) : t("models.software")),
    info?.device.why.selfCheck?.startsWith("not used") && t("models.wrongWays"),
    models.choice.value.kind === "remote" && info && !info.storage.kept && t("models.notStored", { why: info.storage.why }),
  ].filter(Boolean);
  return (
    <section aria-label={t("models.inUse")}>
      <dl id="facts">
        {rows.map(([key, value]) => [<dt key={key}>{key}</dt>, <dd key={`${key} value`}>{value}</dd>])}
      </dl>
      <p class="help" id="facts-note">
        {notes.join(" ")}
      </p>
      {info && <DeviceCheck />}
    </section>
  );
}

/** Compares the device with the processor, when a person asks for it. */
function DeviceCheck() {
  const { models } = useApp();
  const told = useSignal("");
  const busy = useSignal(false);
  const check = async () => {
    const engine = models.engine.value;
    if (!engine || busy.value) return;
    busy.value = true;
    told.value = t("models.checking", { done: number(0) });
    try {
      const report = await engine.check({ onProgress: (done) => done % 50 === 0 && (told.value = t("models.checking", { done: number(done) })) });
      told.value = report.ok ? t("models.checkRight") : t("models.checkWrong", { what: report.first });
    } catch (error) {
      told.value = t("models.checkFailed", { why: asOurs(error).message });
    } finally {
      busy.value = false;
    }
  };
  return (
    <div class="device-check">
      <button type="button" class="plain" id="check-device" aria-describedby="check-help" aria-disabled={busy.value} onClick={() => void check()}>
        {t("models.check")}
      </button>
      <p class="help" id="check-help" role="status">
        {told.value || t("models.checkHelp")}
      </p>
    </div>
  );
}

interface RowProps {
  name: string;
  /** Each a line. */
  facts: readonly string[];
  recommended?: boolean;
  choice: Choice;
  verb: string;
  choose: (choice: Choice) => void;
}

function Row({ name, facts, recommended, choice, verb, choose }: RowProps) {
  const { models } = useApp();
  const running = models.engine.value !== undefined && isSame(choice, models.choice.value);
  const label = running ? t("models.used") : verb;
  return (
    <li>
      <div>
        <strong>
          {name} {recommended && <em class="badge">{t("models.recommended")}</em>}
        </strong>
        {facts.map((line) => (
          <span key={line}>{line}</span>
        ))}
      </div>
      <button type="button" class={recommended && !running ? "primary" : "plain"} disabled={running} aria-label={t("models.useLabel", { verb: label, name })} onClick={() => choose(choice)}>
        {label}
      </button>
    </li>
  );
}

function OfferRow({ offer, stored, recommended, choose }: { offer: Offer; stored: readonly StoredModel[]; recommended: boolean; choose: (choice: Choice) => void }) {
  const { models, settings } = useApp();
  const budget = budgetOf(settings.value);
  const here = stored.find(({ model }) => model === offer.model);
  const paused = models.paused.value?.model === offer.model && models.paused.value;
  const state = here?.complete
    ? t("models.here")
    : here
      ? [paused && t("models.paused"), t("models.partly", { stored: bytes(here.stored), size: bytes(here.size) })].filter(Boolean).join(": ")
      : t("models.toDownload", { size: bytes(offer.bytes) });
  const need = needOf(offer.shape, settings.value);
  const facts = [
    [t(offer.about), t("models.languages", { count: offer.languages }), license].join(" · "),
    [state, outlook(offer.bytes)].filter(Boolean).join(" · "),
    [needWords(need), verdictOf(offer.shape, need, settings.value)].filter(Boolean).join(" · "),
  ];
  const verb = t(here && !here.complete ? "models.goOn" : "models.use");
  const fits = budget === null || need.first <= budget;
  return <Row name={offer.name} facts={facts} recommended={recommended && fits} choice={{ kind: "remote", model: offer.model }} verb={verb} choose={choose} />;
}

/** Asks before much is downloaded. */
function Ask({ offer, room, answer }: { offer: Offer; room: number | undefined; answer: (yes: boolean) => void }) {
  const title = useRef<HTMLHeadingElement>(null);
  useEffect(() => title.current?.focus(), []);
  const tight = room !== undefined && room < offer.bytes * 1.1;
  return (
    <section class="ask" aria-labelledby="ask-title">
      <h3 id="ask-title" tabIndex={-1} ref={title}>
        {t("models.ask", { size: bytes(offer.bytes) })}
      </h3>
      <p>{t("models.askText", { name: offer.name })}</p>
      {isMetered() && <p>{t("models.askMetered")}</p>}
      {tight && <p>{t("models.askRoom", { room: bytes(room) })}</p>}
      <p>{t("models.license", { name: license })}</p>
      <HeaderCheck model={offer.model} begin={!isMetered()} />
      <div class="buttons">
        <button type="button" class="primary" onClick={() => answer(true)}>
          {t("models.download")}
        </button>
        <button type="button" class="plain" onClick={() => answer(false)}>
          {t("app.cancel")}
        </button>
      </div>
    </section>
  );
}

function Stored({ model, changed, choose }: { model: StoredModel; changed: (note: string) => void; choose: (choice: Choice) => void }) {
  const app = useApp();
  const { models } = app;
  const choice: Choice = { kind: "remote", model: model.model };
  const running = models.engine.value !== undefined && isSame(choice, models.choice.value);
  const facts = model.complete ? bytes(model.size) : t("models.storedPartly", { stored: bytes(model.stored), size: bytes(model.size) });
  const remove = async () => {
    try {
      await deleteModel(model.id);
      // An older tab may keep the database shut: the model is gone all the same.
      void app.forgetModel(model.model).then((adapters) => adapters > 0 && changed(t("models.deletedWith", { name: model.model })));
      changed(t("models.deleted", { name: model.model }));
    } catch (error) {
      const { title, advice } = faultOf(asOurs(error), "load", []);
      changed(`${title} ${advice}`);
    }
    document.getElementById("models-title")?.focus();
  };
  const offered = OFFERS.some((offer) => offer.model === model.model);
  const name = nameOf(choice);
  const save = async () => {
    try {
      for (const file of await exportModel(model.id)) offerFile(file.name, file);
    } catch (error) {
      changed(titleOf(asOurs(error), "load"));
    }
  };
  return (
    <li>
      <div>
        <strong>{model.model.startsWith("stored:") ? name : model.model}</strong>
        <span>{facts}</span>
      </div>
      {!offered && !running && (model.complete || !model.model.startsWith("stored:")) && (
        <button type="button" class="plain" aria-label={t("models.useLabel", { verb: t("models.use"), name: model.model })} onClick={() => choose(choice)}>
          {t("models.use")}
        </button>
      )}
      {model.complete && model.model.startsWith("stored:") && (
        <button type="button" class="plain" aria-label={t("models.saveLabel", { name })} onClick={() => void save()}>
          {t("models.save")}
        </button>
      )}
      <button type="button" class="plain" aria-label={t("models.deleteLabel", { name: model.model })} onClick={() => void remove()}>
        {t("models.delete")}
      </button>
    </li>
  );
}

interface Storage {
  usage: number;
  quota: number;
  persisted: boolean;
}

export function ModelsSheet() {
  const app = useApp();
  const field = useRef<HTMLInputElement>(null);
  const chooser = useRef<HTMLInputElement>(null);
  const stored = useSignal<readonly StoredModel[]>([]);
  const storage = useSignal<Storage | undefined>(undefined);
  const note = useSignal("");
  const { asking } = app;
  const typed = useSignal("");
  const Adapters = useSignal<typeof import("./adapters.js").Adapters | undefined>(undefined);
  const refresh = async () => {
    stored.value = await listModels().catch(() => []);
    storage.value = await storageEstimate().catch(() => undefined);
  };
  useEffect(() => {
    void refresh();
    void import("./adapters.js").then((part) => (Adapters.value = part.Adapters), () => undefined);
    return () => (asking.value = undefined);
  }, []);
  const changed = (text: string) => {
    note.value = text;
    void refresh();
  };
  const load = (choice: Choice) => {
    app.dialog.value = undefined;
    void app.models.load(choice);
  };
  const choose = (choice: Choice) => {
    const offer = choice.kind === "remote" ? OFFERS.find(({ model }) => model === choice.model) : undefined;
    const here = stored.value.some(({ model, complete }) => model === offer?.model && complete);
    if (offer && !here && (offer.bytes > BIG || isMetered())) asking.value = offer;
    else load(choice);
  };
  const chooseFolder = (input: HTMLInputElement) => {
    const files = [...(input.files ?? [])];
    input.value = "";
    if (files.length === 0) return;
    app.dialog.value = undefined;
    void app.openFolder(files);
  };
  const submit = (event: Event) => {
    event.preventDefault();
    const model = field.current?.value.trim() ?? "";
    if (model === "") field.current?.focus();
    else load({ kind: "remote", model });
  };
  const { value: asked } = asking;
  const info = app.models.where.value;
  const isHardware = info !== undefined && info.where !== "server" && info.device.software === false;
  const kept = storage.value;
  const read = useLive(async ({ db }) => (await db.states.toArray()).reduce((sum, { state }) => sum + state.size, 0)) ?? 0;
  if (asked) {
    const room = kept && kept.quota > 0 ? kept.quota - kept.usage : undefined;
    return <Ask offer={asked} room={room} answer={(yes) => (yes ? load({ kind: "remote", model: asked.model }) : (asking.value = undefined))} />;
  }
  return (
    <>
      <Facts />
      <section aria-labelledby="offers-title">
        <h3 id="offers-title">{t("models.choose")}</h3>
        <ul class="models" id="offers">
          <Row name={t("models.demo")} facts={[t("models.demoAbout")]} choice={{ kind: "embedded" }} verb={t("models.use")} choose={choose} />
          {OFFERS.map((offer) => (
            <OfferRow key={offer.model} offer={offer} stored={stored.value} recommended={offer === RECOMMENDED && isHardware} choose={choose} />
          ))}
        </ul>
        <p class="help">{t("models.official")}</p>
        <p class="help" id="memory-note">
          {t(app.settings.value.memoryLimit === null ? "models.unknownMemory" : "models.limitedMemory", { limit: bytes((app.settings.value.memoryLimit ?? 0) * 1e9) })}
        </p>
        <form id="any" onSubmit={submit}>
          <label for="any-model" class="hidden-visually">
            {t("models.other")}
          </label>
          <input type="text" id="any-model" placeholder={t("models.otherPlaceholder")} autocomplete="off" spellcheck={false} ref={field} onInput={(event) => (typed.value = event.currentTarget.value.trim())} />
          <button type="submit" class="plain">
            {t("models.load")}
          </button>
        </form>
        {typed.value !== "" && <HeaderCheck key={typed.value} model={typed.value} begin={false} />}
        <div class="buttons">
          <button type="button" class="plain" id="open-file" onClick={() => app.openFile()}>
            {t("models.open")}
          </button>
          <button type="button" class="plain" id="open-folder" onClick={() => chooser.current?.click()}>
            {t("models.openFolder")}
          </button>
          <input type="file" id="folder-files" hidden ref={(input) => ((chooser.current = input), input?.setAttribute("webkitdirectory", ""))} onChange={(event) => chooseFolder(event.currentTarget)} />
        </div>
        <p class="help">{t("models.drop")}</p>
        <ServerSection />
      </section>
      {Adapters.value && <Adapters.value app={app} />}
      {stored.value.length > 0 && (
        <section id="stored-part" aria-labelledby="stored-title">
          <h3 id="stored-title">{t("models.stored")}</h3>
          <ul class="models" id="stored">
            {stored.value.map((model) => (
              <Stored key={model.id} model={model} changed={changed} choose={load} />
            ))}
          </ul>
        </section>
      )}
      <p class="help" id="storage">
        {kept && [t("models.storage", { usage: bytes(kept.usage) }), read > 0 && t("models.states", { bytes: bytes(read) }), t(kept.persisted ? "models.kept" : "models.notKept")].filter(Boolean).join(" ")}
      </p>
      {kept?.persisted === false && (
        <button type="button" class="plain" id="keep" onClick={() => void persist().then((granted) => changed(t(granted ? "models.keeps" : "models.keepsNot")))}>
          {t("models.keep")}
        </button>
      )}
      <p class="help" id="storage-note" role="status">
        {note.value}
      </p>
    </>
  );
}
