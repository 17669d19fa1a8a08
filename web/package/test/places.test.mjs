import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import test from "node:test";
import { createEngine, downloadModel, persist, storageEstimate } from "../dist/index.js";
import { Server } from "../dist/worker/server.js";
import { sourceOf } from "../dist/page/model.js";
import { startWorker } from "../dist/page/start.js";

const model = new Blob(["no model"]);

test("in Node: a typed error, whatever the model is; the worker's module can be imported", async () => {
  for (const of of [model, "https://x.example/a.gguf", "org/repo"]) {
    for (const worker of [undefined, "here"]) await assert.rejects(createEngine({ model: of, worker, device: "gpu" }), { name: "NoGpuError", code: "no-webgpu" });
  }
  await assert.rejects(createEngine({ model, worker: "dedicated" }), { name: "EnvironmentError", code: "no-worker" });
  await assert.rejects(createEngine({ model: "https://x.example/a.gguf", worker: "shared" }), { code: "not-supported", message: /SharedWorker/ });
  await import("../dist/worker.js");
  await import("../dist/service-worker.js");
});

test("what cannot go to a SharedWorker is refused before it would be lost on the way", () =>
  having({ SharedWorker: class {}, navigator: { locks: {} } }, async () => {
    const empty = new WebAssembly.Module(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
    const shared = (options) => createEngine({ model: "https://x.example/a.gguf", cache: false, worker: "shared", ...options });
    await assert.rejects(shared({ wasmUrl: empty }), { code: "not-supported", message: /^wasmUrl: a WebAssembly.Module cannot go to worker: "shared"/ });
    await assert.rejects(shared({ wasmUrl: new Uint8Array(new SharedArrayBuffer(8)) }), { code: "argument", message: /^wasmUrl/ });
    await assert.rejects(shared({ model }), { code: "not-supported", message: /address or hub id/ });
    await assert.rejects(shared({ worker: { port: {} } }), { code: "argument", message: /^worker: expected/ });
  }));

test("CommonJS gets the same package", async () => {
  const require = createRequire(import.meta.url);
  assert.equal(require("peregrine").createEngine, createEngine);
  for (const entry of ["embedded", "worker", "service-worker"]) require(`peregrine/${entry}`);
});

test("files by their addresses in Node; bytes, views and answers as models", async () => {
  const folder = await mkdtemp(join(tmpdir(), "peregrine-"));
  try {
    const path = join(folder, "a b.gguf");
    await writeFile(path, "GGUF of a file");
    const [file] = (await sourceOf(pathToFileURL(path), {})).files;
    assert.deepEqual([file.name, await file.blob.text()], ["a b.gguf", "GGUF of a file"]);
    await assert.rejects(sourceOf(pathToFileURL(join(folder, "none.gguf")), {}), { code: "io", message: /^model: file:.*none\.gguf/ });
  } finally {
    await rm(folder, { recursive: true });
  }
  const bytes = new TextEncoder().encode("xGGUF").subarray(1);
  for (const given of [bytes, new DataView(bytes.buffer, 1), new Response(bytes)]) {
    const { kind, files } = await sourceOf(given, {});
    assert.deepEqual([kind, await files[0].blob.text()], ["blobs", "GGUF"]);
  }
  await assert.rejects(sourceOf(new Response("x", { status: 404, statusText: "Not Found" }), {}), { code: "http", message: /404 Not Found/ });
  const read = new Response("x");
  await read.text();
  await assert.rejects(sourceOf(read, {}), { code: "argument", message: /read already/ });
});

/** A worker of the app's that answers nothing. */
class Silent {
  ended = false;
  sent = [];
  listeners = {};
  postMessage(message) {
    this.sent.push(message);
  }
  addEventListener(type, listener) {
    this.listeners[type] = listener;
  }
  terminate() {
    this.ended = true;
  }
}

test("an app's Worker has one engine, and ends with it", async () => {
  const worker = new Silent();
  const stop = new AbortController();
  const loading = createEngine({ model, worker, signal: stop.signal });
  loading.catch(() => {});
  await new Promise(setImmediate);
  await assert.rejects(createEngine({ model, worker }), { code: "argument", message: /^worker: this Worker has an engine already/ });
  stop.abort();
  await assert.rejects(loading, { code: "cancelled" });
  assert.equal(worker.ended, true);
  await assert.rejects(createEngine({ model, worker }), { code: "argument", message: /^worker: this Worker has ended with its engine/ });
});

test("a Worker that is not the package's, or has ended, is not waited for for ever", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const worker = new Silent();
  const loading = createEngine({ model, worker });
  loading.catch(() => {});
  await new Promise(setImmediate);
  t.mock.timers.tick(60_000);
  await assert.rejects(loading, { code: "argument", message: /^worker: it does not answer/ });
  // One that has said a word may take as long as it likes.
  const patient = new Silent();
  const slow = createEngine({ model, worker: patient });
  slow.catch(() => {});
  await new Promise(setImmediate);
  patient.listeners.message({ data: { type: "hello" } });
  t.mock.timers.tick(600_000);
  const [{ id }] = patient.sent;
  patient.listeners.message({ data: { type: "error", id, error: { code: "not-gguf", message: "no" } } });
  await assert.rejects(slow, { code: "not-gguf" });
});

test("a worker whose script cannot be loaded", async () => {
  const worker = new Silent();
  const loading = createEngine({ model, worker });
  loading.catch(() => {});
  await new Promise(setImmediate);
  worker.listeners.error({});
  await assert.rejects(loading, { name: "EnvironmentError", code: "no-worker", message: /script could not be loaded/ });
});

test("one worker does not serve two models", async () => {
  const server = new Server(() => {});
  const own = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  Object.defineProperty(globalThis, "navigator", { value: { gpu: { requestAdapter: () => new Promise(() => {}) } }, configurable: true });
  try {
    const page = () => {
      const port = { answers: [], addEventListener: (_, listener) => (port.say = (data) => listener({ data })), postMessage: (message) => port.answers.push(message) };
      server.connect(port);
      return port;
    };
    const load = (source) => ({ type: "call", id: 1, call: "load", request: { source, options: {}, gpu: {} } });
    const url = (model) => ({ kind: "urls", model, files: [], cache: true });
    const [first, same, other, blobs] = [page(), page(), page(), page()];
    first.say(load(url("a")));
    same.say(load(url("a")));
    other.say(load(url("b")));
    blobs.say(load({ kind: "blobs", files: [] }));
    await new Promise(setImmediate);
    const errors = [first, same, other, blobs].map(({ answers }) => answers.find(({ type }) => type === "error")?.error.code);
    assert.deepEqual(errors, [undefined, undefined, "argument", "argument"]);
    other.say({ type: "call", id: 2, call: "dispose", request: null });
    await new Promise(setImmediate);
    other.say({ type: "call", id: 3, call: "encode", request: { text: "x", addBos: false } });
    await new Promise(setImmediate);
    assert.equal(other.answers.at(-1).error.code, "disposed");
  } finally {
    if (own) Object.defineProperty(globalThis, "navigator", own);
    else delete globalThis.navigator;
  }
});

/** Runs with other globals. */
async function having(globals, use) {
  const before = Object.keys(globals).map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)]);
  for (const [name, value] of Object.entries(globals)) Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  try {
    return await use();
  } finally {
    for (const [name, own] of before) own ? Object.defineProperty(globalThis, name, own) : delete globalThis[name];
  }
}

test("where a page may not start the worker's script itself, another way is tried, and nothing stays", async () => {
  const started = [];
  /** As browsers do: no script of another origin, and under Trusted Types no plain text. */
  const strict = (typed) =>
    class Worker {
      constructor(address, options) {
        const url = String(address.trusted ?? address);
        if (typed && !address.trusted) throw new TypeError("This document requires 'TrustedScriptURL' assignment.");
        if (new URL(url).origin !== "https://app.example") throw new DOMException(`Script at '${url}' cannot be accessed from origin`, "SecurityError");
        started.push([url, options.type]);
      }
    };
  const make = (url) => () => new Worker(new URL(url), { type: "module" });
  const [own, cdn] = ["https://app.example/worker.js", "https://cdn.example/worker.js"];
  const page = { origin: "https://app.example", location: { href: "https://app.example/" } };
  const createObjectURL = URL.createObjectURL;
  const blobs = [];
  URL.createObjectURL = (blob) => (blobs.push(blob), "blob:https://app.example/1");
  try {
    const Plain = strict(false);
    await having({ Worker: Plain, ...page }, async () => {
      startWorker("Worker", make(own));
      startWorker("Worker", make(cdn));
      assert.equal(globalThis.Worker, Plain);
    });
    assert.deepEqual(started.splice(0), [[own, "module"], ["blob:https://app.example/1", "module"]]);
    assert.equal(await blobs[0].text(), `import "${cdn}";`);
    const Framed = class extends Plain {
      constructor(address) {
        super(String(address).startsWith("data:") ? own : address, {});
        started.splice(0, 1, String(address));
      }
    };
    await having({ Worker: Framed, ...page, origin: "null" }, () => void startWorker("Worker", make(cdn)));
    assert.deepEqual(started.splice(0), [`data:text/javascript,${encodeURIComponent(`import "${cdn}";`)}`]);
    const refusing = { createPolicy: () => { throw new TypeError("Policy \"peregrine\" disallowed."); } };
    await having({ Worker: strict(true), trustedTypes: refusing, ...page }, () => {
      assert.throws(() => startWorker("Worker", make(own)), { code: "no-worker", message: /TrustedScriptURL.*disallowed/ });
    });
    const trustedTypes = { createPolicy: (_, rules) => ({ createScriptURL: (url) => ({ trusted: rules.createScriptURL(url) }) }) };
    await having({ Worker: strict(true), trustedTypes, ...page }, () => void startWorker("Worker", make(own)));
    assert.deepEqual(started, [[own, "module"]]);
    await having({ SharedWorker: strict(false), ...page }, () => {
      assert.throws(() => startWorker("SharedWorker", () => new SharedWorker(new URL(cdn), {})), { code: "no-worker", message: /another origin/ });
    });
  } finally {
    URL.createObjectURL = createObjectURL;
  }
});

test("persist does not wait for a person who never answers; without a storage nothing throws", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const storage = { persist: () => new Promise(() => {}), persisted: async () => false };
  await having({ navigator: { storage } }, async () => {
    const asked = persist({ timeout: 500 });
    t.mock.timers.tick(500);
    assert.equal(await asked, false);
    const longer = persist();
    t.mock.timers.tick(10_000);
    assert.equal(await longer, false);
    storage.persist = async () => true;
    assert.equal(await persist(), true);
    const refuse = () => Promise.reject(new DOMException("no origin", "SecurityError"));
    Object.assign(storage, { persist: refuse, persisted: refuse, estimate: refuse });
    assert.equal(await persist(), false);
    assert.deepEqual(await storageEstimate(), { usage: 0, quota: 0, persisted: false });
  });
});

test("what the engine says goes to the app's logger, as much as it wants; one that throws stops nothing", async () => {
  const lines = [];
  const logger = Object.fromEntries(["error", "warn", "info", "debug"].map((level) => [level, (text) => lines.push([level, text])]));
  const run = async (options) => {
    const worker = new Silent();
    const loading = createEngine({ model, worker, ...options });
    loading.catch(() => {});
    await new Promise(setImmediate);
    const say = (data) => worker.listeners.message({ data });
    for (const level of ["debug", "info", "warn"]) say({ type: "log", level, text: level });
    say({ type: "broken", error: { code: "gpu", message: "it broke" } });
    await assert.rejects(loading, { code: "gpu" });
    return worker.sent[0].request.logLevel;
  };
  assert.equal(await run({ logger }), "warn");
  assert.deepEqual(lines.splice(0), [["warn", "peregrine: warn"], ["error", "peregrine: it broke"]]);
  await run({ logger, logLevel: "debug" });
  assert.equal(lines.splice(0).length, 4);
  await run({ logger, logLevel: "off" });
  assert.deepEqual(lines, []);
  await run({ logger: Object.fromEntries(Object.keys(logger).map((level) => [level, () => { throw new Error("the app's"); }])), logLevel: "debug" });
});

test("a stop by a timeout while it loads", async () => {
  const timedOut = AbortSignal.abort(new DOMException("late", "TimeoutError"));
  await assert.rejects(createEngine({ model, worker: new Silent(), signal: timedOut }), { name: "TimeoutError", code: "timeout" });
  await assert.rejects(downloadModel({ model, signal: timedOut }), { name: "TimeoutError", code: "timeout" });
});
