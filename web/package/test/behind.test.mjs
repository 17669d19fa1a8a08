import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import test from "node:test";
import { makeError } from "../dist/errors.js";
import { createEngine } from "../dist/index.js";
import { Engine } from "../dist/page/engine.js";
import { Behind } from "../dist/page/behind.js";
import { Listeners } from "../dist/page/listeners.js";
import { Router } from "../dist/page/router.js";
import { WebEngine } from "../wasm/peregrine.js";
import { faulty, says, whole } from "./faulty.mjs";

const model = new Blob(["no model"]);
const messages = [{ role: "user", content: "x" }];
const text = async (engine) => (await engine.chat.completions.create({ messages })).choices[0].message.content;
const quiet = { error() {}, warn() {}, info() {}, debug() {} };

/**
 * Runs with a GPU of which nothing is asked but an adapter, and with what `load` makes of a model.
 */
async function having({ adapter = {}, load }, use) {
  const [own, real] = [Object.getOwnPropertyDescriptor(globalThis, "navigator"), WebEngine.load];
  const gpu = { requestAdapter: async () => ({ info: adapter, features: new Set(), limits: {} }) };
  Object.defineProperty(globalThis, "navigator", { value: { gpu, userAgent: "test" }, configurable: true });
  WebEngine.load = load;
  try {
    return await use();
  } finally {
    WebEngine.load = real;
    if (own) Object.defineProperty(globalThis, "navigator", own);
    else delete globalThis.navigator;
  }
}

class FakeEngine {
  free() {}
  info() {
    const device = { software: false, reduction: "workgroup", shapes: "hardware" };
    return { model: { name: "m", formats: "", contextLength: 1 }, device, memory: {}, loading: {}, selfCheck: [{ variant: "GPU shapes, workgroup sums" }] };
  }
}

/**
 * What becomes of an engine with that server behind it: where it is, and what it asked and was
 * told.
 */
async function made(server, options = {}) {
  const told = [];
  const engine = await createEngine({ model, logger: quiet, onWhere: (info) => void told.push(info), server, ...options }).catch((error) => error);
  return { engine, told, where: engine instanceof Engine ? engine.info.where : engine.code };
}

test("no WebGPU: the same engine answers from the server, and the app knows before anything is sent", async (t) => {
  const { baseURL, posts, heads } = await faulty(t, [says(200, whole)]);
  const lines = [];
  const logger = { ...quiet, warn: (line) => lines.push(line) };
  const { engine, told } = await made({ baseURL: `${baseURL}/?key=geheim`, model: "big" }, { logger, device: "gpu" });
  assert.deepEqual([told.length, heads.length], [1, 0]);
  assert.equal(engine.info, told[0]);
  const { error, ...info } = engine.info;
  assert.deepEqual(info, { where: "server", address: baseURL, model: { name: "big" }, reason: "no-device" });
  assert.equal(error.code, "no-webgpu");
  assert.deepEqual(lines, [], "the app has been told");
  assert.equal(await text(engine), "Yes.");
  assert.equal(posts.length, 1);
  const response = await engine.fetch("/v1/chat/completions", { method: "POST", body: JSON.stringify({ messages }) });
  assert.equal((await response.json()).choices[0].message.content, "Yes.");
  await assert.rejects(engine.tokenizer.encode("x"), { code: "not-supported", message: /^tokenizer: / });
  await assert.rejects(engine.saveState(), { code: "not-supported", message: /^saveState: / });
  await assert.rejects(engine.prefill("x"), { code: "not-supported", message: /^prefill: / });
  await engine.dispose();
  await assert.rejects(text(engine), { code: "disposed" });
});

test("without onWhere the log says it, at the level that is told", async (t) => {
  const { baseURL } = await faulty(t, [says(200, whole)]);
  const lines = [];
  const engine = await createEngine({ model, logger: { ...quiet, warn: (line) => lines.push(line) }, device: "gpu", server: { baseURL, model: "big" } });
  assert.match(lines.join(), /^peregrine: answers come from http:.*\/v1 \(no-device: WebGPU is not available/);
  await engine.dispose();
});

test("an app that does not want the server: false, a promise of it, or a failure; then the error is the device's", async (t) => {
  const { baseURL, heads } = await faulty(t, [says(200, whole)]);
  for (const onWhere of [() => false, async () => false, () => assert.fail("x"), () => Promise.reject(new Error("x"))]) {
    const { where } = await made({ baseURL, model: "big" }, { onWhere, device: "gpu" });
    assert.equal(where, "no-webgpu");
    assert.equal((await made({ baseURL, model: "big", when: "always" }, { onWhere })).where, "cancelled");
  }
  const stop = new AbortController();
  const asking = made({ baseURL, model: "big" }, { device: "gpu", signal: stop.signal, onWhere: () => (stop.abort(), new Promise(() => {})) });
  assert.equal((await asking).where, "cancelled", "also while the app is asked");
  assert.equal(heads.length, 0);
});

test("when: which errors of a device lead to the server", async (t) => {
  const { baseURL } = await faulty(t, [says(200, whole)]);
  const fails = (code) => async () => Promise.reject(makeError(code, "because"));
  const all = ["no-device", "too-big", "too-slow"];
  // `instead`: without a GPU that works only the processor would compute.
  for (const [code, reason, defaults, instead] of [
    ["no-gpu", "no-device", true, "too-slow"],
    ["self-check", "no-device", true, "too-slow"],
    ["gpu", "no-device", true, "too-slow"],
    ["device-lost", "no-device", true, "too-slow"],
    ["no-wasm", "no-device", true],
    ["out-of-memory", "too-big", true],
    ["too-slow", "too-slow", false],
    ["http", undefined],
    ["malformed", undefined],
    ["quota", undefined],
    ["internal", undefined],
  ]) {
    await having({ load: fails(code) }, async () => {
      for (const [when, isThere] of [[undefined, defaults], [all, reason], [[reason], reason], [["too-slow"], reason === "too-slow" ? reason : instead], [all.filter((word) => word !== reason), instead]]) {
        if (when?.[0] === undefined && when) continue;
        const expected = isThere === true ? reason : isThere;
        const { where, told } = await made({ baseURL, model: "big", ...(when && { when }) });
        assert.equal(where, expected ? "server" : code, `${code}, ${when}`);
        assert.deepEqual(told.map((info) => [info.where, info.reason, info.error.code]), expected ? [["server", expected, code]] : []);
        // Whoever insists on a GPU would not have taken the processor.
        if (expected === instead && instead) assert.equal((await made({ baseURL, model: "big", when }, { device: "gpu" })).where, code);
      }
    });
  }
});

test("a device that will do answers; the app is told where, and may not refuse that", async (t) => {
  const { baseURL, heads } = await faulty(t, [says(200, whole)]);
  await having({ load: async () => new FakeEngine() }, async () => {
    const { engine, told } = await made({ baseURL, model: "big" });
    assert.deepEqual([told.length, told[0].where, engine.info.where, engine.info.model.name], [1, "device", "device", "m"]);
    await engine.dispose();
    const refusing = await made({ baseURL, model: "big" }, { onWhere: () => false });
    assert.equal(refusing.where, "device");
    await refusing.engine.dispose();
    const heard = [];
    const alone = await createEngine({ model, onWhere: (info) => void heard.push(info.where) });
    assert.deepEqual(heard, ["device"]);
    await alone.dispose();
  });
  assert.equal(heads.length, 0);
});

test("always: no device is looked for", async (t) => {
  const { baseURL } = await faulty(t, [says(200, whole)]);
  let loads = 0;
  await having({ load: async () => (loads++, new FakeEngine()) }, async () => {
    const { engine, told } = await made({ baseURL, model: "big", when: "always" });
    assert.deepEqual([loads, told.map(({ where, reason, error }) => [where, reason, error])], [0, [["server", "always", undefined]]]);
    assert.equal(await text(engine), "Yes.");
  });
});

test("too-slow: an adapter that computes on the CPU is passed over before anything is read of the model", async (t) => {
  const { baseURL } = await faulty(t, [says(200, whole)]);
  let loads = 0;
  await having({ adapter: { description: "SwiftShader Device" }, load: async () => (loads++, new FakeEngine()) }, async () => {
    const { told } = await made({ baseURL, model: "big", when: ["too-slow"] });
    assert.deepEqual([loads, told[0].reason, told[0].error.code], [0, "too-slow", "too-slow"]);
    const { where, engine } = await made({ baseURL, model: "big", when: ["no-device"] });
    assert.deepEqual([loads, where], [1, "device"]);
    await engine.dispose();
  });
});

/** An engine on a device that the test plays. */
function played(baseURL, { onWhere, when, onBroken } = {}) {
  const calls = [];
  const device = {
    closed: 0,
    call(name, request, onEvent) {
      const call = { name, request, onEvent, aborts: 0 };
      calls.push(call);
      if (device.dead) return { result: Promise.reject(device.dead), abort() {} };
      const result = new Promise((resolve, reject) => Object.assign(call, { resolve, reject }));
      return { result, abort: () => call.aborts++ };
    },
    close: async () => void device.closed++,
  };
  const listeners = new Listeners(() => {});
  const behind = baseURL && new Behind({ baseURL, model: "big", ...(when && { when }) }, onWhere, () => {});
  const router = new Router({ backend: device, info: { where: "device", model: { name: "m" } } }, { behind, listeners, onBroken });
  /** As a link does: every open call fails, then the engine is told. */
  const lose = (code = "device-lost") => {
    device.dead = makeError(code, "gone");
    for (const { reject } of calls.splice(0)) reject(device.dead);
    router.broke(device.dead);
  };
  return { engine: new Engine(router, listeners, false), router, calls, device, lose };
}

test("lost for good while it lives: what had not begun is answered by the server, half an answer is not", async (t) => {
  const { baseURL, posts } = await faulty(t, [says(200, whole)]);
  const told = [];
  const heard = [];
  let agree;
  const onWhere = (info) => (told.push([info.where, info.reason, posts.length]), new Promise((resolve) => (agree = resolve)));
  const { engine, calls, device, lose } = played(baseURL, { onWhere, onBroken: () => heard.push("broken") });
  engine.on("where", ({ where }) => heard.push(where));
  const fresh = text(engine);
  const creating = engine.chat.completions.create({ messages, stream: true });
  calls.at(-1).onEvent("");
  calls.at(-1).onEvent('{"choices":[]}');
  const begun = (await creating)[Symbol.asyncIterator]();
  await begun.next();
  const other = assert.rejects(engine.tokenizer.encode("x"), { code: "device-lost" });
  const stop = new AbortController();
  const stopped = assert.rejects(engine.chat.completions.create({ messages }, { signal: stop.signal }), { code: "cancelled" });
  lose();
  const late = text(engine);
  await assert.rejects(begun.next(), { code: "device-lost" }, "half an answer is told as what it is");
  stop.abort();
  await stopped;
  assert.deepEqual([posts.length, heard, told], [0, [], [["server", "no-device", 0]]]);
  agree();
  assert.deepEqual([await fresh, await late], ["Yes.", "Yes."]);
  await other;
  assert.deepEqual([posts.length, heard, device.closed, engine.info.where], [2, ["server"], 1, "server"]);
  await assert.rejects(engine.tokenizer.encode("x"), { code: "not-supported" });
});

test("lost for good, and the app does not want the server, or none is behind it for that: then it is broken", async (t) => {
  const { baseURL, heads } = await faulty(t, [says(200, whole)]);
  for (const [server, options] of [[baseURL, { onWhere: () => false }], [baseURL, { when: ["too-big"] }], [undefined, {}]]) {
    const broken = [];
    const { engine, lose, device } = played(server, { ...options, onBroken: ({ code }) => broken.push(code) });
    const asking = text(engine);
    lose();
    await assert.rejects(asking, { code: "device-lost" });
    await assert.rejects(text(engine), { code: "device-lost" });
    assert.deepEqual([broken, engine.info.where, device.closed], [["device-lost"], "device", 0]);
  }
  assert.equal(heads.length, 0);
});

test("a loaded model that has no room for a conversation is too big", async (t) => {
  const { baseURL } = await faulty(t, [says(200, whole)]);
  const broken = [];
  for (const [when, expected] of [[undefined, "Yes."], [["no-device"], "out-of-memory"]]) {
    const { engine, calls } = played(baseURL, { when, onBroken: () => broken.push(1) });
    const asking = text(engine).catch((error) => error.code);
    calls[0].reject(makeError("out-of-memory", "no room"));
    assert.equal(await asking, expected);
  }
  assert.deepEqual(broken, []);
});

test("no room, and the app does not want the server: the device goes on; that it breaks is told, also while the app is asked", async (t) => {
  const { baseURL, heads } = await faulty(t, [says(200, whole)]);
  for (const [answer, asks] of [[() => false, 2], [() => new Promise((resolve) => (refuse = () => resolve(false))), 1]]) {
    var refuse = () => {};
    let asked = 0;
    const broken = [];
    const { engine, calls, lose } = played(baseURL, { onWhere: () => (asked++, answer()), onBroken: ({ code }) => broken.push(code) });
    const asking = assert.rejects(text(engine), { code: "out-of-memory" });
    calls[0].reject(makeError("out-of-memory", "no room"));
    await new Promise(setImmediate);
    calls.length = 0;
    if (asks === 2) await asking;
    lose();
    refuse();
    await asking;
    await new Promise(setImmediate);
    assert.deepEqual([asked, broken, engine.info.where], [asks, ["device-lost"], "device"]);
  }
  assert.equal(heads.length, 0);
});

test("disposed while the app is asked: nothing is sent", async (t) => {
  const { baseURL, heads } = await faulty(t, [says(200, whole)]);
  const { engine, lose, device } = played(baseURL, { onWhere: () => new Promise(() => {}), onBroken: () => assert.fail("not broken") });
  const asking = text(engine);
  lose();
  await engine.dispose();
  await assert.rejects(asking, { code: "disposed" });
  assert.deepEqual([heads.length, device.closed], [0, 1]);
});

test("the device is lost: loaded again, and told; lost again and again: the server takes over", async (t) => {
  const { baseURL, posts } = await faulty(t, [says(200, whole)]);
  let [losses, loads] = [1, 0];
  const usage = { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2, prompt_tokens_details: { cached_tokens: 0 }, timings: { prefill_ms: 1, decode_ms: 1 } };
  const session = {
    free() {},
    async respond() {
      if (losses-- > 0) throw makeError("device-lost", "gone");
      return { usage, cancelled: false, whole: JSON.stringify({ choices: [{ message: { content: "From here." } }] }) };
    },
  };
  await having({ load: async () => (loads++, Object.assign(new FakeEngine(), { session: () => session })) }, async () => {
    const { engine } = await made({ baseURL, model: "big" }, { device: "gpu", onBroken: () => assert.fail("a server is there") });
    const heard = [];
    for (const event of ["device-lost", "reloaded", "where"]) engine.on(event, (payload) => heard.push([event, payload.error?.code ?? payload.info.where]));
    assert.equal(await text(engine), "From here.");
    assert.deepEqual([heard, loads, engine.info.where], [[["device-lost", "device-lost"], ["reloaded", "device"]], 2, "device"]);
    losses = Infinity;
    assert.equal(await text(engine), "Yes.");
    assert.deepEqual([heard.slice(2).map(([event]) => event), loads, posts.length, engine.info.where], [["device-lost", "reloaded", "where"], 3, 1, "server"]);
    await engine.dispose();
  });
});

test("engine.on: each event to its listeners until they end it; one that throws disturbs nobody", async () => {
  const { engine, router } = played();
  const heard = [];
  const end = engine.on("device-lost", ({ error }) => heard.push(error.code));
  engine.on("device-lost", () => assert.fail("the app's own"));
  engine.on("reloaded", ({ info }) => heard.push(info.model.name));
  router.lost(makeError("device-lost", "gone"));
  router.reloaded({ where: "device", model: { name: "new" } });
  end();
  end();
  router.lost(makeError("device-lost", "gone"));
  assert.deepEqual([heard, engine.info.model.name], [["device-lost", "new"], "new"]);
  assert.throws(() => engine.on("lost", () => {}), { code: "argument", message: /^event: expected "device-lost", "reloaded" or "where", found "lost"$/ });
  assert.throws(() => engine.on("where"), { code: "argument", message: /^listener: expected a function/ });
});
