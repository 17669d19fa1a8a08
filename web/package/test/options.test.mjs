import assert from "node:assert/strict";
import test from "node:test";
import { inspect } from "node:util";
import { createEngine, downloadModel } from "../dist/index.js";
import { GPU_OPTIONS, LOAD_OPTIONS } from "../dist/load-options.js";
import { Engine } from "../dist/page/engine.js";
import { Listeners } from "../dist/page/listeners.js";
import { ids, suggestion } from "../dist/checks.js";
import { Router } from "../dist/page/router.js";
import { sharedBy } from "../dist/protocol.js";

const model = new Blob(["no model"]);
const refused = (options, message) => assert.rejects(createEngine({ model, ...options }), { name: "RequestError", code: "argument", message });

test("options of a wrong type or range are refused by name", async () => {
  for (const contextLength of [-1, 0, 1.5, "100", NaN, null, 5n]) await refused({ contextLength }, /^contextLength: expected a whole number of at least 1, found /);
  for (const contextLength of [Infinity, 2 ** 32]) await refused({ contextLength }, /^contextLength: expected a whole number of at most 4294967295, found /);
  for (const memoryBudget of ["2GB", 0, -1, NaN]) await refused({ memoryBudget }, /^memoryBudget: expected a number of at least 1, found /);
  for (const field of ["snapshotBytes", "snapshotHostBytes"]) await refused({ [field]: -1 }, new RegExp(`^${field}: expected a number of at least 0, found -1$`));
  await refused({ kvType: "f8" }, /^kvType: expected "f16", "f32" or "q8", found "f8"$/);
  await refused({ whenBusy: "x" }, /^whenBusy: expected "queue" or "refuse", found "x"$/);
  await refused({ cache: "no" }, /^cache: expected true or false/);
  await refused({ hub: 5 }, /^hub: expected an address, found 5$/);
  await refused({ sha256: 5 }, /^sha256: expected a text/);
  await refused({ onProgress: true }, /^onProgress: expected a function/);
  await refused({ onBroken: {} }, /^onBroken: expected a function/);
  await refused({ signal: "stop" }, /^signal: expected an AbortSignal/);
  await refused({ wasmUrl: 5 }, /^wasmUrl: expected an address, bytes or a WebAssembly\.Module, found 5$/);
  await refused({ logLevel: "loud" }, /^logLevel: expected "off", "error", "warn", "info" or "debug", found "loud"$/);
  await refused({ logger: { warn() {} } }, /^logger: expected an object with the methods/);
  await refused({ worker: "none" }, /^worker: expected "dedicated", "shared", "here" or a Worker$/);
  await refused({ worker: null }, /^worker: /);
  await refused({ gpu: "fast" }, /^gpu: expected an object/);
  await refused({ gpu: { powerPreference: "x" } }, /^gpu\.powerPreference: expected "high-performance" or "low-power", found "x"$/);
  await refused({ gpu: { baseline: 1 } }, /^gpu\.baseline: expected true or false/);
  await refused({ gpu: { reduction: "wave" } }, /^gpu\.reduction: /);
  await refused({ gpu: { shapes: "soft" } }, /^gpu\.shapes: /);
  for (const options of [undefined, null, "embedded"]) await assert.rejects(createEngine(options), { code: "argument", message: /^createEngine: expected an object/ });
  await assert.rejects(createEngine({}), { code: "argument", message: /^model: / });
});

test("misspelled options are refused, with the name that is near", async () => {
  await refused({ contextLenght: 5 }, /^contextLenght: not an option of createEngine; did you mean contextLength\?$/);
  await refused({ context_length: 5 }, /; did you mean contextLength\?$/);
  await refused({ gpu: { powerPreferences: "low-power" } }, /^gpu\.powerPreferences: not an option of gpu; did you mean powerPreference\?$/);
  const server = { baseURL: "http://localhost/v1", model: "m" };
  await refused({ server: "http://localhost" }, /^server: expected an object, found /);
  await refused({ server: {} }, /^server\.baseURL: expected the address of an API/);
  await refused({ server: { baseURL: server.baseURL } }, /^server\.model: expected a text that is not empty, found undefined$/);
  await refused({ server: { ...server, model: "" } }, /^server\.model: /);
  await refused({ server: { ...server, baseUrl: "x" } }, /^server\.baseUrl: not an option of server; did you mean baseURL\?$/);
  for (const when of ["never", [], ["no-gpu"], "no-device", null]) {
    await refused({ server: { ...server, when } }, /^server\.when: expected "always", or a list of "no-device", "too-big" and "too-slow", found /);
  }
  await refused({ server, onWhere: true }, /^onWhere: expected a function/);
  await refused({ temperature: 1 }, /^temperature: not an option of createEngine$/);
  await assert.rejects(downloadModel({ model, chache: true }), { code: "argument", message: /^chache: not an option of downloadModel; did you mean cache\?$/ });
  assert.equal(suggestion("xyz", ["model"]), "");
});

test("what may be secret is in no error", async () => {
  const server = { baseURL: "https://server.example/v1", model: "m" };
  for (const more of [
    { apiKey: "geheim 1" },
    { apiKey: "geheim\n" },
    { apiKey: "geheimé" },
    { apiKey: 'geheim"' },
    { apiKey: ["geheim"] },
    { baseURL: "not an address?key=geheim" },
    { baseURL: "https://someone:geheim@server.example/v1" },
    { baseURL: "ftp://server.example/geheim" },
    { baseURL: "https://server.example/#geheim" },
  ]) {
    const error = await createEngine({ model, server: { ...server, ...more } }).catch((error) => error);
    assert.match(error.message, /^server\.(apiKey|baseURL): /);
    assert.ok(!inspect(error, { depth: 9, showHidden: true }).includes("geheim"), error.message);
  }
});

test("what is not there does not count", async () => {
  // Accepted as far as options go; in Node there is no GPU.
  await assert.rejects(createEngine({ model, device: "gpu", contextLength: undefined, gpu: { shapes: undefined } }), { code: "no-webgpu" });
});

test("tabs share a model only where every option is the same", () => {
  const request = { source: { kind: "hub", model: "org/repo", base: "https://hub", cache: true }, options: {}, gpu: {} };
  const some = (kind) => (kind === "boolean" ? true : "min" in kind ? 5 : kind[0]);
  const each = (part, options) => Object.entries(options).map(([name, kind]) => ({ ...request, [part]: { [name]: some(kind) } }));
  const differ = [request, { ...request, noSoftware: true }, { ...request, device: "cpu" }, { ...request, source: { ...request.source, model: "org/other" } }];
  const keys = [...differ, ...each("options", LOAD_OPTIONS), ...each("gpu", GPU_OPTIONS)].map(sharedBy);
  assert.equal(new Set(keys).size, 4 + Object.keys(LOAD_OPTIONS).length + Object.keys(GPU_OPTIONS).length);
  const gpu = { baseline: true, shapes: "software" };
  assert.equal(sharedBy({ ...request, gpu }), sharedBy({ ...request, gpu: { shapes: "software", baseline: true } }), "their order is nothing");
  for (const own of [{ wasm: "x" }, { grammarWasm: "x" }, { onPage: true }, { logLevel: "debug" }]) assert.equal(sharedBy({ ...request, ...own }), keys[0]);
});

test("arguments of an engine's methods", async () => {
  const calls = [];
  const link = { call: (name, request) => (calls.push([name, request]), { result: Promise.resolve([1]), abort() {} }), close: async () => {} };
  const engine = new Engine(new Router({ backend: link, info: { where: "device", model: { name: "m" } } }), new Listeners(() => {}), false);
  const wrong = (promise, message) => assert.rejects(promise, { code: "argument", message });
  await wrong(engine.tokenizer.encode(5), /^text: /);
  await wrong(engine.tokenizer.encode("x", { addBOS: true }), /^addBOS: not an option of encode; did you mean addBos\?/);
  await wrong(engine.tokenizer.decode("12"), /^ids: /);
  await wrong(engine.tokenizer.decode([1.5]), /^ids: /);
  await wrong(engine.tokenizer.decode([-1]), /^ids: /);
  await wrong(engine.logits([1], { last: -1 }), /^last: /);
  await wrong(engine.profile({ tokens: 0 }), /^tokens: /);
  await wrong(engine.restoreState("state"), /^state: /);
  await wrong(engine.chat.completions.create({ messages: [{ role: "user", content: "x" }] }, { signals: 1 }), /^options\.signals: .*signal/);
  await wrong(engine.prefill("x", { timeout: 5 }), /^options\.timeout: not an option/);
  assert.deepEqual(calls, []);
  await engine.tokenizer.decode(Uint32Array.of(7));
  assert.deepEqual(calls, [["decode", { ids: [7] }]]);
  for (const list of [[], [0], Uint32Array.of(5)]) ids(list, "ids");
});
