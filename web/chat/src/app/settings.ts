/** What the person has chosen, kept in this browser. */

import { effect, signal, type Signal } from "@preact/signals";
import type { Sampling } from "../store/types.js";

/** Settings of the page. */
export interface Settings extends Sampling {
  theme: "system" | "light" | "dark";
  /** What the model is told first, where a chat has no instructions of its own. */
  instructions: string;
  /** What happens when the context is full. */
  whenFull: "stop" | "drop";
  /** Tokens that a conversation may have; null: what the model was made for. */
  contextLength: number | null;
  /**
   * Gigabytes that a model and its conversation may take on the GPU; null: as many as they need.
   */
  memoryLimit: number | null;
  /** How keys and values are kept. */
  kvType: "f16" | "q8";
  /** What computes; "auto": the graphics card, or the processor where there is none. */
  device: "auto" | "gpu" | "cpu";
  /** Language of the page; null: the browser's. */
  language: string | null;
}

/** How answers are made as long as nobody says otherwise. */
export const SAMPLING: Sampling = {
  temperature: 0.4,
  topP: 1,
  topK: 0,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  maxTokens: 512,
  seed: null,
};

const DEFAULTS: Settings = { ...SAMPLING, theme: "system", instructions: "", whenFull: "stop", contextLength: null, memoryLimit: null, kvType: "f16", device: "auto", language: null };

/** What each number may be: least, most, and whether it is whole. */
export const RANGES = {
  temperature: [0, 1.5, false],
  topP: [0, 1, false],
  topK: [0, 100000, true],
  minP: [0, 1, false],
  repetitionPenalty: [0.5, 2, false],
  presencePenalty: [-2, 2, false],
  frequencyPenalty: [-2, 2, false],
  maxTokens: [1, 32768, true],
  seed: [0, Number.MAX_SAFE_INTEGER, true],
  contextLength: [16, 1048576, true],
  memoryLimit: [0.1, 1024, false],
} as const;

/** Combinations that people know by a word. */
export const PRESETS: Record<"exact" | "balanced" | "varied", Partial<Sampling>> = {
  exact: { temperature: 0, topP: 1, minP: 0 },
  balanced: { temperature: 0.4, topP: 1, minP: 0 },
  varied: { temperature: 0.9, topP: 1, minP: 0.05 },
};

const KEY = "peregrine.settings";

/** A number within its range, or undefined where it is none. */
export function within(field: keyof typeof RANGES, value: unknown): number | undefined {
  const [least, most, whole] = RANGES[field];
  if (typeof value !== "number" || !Number.isFinite(value)) return undefined;
  const bounded = Math.min(Math.max(value, least), most);
  return whole ? Math.round(bounded) : bounded;
}

function stored(): Settings {
  const settings = { ...DEFAULTS };
  let found: Record<string, unknown>;
  try {
    found = JSON.parse(localStorage.getItem(KEY) ?? "{}") as Record<string, unknown>;
  } catch {
    return settings;
  }
  for (const field of Object.keys(RANGES) as (keyof typeof RANGES)[]) {
    const value = within(field, found[field]);
    if (value !== undefined) settings[field] = value as never;
  }
  const { theme, instructions, whenFull, kvType, device, language } = found;
  if (theme === "light" || theme === "dark") settings.theme = theme;
  if (typeof instructions === "string") settings.instructions = instructions;
  if (whenFull === "drop") settings.whenFull = whenFull;
  if (kvType === "q8") settings.kvType = kvType;
  if (device === "gpu" || device === "cpu") settings.device = device;
  if (typeof language === "string") settings.language = language;
  return settings;
}

/** The settings, which keep themselves; other tabs' changes come along. */
export function keptSettings(): Signal<Settings> {
  const settings = signal(stored());
  effect(() => {
    const text = JSON.stringify(settings.value);
    try {
      if (localStorage.getItem(KEY) !== text) localStorage.setItem(KEY, text);
    } catch {
      // Private windows may have no storage: then the settings last as long as the page.
    }
    const root = document.documentElement;
    if (settings.value.theme === "system") delete root.dataset.theme;
    else root.dataset.theme = settings.value.theme;
  });
  addEventListener("storage", ({ key }) => key === KEY && (settings.value = stored()));
  return settings;
}
