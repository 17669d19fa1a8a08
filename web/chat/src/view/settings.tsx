/** The settings: how answers are made, what the model is told first, how the page looks. */

import "../dialogs.css";
import { PRESETS, RANGES, SAMPLING, within, type Settings } from "../app/settings.js";
import { useApp } from "../app/app.js";
import { needOf } from "../app/footprint.js";
import { OFFERS } from "../app/offers.js";
import { bytes, LANGUAGES, number, t, type Key } from "../i18n/index.js";
import { needWords } from "./need.js";

type NumberField = keyof typeof RANGES;

/** Ids of fields, which are in use elsewhere too. */
const idOf = (field: string) => field.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** A number with a sentence about it. */
function Field({ field, step, optional }: { field: Exclude<NumberField, "temperature">; step: number; optional?: boolean }) {
  const { settings } = useApp();
  const [least, most] = RANGES[field];
  const help = `settings.${field}Help` as Key;
  const id = idOf(field);
  const set = (input: HTMLInputElement) => {
    const value = input.value.trim() === "" ? undefined : within(field, Number(input.value));
    const fallback = optional ? null : SAMPLING[field as keyof typeof SAMPLING];
    settings.value = { ...settings.value, [field]: value ?? fallback };
  };
  const hasHelp = field !== "maxTokens";
  return (
    <>
      <label class="row" for={id}>
        <span>{t(`settings.${field}` as Key)}</span>
        <input
          type="number"
          id={id}
          min={least}
          max={most}
          step={step}
          inputMode={step >= 1 ? "numeric" : "decimal"}
          aria-describedby={hasHelp ? `${id}-help` : undefined}
          defaultValue={String(settings.value[field] ?? "")}
          onInput={(event) => set(event.currentTarget)}
          onBlur={(event) => (event.currentTarget.value = String(settings.value[field] ?? ""))}
        />
      </label>
      {hasHelp && (
        <p class="help" id={`${id}-help`}>
          {t(help)}
        </p>
      )}
    </>
  );
}

/** A few values of which one is chosen. */
function Segments<K extends "theme" | "whenFull" | "kvType" | "device">({ field, values }: { field: K; values: readonly Settings[K][] }) {
  const { settings } = useApp();
  return (
    <div class="segments" role="radiogroup" aria-label={t(`settings.${field}` as Key)} id={`${idOf(field)}-choice`}>
      {values.map((value) => (
        <label key={value}>
          <input
            type="radio"
            name={field}
            value={value}
            checked={settings.value[field] === value}
            onChange={() => (settings.value = { ...settings.value, [field]: value })}
          />
          <span>{t(`settings.${field}.${value}` as Key)}</span>
        </label>
      ))}
    </div>
  );
}

function Answers() {
  const { settings } = useApp();
  const { temperature } = settings.value;
  const change = (what: Partial<Settings>) => (settings.value = { ...settings.value, ...what });
  return (
    <fieldset>
      <legend>{t("settings.answers")}</legend>
      <div class="buttons presets" role="group" aria-label={t("settings.preset")}>
        {(Object.keys(PRESETS) as (keyof typeof PRESETS)[]).map((name) => {
          const all = Object.entries(PRESETS[name]).every(([field, value]) => settings.value[field as keyof Settings] === value);
          return (
            <button key={name} type="button" class="plain" aria-pressed={all} onClick={() => change(PRESETS[name])}>
              {t(`settings.preset.${name}` as Key)}
            </button>
          );
        })}
      </div>
      <label class="row" for="temperature">
        <span>{t("settings.temperature")}</span>
        <output id="temperature-value" for="temperature">
          {temperature === 0 ? t("settings.temperatureZero") : number(temperature, 1)}
        </output>
      </label>
      <input
        type="range"
        id="temperature"
        min="0"
        max="1.5"
        step="0.1"
        aria-describedby="temperature-help"
        value={temperature}
        onInput={(event) => change({ temperature: Number(event.currentTarget.value) })}
      />
      <p class="help" id="temperature-help">
        {t("settings.temperatureHelp")}
      </p>
      <Field field="maxTokens" step={1} />
      <details class="further">
        <summary>{t("settings.more")}</summary>
        <Field field="topP" step={0.01} />
        <Field field="topK" step={1} />
        <Field field="minP" step={0.01} />
        <Field field="repetitionPenalty" step={0.01} />
        <Field field="presencePenalty" step={0.1} />
        <Field field="frequencyPenalty" step={0.1} />
        <Field field="seed" step={1} optional />
        <button type="button" class="plain" onClick={() => change(SAMPLING)}>
          {t("settings.reset")}
        </button>
      </details>
    </fieldset>
  );
}

/** What the chosen context costs, of the model in use. */
function Cost() {
  const { models, settings } = useApp();
  const { choice, where } = models;
  const offer = OFFERS.find(({ model }) => choice.value.kind === "remote" && model === choice.value.model);
  const info = where.value;
  const loaded = info && info.where !== "server" ? `${info.model.name}: ${t("models.memoryIs", { needed: bytes(info.memory.needed) })}` : "";
  return (
    <p class="help" id="context-cost">
      {offer ? `${offer.name}: ${needWords(needOf(offer.shape, settings.value))}` : loaded}
    </p>
  );
}

function Memory() {
  const app = useApp();
  return (
    <fieldset>
      <legend>{t("settings.memory")}</legend>
      <p class="row">{t("settings.whenFull")}</p>
      <Segments field="whenFull" values={["stop", "drop"]} />
      <details class="further">
        <summary>{t("settings.contextLength")}</summary>
        <Field field="contextLength" step={1} optional />
        <Cost />
        <Field field="memoryLimit" step={0.1} optional />
        <p class="row">{t("settings.kvType")}</p>
        <Segments field="kvType" values={["f16", "q8"]} />
        <p class="help">{t("settings.kvTypeHelp")}</p>
        <p class="row">{t("settings.device")}</p>
        <Segments field="device" values={["auto", "gpu", "cpu"]} />
        <p class="help">{t("settings.deviceHelp")}</p>
        <button
          type="button"
          class="plain"
          onClick={() => {
            app.dialog.value = undefined;
            void app.models.load();
          }}
        >
          {t("settings.apply")}
        </button>
      </details>
    </fieldset>
  );
}

export function SettingsSheet() {
  const { settings } = useApp();
  const { instructions } = settings.value;
  return (
    <>
      <Answers />
      <fieldset>
        <legend id="instructions-legend">{t("settings.instructions")}</legend>
        <textarea
          id="global-instructions"
          rows={3}
          dir="auto"
          aria-labelledby="instructions-legend"
          aria-describedby="global-instructions-help"
          value={instructions}
          onInput={(event) => (settings.value = { ...settings.value, instructions: event.currentTarget.value })}
        />
        <p class="help" id="global-instructions-help">
          {t("settings.instructionsHelp")}
        </p>
      </fieldset>
      <Memory />
      <fieldset>
        <legend>{t("settings.appearance")}</legend>
        <Segments field="theme" values={["system", "light", "dark"]} />
        {Object.keys(LANGUAGES).length > 1 && (
          <label class="row" for="language">
            <span>{t("settings.language")}</span>
            <select
              id="language"
              value={settings.value.language ?? ""}
              onChange={(event) => (settings.value = { ...settings.value, language: event.currentTarget.value || null })}
            >
              <option value="">{t("settings.languageSystem")}</option>
              {Object.entries(LANGUAGES).map(([code, name]) => (
                <option key={code} value={code} lang={code}>
                  {name}
                </option>
              ))}
            </select>
          </label>
        )}
      </fieldset>
    </>
  );
}
