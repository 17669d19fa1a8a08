/** What models are called. */

import assert from "node:assert/strict";
import test from "node:test";
import { browser, load } from "./support.mjs";

browser();
const { nameOf } = await load("app/offers.ts");

test("the name of a model that was quantized here, without what tells it from others", () => {
  for (const [model, expected] of [
    ["stored:My-H1@1a2b3c4d:Q4_K_M", "My-H1 Q4_K_M"],
    ["stored:My-H1:Q8_0", "My-H1 Q8_0"],
    ["stored:org/repo@0123abcd:Q8_0", "repo Q8_0"],
    ["stored:org/repo:Q8_0", "repo Q8_0"],
    ["stored:https://x.example/m/H1/:Q8_0", "H1 Q8_0"],
    ["stored:me@home:Q8_0", "me@home Q8_0"],
  ]) {
    assert.equal(nameOf({ kind: "remote", model }), expected);
  }
});
