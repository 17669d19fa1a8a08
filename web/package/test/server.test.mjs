import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import test from "node:test";
import { createEngine, downloadModel } from "../dist/index.js";
import { GPU_OPTIONS, LOAD_OPTIONS } from "../dist/load-options.js";
import { keepOutcomes, readOutcomes } from "../dist/worker/outcomes.js";
import { WebEngine } from "../wasm/peregrine.js";
import { done } from "./faked.mjs";

const model = new Blob(["no model"]);

/**
 * Runs with a GPU of which nothing is asked but an adapter, and with an engine that `load` makes.
 */
async function having(load, use) {
  const [own, real] = [Object.getOwnPropertyDescriptor(globalThis, "navigator"), WebEngine.load];
  const gpu = { requestAdapter: async () => ({ info: {}, features: new Set(), limits: {} }) };
  Object.defineProperty(globalThis, "navigator", { value: { gpu, userAgent: "test" }, configurable: true });
  WebEngine.load = async (_access, files, options, report) => load({ files, options, report });
  try {
    return await use(gpu);
  } finally {
    WebEngine.load = real;
    if (own) Object.defineProperty(globalThis, "navigator", own);
    else delete globalThis.navigator;
  }
}

/** A step that the test holds up: it has `begun`, and goes on when told so. */
function gate() {
  let begin, goOn;
  const [begun, open] = [new Promise((resolve) => (begin = resolve)), new Promise((resolve) => (goOn = resolve))];
  return { begun, goOn, pass: () => (begin(), open) };
}

class FakeEngine {
  freed = 0;
  free() {
    this.freed++;
  }
  info() {
    const device = { software: false, reduction: "workgroup", shapes: "hardware" };
    return { model: { name: "m", formats: "", contextLength: 1 }, device, memory: {}, loading: {}, selfCheck: [{ variant: "GPU shapes, workgroup sums" }] };
  }
}

/** Lets everything happen that waits for nothing from outside. */
const settle = async () => {
  for (let i = 0; i < 20; i++) await new Promise(setImmediate);
};

/** Starts to load an engine and stops it once it has come so far as `begun`. */
async function stopped(begun) {
  const stop = new AbortController();
  const loading = createEngine({ model, worker: "here", signal: stop.signal });
  loading.catch(() => {});
  await begun;
  stop.abort();
  await assert.rejects(loading, { code: "cancelled" });
}

test("the runtime gets every option that a page gives", async () => {
  const all = (options) => Object.fromEntries(Object.entries(options).map(([name, kind]) => [name, kind === "boolean" ? true : "min" in kind ? 5 : kind.at(-1)]));
  const [load, gpu] = [all(LOAD_OPTIONS), all(GPU_OPTIONS)];
  const seen = [];
  await having(async ({ options }) => (seen.push(options), new FakeEngine()), async () => {
    await (await createEngine({ model, worker: "here", ...load, gpu })).dispose();
    await (await createEngine({ model, worker: "here", kvType: undefined, memoryBudget: 5, gpu: { shapes: undefined } })).dispose();
  });
  // Of a device that tells nothing half of 4 GB are thought to be there for the model.
  const deviceMemory = 2 ** 31;
  assert.deepEqual(seen[0].load, { ...load, deviceMemory });
  assert.deepEqual({ ...seen[0].gpu, ...gpu }, seen[0].gpu);
  // What is undefined is not there: Rust would have to tell it from what is missing.
  assert.deepEqual(seen[1].load, { memoryBudget: 5, snapshotHostBytes: 0, deviceMemory });
  assert.deepEqual(Object.keys(seen[1].gpu).sort(), ["architecture", "device", "identity", "name", "software", "subgroups", "vendor"]);
});

test("stopped while it loads without a worker: what is made afterwards is freed, and nothing more is read", async () => {
  const { begun, goOn, pass } = gate();
  const engine = new FakeEngine();
  let late;
  const load = async ({ files: [file] }) => {
    await file.read(0, 2);
    await pass();
    late = await file.read(2, 2).catch((error) => error.code);
    return engine;
  };
  await having(load, async () => {
    await stopped(begun);
    await settle();
    goOn();
    await settle();
    assert.deepEqual([engine.freed, late], [1, "disposed"]);
  });
});

test("an engine without a worker is freed once, also one that broke", async () => {
  const trap = () => {
    throw new WebAssembly.RuntimeError("unreachable");
  };
  const overflow = () => overflow();
  for (const fault of [undefined, trap, overflow]) {
    const engine = new FakeEngine();
    await having(async () => engine, async () => {
      const made = await createEngine({ model, worker: "here", logLevel: "off" });
      if (fault) {
        engine.encode = fault;
        await assert.rejects(made.tokenizer.encode("x"), { code: "internal" });
        await assert.rejects(made.tokenizer.decode([1]), { code: "internal", message: /^the engine crashed: / });
      }
      await made.dispose();
      await settle();
      assert.equal(engine.freed, 1, String(fault));
    });
  }
});

/** An engine whose context grows up to 100 tokens. */
class GrowingEngine extends FakeEngine {
  tokens = 10;
  constructor(isLost) {
    super();
    this.isLost = isLost;
  }
  session() {
    const respond = async () => {
      if (this.isLost) throw Object.assign(new Error("it is gone"), { code: "device-lost" });
      return done();
    };
    return { respond, free() {} };
  }
  info() {
    const info = super.info();
    return { ...info, model: { ...info.model, contextLength: this.tokens, longestContext: 100 }, memory: { needed: this.tokens } };
  }
  growContext(tokens) {
    if (tokens > 100) throw Object.assign(new Error("contextLength: expected at most 100 tokens"), { code: "argument" });
    this.tokens = Math.max(this.tokens, tokens);
  }
  encode() {
    throw Object.assign(new Error("the context is full"), { code: "context-full" });
  }
}

test("a context grows, is told, and has grown once the model is loaded again", async () => {
  const engines = [];
  let engine;
  let meanwhile;
  const load = async () => {
    engines.push(new GrowingEngine(engines.length === 0));
    // Asked for while there is no model.
    if (engines.length === 2) meanwhile = engine.growContext(50);
    return engines.at(-1);
  };
  await having(load, async () => {
    engine = await createEngine({ model, worker: "here", logLevel: "off" });
    const now = () => [engine.info.model.contextLength, engine.info.memory.needed];
    assert.deepEqual(now(), [10, 10]);
    await assert.rejects(engine.tokenizer.encode("x"), { code: "context-full", message: "the context is full; or make room: engine.growContext(tokens), up to 100 where memory allows" });
    for (const wrong of [0, 1.5, "20", undefined]) await assert.rejects(engine.growContext(wrong), { code: "argument", message: /^contextLength: / });
    await assert.rejects(engine.growContext(101), { code: "argument" });
    assert.deepEqual([await engine.growContext(100), ...now()], [100, 100, 100]);
    assert.deepEqual([await engine.growContext(20), ...now()], [100, 100, 100]);
    await assert.rejects(engine.tokenizer.encode("x"), { message: "the context is full" });
    // The device is lost in the first answer.
    await engine.completions.create({ prompt: "x" });
    assert.deepEqual([engines.length, engines[1].tokens, ...now()], [2, 100, 100, 100]);
    assert.equal(await meanwhile, 100);
    await engine.dispose();
  });
});

test("tokens are counted while the model of a lost device is loaded again, and before the answer for which it is has ended", async () => {
  const [lost, again, answer] = [gate(), gate(), gate()];
  class CountingEngine extends FakeEngine {
    isFirst = loads === 1;
    encode = (text) => [...text].map((letter) => letter.codePointAt(0));
    decode = (ids) => String.fromCodePoint(...ids);
    models = () => ({ object: "list", data: [] });
    session() {
      const respond = async () => {
        await (this.isFirst ? lost : answer).pass();
        if (this.isFirst) throw Object.assign(new Error("it is gone"), { code: "device-lost" });
        return done();
      };
      return { respond, free() {} };
    }
  }
  let loads = 0;
  const load = async () => {
    if (++loads === 2) await again.pass();
    return new CountingEngine();
  };
  await having(load, async () => {
    const engine = await createEngine({ model, worker: "here", logLevel: "off" });
    const answering = engine.completions.create({ prompt: "x" });
    await lost.begun;
    lost.goOn();
    await again.begun;
    const counted = Promise.all([engine.tokenizer.encode("ab"), engine.tokenizer.decode([99, 100])]);
    again.goOn();
    assert.deepEqual(await counted, [[97, 98], "cd"]);
    answer.goOn();
    await answering;
    assert.equal(loads, 2);
    await engine.dispose();
  });
});

test("a comparison that nobody waits for any more stops, and the engine is freed after it", async () => {
  const { begun, goOn, pass } = gate();
  const engine = new FakeEngine();
  let late;
  engine.check = async ([file]) => {
    await pass();
    late = await file.read(0, 2).catch((error) => error.code);
    assert.equal(engine.freed, 0);
    throw new Error("no bytes");
  };
  await having(async () => engine, async () => {
    const made = await createEngine({ model, worker: "here" });
    const checking = made.check();
    checking.catch(() => {});
    await begun;
    const disposed = made.dispose();
    await settle();
    goOn();
    await disposed;
    await assert.rejects(checking, { code: "disposed" });
    assert.deepEqual([engine.freed, late], [1, "disposed"]);
  });
});

test("stopped while the GPU is looked for: no model is opened", async () => {
  let loads = 0;
  await having(async () => loads++, async (gpu) => {
    const { begun, goOn, pass } = gate();
    const { requestAdapter } = gpu;
    gpu.requestAdapter = async () => (await pass(), requestAdapter());
    await stopped(begun);
    goOn();
    await settle();
    assert.equal(loads, 0);
  });
});

test("stopped while the worker is made", async () => {
  let loads = 0;
  await having(async () => (loads++, new FakeEngine()), async () => {
    for (const start of [createEngine, downloadModel]) {
      // Looked at first before the worker is there; the next look is that after it.
      const stop = new AbortController();
      const { signal } = stop;
      let looks = 0;
      const watched = {
        get aborted() {
          if (looks++ > 0 || signal.aborted) return signal.aborted;
          queueMicrotask(() => stop.abort());
          return false;
        },
        get reason() {
          return signal.reason;
        },
        addEventListener: (...args) => signal.addEventListener(...args),
        removeEventListener: (...args) => signal.removeEventListener(...args),
      };
      await assert.rejects(start({ model, signal: watched }), { code: "cancelled" });
      await settle();
    }
    assert.equal(loads, 0);
  });
});

test("what a self-check found is kept where nothing passes, too; the page is not told under what name", async () => {
  const failing = async ({ options, report }) => {
    assert.deepEqual(options.outcomes, known);
    report({ phase: "check", key: "a", variant: "one", failed: "wrong", seconds: 1 });
    report({ phase: "check", key: "b", variant: "two", failed: "no kernel" });
    report({ phase: "check", key: "c", variant: "three", seconds: 1 });
    throw Object.assign(new Error("all wrong"), { code: "self-check" });
  };
  let known = {};
  const seen = [];
  const load = () => createEngine({ model, device: "gpu", worker: "here", logLevel: "off", onProgress: (progress) => progress.phase === "check" && seen.push(progress) });
  await having(failing, async () => {
    await assert.rejects(load(), { code: "self-check" });
    known = await readOutcomes();
    assert.deepEqual(known, { a: "wrong", c: null });
    assert.deepEqual(seen[0], { phase: "check", variant: "one", failed: "wrong", seconds: 1 });
    await assert.rejects(load(), { code: "self-check" });
  });
  // Two engines that load at the same time do not forget what the other has found; more than any
  // device has begins anew.
  await Promise.all([keepOutcomes({ d: null }), keepOutcomes({ e: "wrong" })]);
  assert.deepEqual(await readOutcomes(), { a: "wrong", c: null, d: null, e: "wrong" });
  await keepOutcomes(Object.fromEntries(Array.from({ length: 497 }, (_, i) => [`x${i}`, null])));
  assert.equal(Object.keys(await readOutcomes()).length, 497);
});
