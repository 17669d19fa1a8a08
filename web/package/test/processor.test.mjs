/**
 * When the processor computes instead of a GPU, and what is said of it: around a runtime that the
 * test plays.
 */

import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import test from "node:test";
import { makeError } from "../dist/errors.js";
import { createEngine } from "../dist/index.js";
import { WebEngine } from "../wasm/peregrine.js";
import { done, FakeEngine } from "./faked.mjs";
import { faulty, says, whole } from "./faulty.mjs";

const model = new Blob(["no model"]);
const messages = [{ role: "user", content: "x" }];
const text = async (engine) => (await engine.chat.completions.create({ messages })).choices[0].message.content;

/** The runtime's word on where it computes. */
class Engine extends FakeEngine {
  constructor(kind, respond) {
    super(respond);
    this.kind = kind;
  }
  info() {
    const { device, ...info } = super.info();
    return { ...info, device: { ...device, kind: this.kind, ...(this.kind === "cpu" && { tokensPerSecond: 7 }) } };
  }
}

const GPU = { vendor: "acme" };
const SOFTWARE = { description: "SwiftShader Device" };

/**
 * Runs with adapters that say this of themselves (null: no adapter, undefined: no WebGPU), and what
 * `load` makes of the wanted device.
 */
async function having({ adapter, load }, use) {
  const [own, real] = [Object.getOwnPropertyDescriptor(globalThis, "navigator"), WebEngine.load];
  const gpu = { requestAdapter: async () => adapter && { info: adapter, features: new Set(), limits: {} } };
  Object.defineProperty(globalThis, "navigator", { value: { userAgent: "test", ...(adapter !== undefined && { gpu }) }, configurable: true });
  const wanted = [];
  WebEngine.load = async (_access, _files, options) => {
    wanted.push(options.gpu.device);
    return load ? load(options.gpu.device, wanted.length) : new Engine(options.gpu.device === "cpu" ? "cpu" : "gpu");
  };
  try {
    return await use(wanted);
  } finally {
    WebEngine.load = real;
    if (own) Object.defineProperty(globalThis, "navigator", own);
    else delete globalThis.navigator;
  }
}

const made = (options = {}) => createEngine({ model, worker: "here", logLevel: "off", ...options });

test("a GPU where there is one; else the processor, and why; who names the GPU gets it or an error", async () => {
  const code = (promise) => promise.then(() => "made", (error) => error.code);
  const cases = [
    [GPU, {}, "gpu", undefined],
    [GPU, { device: "gpu" }, "gpu", undefined],
    [GPU, { device: "cpu" }, "cpu", /^the app asked for it$/],
    [GPU, { gpu: { shapes: "hardware" } }, "gpu", undefined],
    [SOFTWARE, {}, "cpu", /^the only adapter computes on the CPU \(SwiftShader \(software\)\)$/],
    [SOFTWARE, { gpu: { powerPreference: "low-power" } }, "cpu", /SwiftShader/],
    [SOFTWARE, { device: "gpu" }, "gpu", undefined],
    [SOFTWARE, { gpu: { baseline: true } }, "gpu", undefined],
    [null, {}, "cpu", /offers no GPU/],
    [undefined, {}, "cpu", /^WebGPU is not available/],
    [undefined, { device: "gpu" }, "no-webgpu", undefined],
    [undefined, { gpu: { reduction: "workgroup" } }, "no-webgpu", undefined],
  ];
  for (const [adapter, options, expected, why] of cases) {
    const told = `${JSON.stringify(adapter)}, ${JSON.stringify(options)}`;
    await having({ adapter }, async (wanted) => {
      if (expected === "no-webgpu") return assert.equal(await code(made(options)), expected, told);
      const engine = await made(options);
      assert.deepEqual(wanted, [expected], told);
      const { kind, why: whys, tokensPerSecond } = engine.info.device;
      assert.deepEqual([kind, tokensPerSecond], expected === "cpu" ? ["cpu", 7] : ["gpu", undefined], told);
      if (why) assert.match(whys.kind, why, told);
      await engine.dispose();
    });
  }
});

test("options of a GPU beside the processor are refused by name, a word for no device too", async () => {
  await assert.rejects(made({ device: "cpu", gpu: { shapes: "software" } }), { code: "argument", message: /^gpu: .*device: "cpu"/ });
  await assert.rejects(made({ device: "tpu" }), { code: "argument", message: /^device: expected "auto", "gpu" or "cpu", found "tpu"$/ });
  await having({ adapter: GPU }, async () => (await made({ device: "cpu", gpu: { powerPreference: "low-power", shapes: undefined } })).dispose());
});

test("a GPU on which no model can be loaded: the processor, unless the GPU was named; what is wrong with a file is wrong everywhere", async () => {
  const failing = (code) => (device) => {
    if (device !== "cpu") throw makeError(code, "because");
    return new Engine("cpu");
  };
  for (const code of ["self-check", "gpu", "device-lost", "no-gpu"]) {
    await having({ adapter: GPU, load: failing(code) }, async (wanted) => {
      const engine = await made();
      assert.deepEqual([wanted, engine.info.device.kind], [["gpu", "cpu"], "cpu"]);
      assert.match(engine.info.device.why.kind, /^the GPU cannot be used: because$/);
      await engine.dispose();
      await assert.rejects(made({ device: "gpu" }), { code });
    });
  }
  for (const code of ["malformed", "out-of-memory", "http"]) {
    await having({ adapter: GPU, load: failing(code) }, async (wanted) => {
      await assert.rejects(made(), { code });
      assert.deepEqual(wanted, ["gpu"]);
    });
  }
});

test("a GPU that is lost again and again: the processor goes on, and is told as a reload", async () => {
  const load = (device) =>
    new Engine(device === "cpu" ? "cpu" : "gpu", () => {
      if (device !== "cpu") throw makeError("device-lost", "gone");
      return done("From the processor.");
    });
  await having({ adapter: GPU, load }, async (wanted) => {
    const broken = [];
    const engine = await made({ onBroken: ({ code }) => broken.push(code) });
    const heard = [];
    engine.on("reloaded", ({ info }) => heard.push(info.device.kind));
    assert.equal(await text(engine), "From the processor.");
    assert.deepEqual([wanted, heard, broken], [["gpu", "gpu", "cpu"], ["gpu", "cpu"], []]);
    assert.match(engine.info.device.why.kind, /lost again and again: gone/);
    assert.equal(await text(engine), "From the processor.");
    assert.equal(wanted.length, 3, "it stays there");
    await engine.dispose();
    const named = await made({ device: "gpu", onBroken: ({ code }) => broken.push(code) });
    await assert.rejects(text(named), { code: "device-lost" });
    assert.deepEqual(broken, ["device-lost"]);
    await named.dispose();
  });
});

test("a server behind it: the processor answers first, unless that is too slow for the app", async (t) => {
  const { baseURL, heads } = await faulty(t, [says(200, whole)]);
  const server = { baseURL, model: "big" };
  for (const adapter of [SOFTWARE, null, undefined]) {
    await having({ adapter }, async (wanted) => {
      const engine = await made({ server });
      assert.deepEqual([engine.info.where, engine.info.device.kind, wanted, heads.length], ["device", "cpu", ["cpu"], 0]);
      await engine.dispose();
      const told = [];
      const behind = await made({ server: { ...server, when: ["too-slow"] }, onWhere: (info) => void told.push([info.where, info.reason]) });
      assert.deepEqual([told, wanted.length], [[["server", "too-slow"]], 1]);
      await behind.dispose();
    });
  }
});

test("without SIMD in WebAssembly it is said", async (t) => {
  t.mock.method(WebAssembly, "validate", () => false);
  // A realm whose module is not there yet.
  const { begin } = await import("../dist/worker/wasm.js?anew");
  await assert.rejects(begin(undefined), { code: "no-wasm", message: /SIMD/ });
});
