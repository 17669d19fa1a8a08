/**
 * Every language says everything, in its own words, with the same values filled in and the plural
 * forms that it has.
 */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

const folder = new URL("../src/i18n/", import.meta.url);
const read = (name) => JSON.parse(readFileSync(new URL(name, folder), "utf8"));
const english = read("en.json");
const FORM = /_(zero|one|two|few|many|other)$/;
const baseOf = (key) => key.replace(FORM, "");
const values = (text) => [...text.matchAll(/\{\{(\w+)\}\}/g)].map(([, name]) => name).sort();
/** What English fills in, of a message in any of its forms. */
const filled = new Map(Object.entries(english).map(([key, text]) => [baseOf(key), values(text)]));
const plural = new Set(Object.keys(english).filter((key) => FORM.test(key)).map(baseOf));

/** The languages that Falcon-H1 models were made for. */
const LANGUAGES = ["ar", "cs", "de", "en", "es", "fr", "hi", "it", "ja", "ko", "nl", "pl", "pt", "ro", "ru", "sv", "ur", "zh"];

/** Messages that may read as in English: everywhere, and where the language has the same word. */
const SAME = ["talk.model", "talk.version", "models.useLabel"];
const SAME_IN = {
  cs: ["talk.tokens", "document.tokens", "settings.seed", "models.license"],
  de: ["text.code", "settings.theme.system", "models.name"],
  es: ["talk.tokens", "document.tokens", "talk.speed", "models.remembersIs", "settings.kvType.f16", "settings.kvType.q8"],
  fr: [
    ...["welcome.suggestions", "list.instructions", "list.opened", "import.messages", "talk.label", "talk.system", "document.file", "document.pages"],
    ...["document.pageCount", "text.code", "composer.label", "settings.instructions", "settings.kvType.f16", "settings.kvType.q8", "models.formats"],
  ],
  it: ["talk.tokens", "document.tokens", "settings.seed"],
  nl: [
    ...["app.chats", "talk.tokens", "talk.speed", "document.tokens", "text.code", "settings.seed", "settings.contextLength", "settings.kvType.f16"],
    ...["settings.kvType.q8", "settings.device.cpu", "models.sizeIs", "models.remembersIs"],
  ],
  pl: ["talk.tokens", "document.tokens"],
  pt: ["talk.tokens", "document.tokens", "talk.speed", "models.remembersIs", "settings.kvType.f16", "settings.kvType.q8"],
  ro: ["talk.tokens", "document.tokens", "settings.seed"],
  sv: ["talk.tokens", "document.tokens", "talk.speed", "models.remembersIs", "settings.theme.system"],
};

/** Letters of which every message in words has some, where they are not Latin ones. */
const LETTERS = {
  ar: /\p{Script=Arabic}/u,
  hi: /\p{Script=Devanagari}/u,
  ja: /[\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Han}]/u,
  ko: /\p{Script=Hangul}/u,
  ru: /\p{Script=Cyrillic}/u,
  ur: /\p{Script=Arabic}/u,
  zh: /\p{Script=Han}/u,
};

const files = readdirSync(folder).filter((name) => name.endsWith(".json"));

test("the page speaks every language of the models", () => {
  assert.deepEqual(files.map((name) => name.slice(0, -5)).sort(), LANGUAGES);
});

for (const name of files) {
  const code = name.slice(0, -5);
  const catalog = read(name);
  test(`${code}: nothing is missing, nothing is left over`, () => {
    const forms = new Intl.PluralRules(code).resolvedOptions().pluralCategories;
    const wanted = [...filled.keys()].flatMap((key) => (plural.has(key) ? forms.map((form) => `${key}_${form}`) : [key]));
    assert.deepEqual(Object.keys(catalog).sort(), wanted.sort());
    assert.deepEqual([...new Set(Object.keys(catalog).map(baseOf))], [...filled.keys()], "in the same order");
  });
  test(`${code}: the same values`, () => {
    for (const [key, text] of Object.entries(catalog)) {
      assert.notEqual(text.trim(), "", key);
      // A form for one thing may name it in words.
      const found = values(text).filter((value) => value !== "count");
      assert.deepEqual(found, (filled.get(baseOf(key)) ?? []).filter((value) => value !== "count"), key);
    }
  });
  if (code === "en") continue;
  test(`${code}: nothing is left in English`, () => {
    const allowed = new Set([...SAME, ...(SAME_IN[code] ?? [])]);
    const left = Object.entries(catalog).filter(([key, text]) => {
      const inEnglish = [english[key], english[`${baseOf(key)}_one`], english[`${baseOf(key)}_other`]];
      const foreign = LETTERS[code]?.test(text) === false && /\p{L}/u.test(text.replace(/\{\{\w+\}\}/g, ""));
      return !allowed.has(baseOf(key)) && (inEnglish.includes(text) || foreign);
    });
    assert.deepEqual(left, []);
    const stale = (SAME_IN[code] ?? []).filter((key) => !filled.has(key));
    assert.deepEqual(stale, [], "what may be the same is a message");
  });
}
