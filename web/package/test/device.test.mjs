import assert from "node:assert/strict";
import test from "node:test";
import { GpuWay } from "../dist/worker/device.js";

/** A device whose errors and loss the test decides. */
function device() {
  const listeners = [];
  let lose;
  const lost = new Promise((resolve) => (lose = resolve));
  return {
    lost,
    addEventListener: (_, listener) => listeners.push(listener),
    fail: (name, message) => listeners.forEach((listener) => listener({ error: new { [name]: class { message = message; } }[name]() })),
    destroy: () => lose({ reason: "destroyed", message: "" }),
  };
}

class Adapter {
  features = new Set(["subgroups", "timestamp-query"]);
  limits = {};
  info = { vendor: "acme", architecture: "one" };
  made = [];
  asked = [];
  async requestDevice(descriptor) {
    this.asked.push(descriptor);
    const made = device();
    this.made.push(made);
    return made;
  }
}

/**
 * Puts a `navigator.gpu` there while `use` runs, whose adapters are `answers`, one after the other.
 */
async function having(answers, use) {
  const own = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  const gpu = { requests: 0, requestAdapter: async () => (gpu.requests++, answers.length > 1 ? answers.shift() : answers[0]) };
  const navigator = { gpu };
  Object.defineProperty(globalThis, "navigator", { value: navigator, configurable: true });
  try {
    return await use(navigator);
  } finally {
    if (own) Object.defineProperty(globalThis, "navigator", own);
    else delete globalThis.navigator;
  }
}

const find = (onError = () => {}, preferences = {}) => GpuWay.find(preferences, false, onError, () => {});
/** What the wasm module's library does: it looks at `navigator.gpu`, and asks later. */
const library = (way) => {
  const { gpu } = way.within(() => navigator);
  const seen = way.within(() => navigator.gpu);
  assert.equal(navigator.gpu, gpu, "nothing is left behind");
  return async (requiredFeatures = []) => (await seen.requestAdapter({})).requestDevice({ label: "peregrine", requiredFeatures });
};

test("two engines and the app's own devices: each hears of its own, and nobody else is touched", () =>
  having([new Adapter()], async (navigator) => {
    const before = Object.getOwnPropertyNames(globalThis);
    const original = Adapter.prototype.requestDevice;
    const heard = { a: [], b: [] };
    const [first, second] = [new Adapter(), new Adapter()];
    navigator.gpu.requestAdapter = async () => first;
    const a = await find((error) => heard.a.push(error.code), { baseline: true });
    navigator.gpu.requestAdapter = async () => second;
    const b = await find((error) => heard.b.push(error.code));
    const { gpu } = navigator;
    await library(a)(["timestamp-query"]);
    await library(b)(["timestamp-query"]);
    assert.equal(navigator.gpu, gpu);
    assert.equal(Adapter.prototype.requestDevice, original);
    assert.equal(Object.hasOwn(first, "requestDevice"), false);
    assert.deepEqual(Object.getOwnPropertyNames(globalThis), before);
    // The one wants none, which is not the other's business; the app gets what it asks for.
    assert.deepEqual([first.asked[0].requiredFeatures, second.asked[0].requiredFeatures], [["timestamp-query"], ["timestamp-query", "subgroups"]]);
    const own = await first.requestDevice({ requiredFeatures: [] });
    assert.deepEqual(first.asked[1].requiredFeatures, []);
    own.fail("GPUValidationError", "the app's");
    own.destroy();
    second.made[0].fail("GPUValidationError", "b's");
    second.made[0].fail("GPUOutOfMemoryError", "b's");
    first.made[0].destroy();
    await new Promise(setImmediate);
    assert.deepEqual(heard, { a: ["device-lost"], b: ["gpu", "out-of-memory"] });
    b.forget();
    second.made[0].destroy();
    await new Promise(setImmediate);
    assert.equal(heard.b.length, 2, "what is forgotten is silent");
  }));

test("a navigator that may not be changed is stood in for", () =>
  having([new Adapter()], async (navigator) => {
    const way = await find();
    Object.freeze(navigator);
    assert.notEqual(way.within(() => globalThis.navigator.gpu), navigator.gpu);
    assert.equal(globalThis.navigator, navigator);
    assert.throws(() => way.within(() => { throw new Error("x"); }), /x/);
    assert.equal(globalThis.navigator, navigator);
    assert.equal("WorkerGlobalScope" in globalThis, false);
  }));

/** Lets everything run that waits for time. */
async function patiently(promise, timers) {
  let settled = false;
  const watched = promise.finally(() => (settled = true));
  watched.catch(() => {});
  while (!settled) {
    await new Promise(setImmediate);
    timers.tick(100);
  }
  return watched;
}

test("where there is no adapter yet, it is asked for again; not for ever", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const adapter = new Adapter();
  await having([null, null, null, adapter], async (navigator) => {
    const way = await patiently(find(), t.mock.timers);
    assert.deepEqual([way.facts.vendor, navigator.gpu.requests], ["acme", 4]);
  });
  await having([null], async (navigator) => {
    await assert.rejects(patiently(find(), t.mock.timers), { name: "NoGpuError", code: "no-gpu", message: /asked 5 times/ });
    assert.equal(navigator.gpu.requests, 5);
    navigator.gpu.requestAdapter = () => Promise.reject(new Error("the GPU process crashed"));
    await assert.rejects(patiently(find(), t.mock.timers), { code: "no-gpu", message: /the GPU process crashed/ });
  });
});

test("an adapter of a process that died is replaced; what it cannot do is an error", () => {
  const [dead, alive] = [new Adapter(), new Adapter()];
  dead.requestDevice = () => Promise.reject(new DOMException("the GPU process died", "OperationError"));
  return having([dead, alive], async () => {
    await library(await find())();
    assert.equal(alive.made.length, 1);
    alive.requestDevice = () => Promise.reject(new TypeError("no such feature"));
    await assert.rejects(library(await find())(), TypeError);
  });
});

test("without WebGPU it is said what is missing", async () => {
  await assert.rejects(find(), { code: "no-webgpu", message: /navigator\.gpu.*webgpu/ });
  globalThis.Window = class {};
  try {
    await assert.rejects(find(), { code: "no-webgpu", message: /this browser has none/ });
    await assert.rejects(GpuWay.find({}, true, () => {}, () => {}), { code: "no-webgpu", message: /on pages, but not in workers/ });
    globalThis.isSecureContext = false;
    await assert.rejects(find(), { code: "no-webgpu", message: /https/ });
  } finally {
    delete globalThis.Window;
    delete globalThis.isSecureContext;
  }
});
