/** What happens while the wasm module comes. */

import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import test from "node:test";
import { createEngine } from "../dist/index.js";

const [MODEL, WASM] = ["https://models.example/model.gguf", "https://app.example/engine.wasm"];

test("the model is asked for before the module is there; where that never comes nothing more is read", async () => {
  const asked = [];
  let tell;
  const isAsked = new Promise((resolve) => (tell = resolve));
  const body = new Uint8Array(9).fill(1);
  globalThis.fetch = async (url) => {
    asked.push(String(url));
    if (String(url) === MODEL) return tell(), new Response(body, { status: 200, headers: { "Content-Length": "9" } });
    // A module that does not wait for the model is not waited for, either.
    for (let i = 0; i < 100 && !asked.includes(MODEL); i++) await new Promise(setImmediate);
    return new Response("no such file", { status: 404 });
  };
  await assert.rejects(createEngine({ model: MODEL, wasmUrl: WASM, worker: "here", device: "cpu", logLevel: "off" }), { message: /^wasmUrl: / });
  await isAsked;
  assert.deepEqual(asked, [WASM, MODEL]);
});
