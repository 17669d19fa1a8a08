/** Every language says everything, with the same values filled in and the plural forms that it has. */

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

for (const name of readdirSync(folder).filter((name) => name.endsWith(".json"))) {
  const code = name.slice(0, -5);
  const catalogue = read(name);
  test(`${code}: nothing is missing, nothing is left over`, () => {
    const forms = new Intl.PluralRules(code).resolvedOptions().pluralCategories;
    const wanted = [...filled.keys()].flatMap((key) => (plural.has(key) ? forms.map((form) => `${key}_${form}`) : [key]));
    assert.deepEqual(Object.keys(catalogue).sort(), wanted.sort());
  });
  test(`${code}: the same values`, () => {
    for (const [key, text] of Object.entries(catalogue)) {
      assert.notEqual(text.trim(), "", key);
      // A form for one thing may name it in words.
      const found = values(text).filter((value) => value !== "count");
      assert.deepEqual(found, (filled.get(baseOf(key)) ?? []).filter((value) => value !== "count"), key);
    }
  });
}
