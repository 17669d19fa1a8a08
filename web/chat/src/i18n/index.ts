/** The page's words, in one catalog a language; only the one that is used is loaded. */

import { effect, signal } from "@preact/signals";
import i18next, { type TOptions } from "i18next";
import en from "./en.json";

/** Names of the catalog's messages; those with plural forms without the form. */
export type Key = StripForm<keyof typeof en>;
type StripForm<K extends string> = K extends `${infer Base}_${"zero" | "one" | "two" | "few" | "many" | "other"}` ? Base : K;

/** Catalogs of the other languages, each a chunk that is loaded when it is chosen. */
const CATALOGS = import.meta.glob<Record<string, string>>(["./*.json", "!./en.json"], { import: "default" });

const codeOf = (path: string) => path.slice(2, -5);

/** The languages of the page, English and those that have a catalog, by their own names. */
export const LANGUAGES: Record<string, string> = Object.fromEntries(
  ["en", ...Object.keys(CATALOGS).map(codeOf)]
    .map((code): [string, string] => [code, new Intl.DisplayNames([code], { type: "language" }).of(code) ?? code])
    .sort(([, a], [, b]) => a.localeCompare(b)),
);

/** Languages that are written from right to left. */
const RIGHT_TO_LEFT = new Set(["ar", "ur"]);

/** The language that is shown; what draws itself with {@link t} is drawn again when it changes. */
export const language = signal("en");

/** The language that a browser asks for, of those that the page has. */
export function wantedLanguage(chosen: string | null, asked: readonly string[] = navigator.languages): string {
  const known = [chosen, ...asked].flatMap((code) => (code === null ? [] : [code, code.split("-")[0] as string]));
  return known.find((code) => code in LANGUAGES) ?? "en";
}

/**
 * Shows the page in a language, once its catalog is there; without a network the one before stays.
 */
export async function speak(code: string): Promise<void> {
  if (code !== "en" && !i18next.hasResourceBundle(code, "translation")) {
    const catalog = await CATALOGS[`./${code}.json`]?.().catch(() => undefined);
    if (!catalog) return;
    i18next.addResourceBundle(code, "translation", catalog);
  }
  language.value = code;
}

void i18next.init({
  lng: "en",
  fallbackLng: "en",
  resources: { en: { translation: en } },
  keySeparator: false,
  nsSeparator: false,
  initAsync: false,
  interpolation: { escapeValue: false },
});

/** A message of the catalog with its values filled in. */
export function t(key: Key, values: Record<string, unknown> = {}): string {
  return i18next.t(key, { ...values, lng: language.value } as TOptions) as string;
}

/** A number as people write it. */
export const number = (value: number, digits = 0): string =>
  value.toLocaleString(language.value, { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** Bytes as people write them, with the unit's name in their language. */
export function bytes(count: number): string {
  const [value, unit, digits] = count >= 1e9 ? [count / 1e9, "gigabyte", 2] : [count / 1e6, "megabyte", count >= 1e8 ? 0 : 1];
  return value.toLocaleString(language.value, { style: "unit", unit, unitDisplay: "short", minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** How long something takes, as people say it. */
export function duration(seconds: number): string {
  const [value, unit] = seconds < 90 ? [Math.max(1, Math.round(seconds)), "second"] : seconds < 5400 ? [Math.round(seconds / 60), "minute"] : [Math.round(seconds / 3600), "hour"];
  return value.toLocaleString(language.value, { style: "unit", unit, unitDisplay: "long" });
}

/** A number of parameters as people write it. */
export const parameters = (count: number): string => (count >= 1e9 ? `${number(count / 1e9, 1)} B` : `${number(Math.round(count / 1e6))} M`);

effect(() => {
  document.documentElement.lang = language.value;
  document.documentElement.dir = RIGHT_TO_LEFT.has(language.value) ? "rtl" : "ltr";
});
