/** The page's words, in one catalogue a language; only the one that is used is loaded. */

import { effect, signal } from "@preact/signals";
import i18next, { type TOptions } from "i18next";
import en from "./en.json";

/** Names of the catalogue's messages; those with plural forms without the form. */
export type Key = StripForm<keyof typeof en>;
type StripForm<K extends string> = K extends `${infer Base}_${"zero" | "one" | "two" | "few" | "many" | "other"}` ? Base : K;

/** Languages in which the page speaks, by their own names. */
export const LANGUAGES: Record<string, string> = { en: "English" };

/** Languages that are written from right to left. */
const RIGHT_TO_LEFT = new Set(["ar", "ur"]);

/** The language that is shown; what draws itself with {@link t} is drawn again when it changes. */
export const language = signal("en");

void i18next.init({
  lng: "en",
  fallbackLng: "en",
  resources: { en: { translation: en } },
  keySeparator: false,
  nsSeparator: false,
  initAsync: false,
  interpolation: { escapeValue: false },
});

/** A message of the catalogue with its values filled in. */
export function t(key: Key, values: Record<string, unknown> = {}): string {
  return i18next.t(key, { ...values, lng: language.value } as TOptions) as string;
}

/** A number as people write it. */
export const number = (value: number, digits = 0): string =>
  value.toLocaleString(language.value, { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** Bytes as people write them. */
export function bytes(count: number): string {
  if (count >= 1e9) return `${number(count / 1e9, 2)} GB`;
  return count >= 1e8 ? `${number(Math.round(count / 1e6))} MB` : `${number(count / 1e6, 1)} MB`;
}

/** A number of parameters as people write it. */
export const parameters = (count: number): string => (count >= 1e9 ? `${number(count / 1e9, 1)} B` : `${number(Math.round(count / 1e6))} M`);

effect(() => {
  document.documentElement.lang = language.value;
  document.documentElement.dir = RIGHT_TO_LEFT.has(language.value) ? "rtl" : "ltr";
});
