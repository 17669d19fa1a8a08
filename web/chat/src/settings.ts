/** What the person has chosen, kept in this browser. */

import { byId } from "./dom.js";

/** Settings of the page. */
export interface Settings {
  temperature: number;
  maxTokens: number;
  theme: "system" | "light" | "dark";
}

const KEY = "peregrine.settings";
const DEFAULTS: Settings = { temperature: 0.4, maxTokens: 512, theme: "system" };

function stored(): Settings {
  try {
    const found = JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Settings>;
    const settings = { ...DEFAULTS };
    if (typeof found.temperature === "number" && found.temperature >= 0 && found.temperature <= 1.5) settings.temperature = found.temperature;
    if (Number.isInteger(found.maxTokens) && (found.maxTokens as number) >= 1) settings.maxTokens = found.maxTokens as number;
    if (found.theme === "light" || found.theme === "dark") settings.theme = found.theme;
    return settings;
  } catch {
    return { ...DEFAULTS };
  }
}

/** The settings now; {@link watchSettings} keeps them up to date. */
export const settings: Settings = stored();

function save(): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // Private windows may have no storage: then the settings last as long as the page.
  }
}

function applyTheme(): void {
  const root = document.documentElement;
  if (settings.theme === "system") delete root.dataset.theme;
  else root.dataset.theme = settings.theme;
  for (const radio of document.querySelectorAll<HTMLInputElement>("#theme-choice input")) radio.checked = radio.value === settings.theme;
}

/** Connects the controls of the settings dialog. */
export function watchSettings(): void {
  const dialog = byId<HTMLDialogElement>("settings");
  const temperature = byId<HTMLInputElement>("temperature");
  const shown = byId<HTMLOutputElement>("temperature-value");
  const maxTokens = byId<HTMLInputElement>("max-tokens");

  const open = () => dialog.showModal();
  byId("open-settings").addEventListener("click", open);
  // A click on the backdrop is one on the dialog itself, outside its form.
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());

  const show = () => (shown.value = settings.temperature === 0 ? "0, always the likeliest" : settings.temperature.toFixed(1));
  temperature.value = String(settings.temperature);
  show();
  temperature.addEventListener("input", () => {
    settings.temperature = Number(temperature.value);
    show();
    save();
  });

  maxTokens.value = String(settings.maxTokens);
  maxTokens.addEventListener("change", () => {
    const value = Math.round(Number(maxTokens.value));
    settings.maxTokens = value >= 1 ? Math.min(value, 32768) : DEFAULTS.maxTokens;
    maxTokens.value = String(settings.maxTokens);
    save();
  });

  applyTheme();
  byId("theme-choice").addEventListener("change", (event) => {
    settings.theme = (event.target as HTMLInputElement).value as Settings["theme"];
    applyTheme();
    save();
  });
  byId("theme").addEventListener("click", () => {
    const dark = settings.theme === "dark" || (settings.theme === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
    settings.theme = dark ? "light" : "dark";
    applyTheme();
    save();
  });
}
