// What the model may call: a calculator, a clock, and a search in the notes of this page.

import { Validator } from "@cfworker/json-schema";
import { Parser } from "expr-eval-fork";
import MiniSearch from "minisearch";

/**
 * A tool that looks at its arguments: what a model writes is no more to be trusted than what a
 * stranger sends.
 */
function tool(name, description, properties, required, run) {
  const parameters = { type: "object", properties, required, additionalProperties: false };
  const validator = new Validator(parameters, "2020-12");
  const wrong = (given) => {
    const { valid, errors } = validator.validate(given);
    return valid ? undefined : errors.map(({ error }) => error).join(" ");
  };
  return { name, description, parameters, wrong, run };
}

// No names, no functions of its own, nothing but numbers.
const arithmetic = new Parser({ operators: { assignment: false, fndef: false, in: false, logical: false, comparison: false, conditional: false, concatenate: false } });

const calculator = tool(
  "calculator",
  "Computes an expression, as 3 * (2 + 4) ^ 2 or sqrt(2).",
  { expression: { type: "string", maxLength: 60 } },
  ["expression"],
  ({ expression }) => {
    const value = arithmetic.evaluate(expression);
    if (!Number.isFinite(value)) throw new Error("this is no number, or one that is too large");
    return value;
  },
);

const zones = Intl.supportedValuesOf("timeZone");

const clock = tool(
  "clock",
  "The date and the time now, in a time zone as Europe/Oslo, or here.",
  { zone: { type: "string", maxLength: 40 } },
  [],
  ({ zone }) => {
    if (zone !== undefined && zone !== "UTC" && !zones.includes(zone)) throw new Error(`there is no time zone ${zone}`);
    return new Date().toLocaleString("en-GB", { dateStyle: "full", timeStyle: "long", timeZone: zone });
  },
);

/** The tools; `notes()` gives the notes as they are. */
export function toolsOver(notes) {
  const search = tool(
    "search_notes",
    "Finds notes of the user's by words in them.",
    { words: { type: "string", minLength: 1, maxLength: 60 } },
    ["words"],
    ({ words }) => {
      const texts = notes();
      const index = new MiniSearch({ fields: ["text"], searchOptions: { prefix: true, fuzzy: 0.2 } });
      index.addAll(texts.map((text, id) => ({ id, text })));
      const found = index.search(words).slice(0, 3);
      return found.length > 0 ? found.map(({ id }) => texts[id]).join("\n\n") : "No note has these words.";
    },
  );
  return [calculator, clock, search];
}
