/** Parts of kept files that another worker reads: the same bytes, and none where it fails. */

import assert from "node:assert/strict";
import test from "node:test";
import { network, newHasher, restart, storedParts } from "./browser.mjs";
import { PART } from "../dist/download/store.js";
import { openSources } from "../dist/download/source.js";
import { allowReader, Parts, READER, serveParts } from "../dist/download/parts.js";

const ADDRESS = "https://models.example/model.gguf";
const file = new Uint8Array(5 * PART + 77).map((_, i) => (i * 31 + (i >> 9)) & 255);
const spec = { kind: "urls", model: ADDRESS, files: [{ url: ADDRESS, name: "model.gguf", key: ADDRESS }], cache: true };

/** What `read` of each worker that was started is asked, and how it is ended. */
let started = [];

/**
 * A worker as `Parts` starts one, in this realm; `behave(worker)` says what it does. Of 4 cores 2
 * are for them.
 */
function workers(behave, cores = 4) {
  started = [];
  navigator.hardwareConcurrency = cores;
  class FakeScope {}
  globalThis.DedicatedWorkerGlobalScope = FakeScope;
  Object.setPrototypeOf(globalThis, FakeScope.prototype);
  globalThis.location = { href: "https://page.example/worker.js" };
  globalThis.Worker = class extends EventTarget {
    questions = [];
    isEnded = false;
    inner = new EventTarget();
    constructor(address, options) {
      super();
      Object.assign(this, { address, options });
      started.push(this);
      behave(this);
    }
    postMessage(data) {
      this.questions.push(data);
      this.inner.dispatchEvent(new MessageEvent("message", { data }));
    }
    /** Its side of the line. */
    get port() {
      return {
        addEventListener: (...given) => this.inner.addEventListener(...given),
        postMessage: (data, transfer) => !this.isEnded && this.dispatchEvent(new MessageEvent("message", { data: structuredClone(data, { transfer }) })),
      };
    }
    terminate() {
      this.isEnded = true;
    }
  };
}

const open = () => openSources(spec, () => {}, newHasher);
const same = (bytes, offset, length) => assert.ok(Buffer.from(bytes).equals(Buffer.from(file.subarray(offset, offset + length))), `${length} bytes at ${offset}`);

/** A browser that has the file, and its page again. */
async function kept() {
  restart();
  network.files.set(ADDRESS, { body: file, headers: { ETag: '"1"' } });
  const first = await open();
  await first.complete;
  first.close();
}

async function readAll(sources) {
  for (let at = 0; at < file.length; at += 1_700_001) {
    const length = Math.min(1_700_001, file.length - at);
    same(await sources.files[0].read(at, length), at, length);
  }
}

// The engine may run in a worker of an app's (`worker: "here"`), whose script is the app's.
test("a script that is not the package's own is not started again", async () => {
  workers(() => {});
  await kept();
  const sources = await open();
  await readAll(sources);
  sources.close();
  assert.equal(started.length, 0);
  allowReader();
});

test("other workers read the parts; they end with the reading", async () => {
  workers((worker) => queueMicrotask(() => serveParts(worker.port)));
  await kept();
  assert.equal(started.length, 0, "what comes from the network is not read from the disk");
  const sources = await open();
  assert.equal(started.length, 2, "they start while the rest is made ready");
  await readAll(sources);
  assert.equal(started.length, 2);
  for (const [i, worker] of started.entries()) {
    assert.deepEqual([worker.address, worker.options.name], [location.href, READER]);
    assert.deepEqual([...new Set(worker.questions.map(({ part }) => part))].sort(), [i, i + 2, i + 4]);
    assert.equal(worker.isEnded, false);
  }
  sources.close();
  assert.ok(started.every((worker) => worker.isEnded));
});

test("a part that is damaged is found there too, and fetched again", async () => {
  workers((worker) => queueMicrotask(() => serveParts(worker.port)));
  await kept();
  const [, handle] = (await storedParts()).find(([name]) => name.endsWith("/000003"));
  handle.bytes[99] ^= 1;
  const sources = await open();
  await readAll(sources);
  const questions = () => started.flatMap(({ questions }) => questions).filter(({ part }) => part === 3).length;
  assert.equal(questions(), 1, "what has come again is there");
  sources.close();
  // The next visit reads what was mended.
  started = [];
  const again = await open();
  await readAll(again);
  assert.equal(questions(), 1);
  again.close();
});

test("where it cannot be started, or stops, the parts are read here", async () => {
  await kept();
  const failing = {
    never: () => {},
    "at once": (worker) => queueMicrotask(() => worker.dispatchEvent(new Event("error"))),
    "with a question": (worker) => {
      worker.inner.addEventListener("message", () => worker.dispatchEvent(new Event("error")));
      queueMicrotask(() => worker.port.postMessage({ type: "hello" }));
    },
    throws: () => {
      throw new DOMException("no", "SecurityError");
    },
  };
  for (const [how, behave] of Object.entries(failing)) {
    workers(behave);
    const sources = await open();
    await readAll(sources);
    assert.equal(started.length, 2, how);
    for (const { questions } of started) assert.equal(questions.length, how === "with a question" ? 1 : 0, how);
    sources.close();
  }
});

test("there are as many as cores are left beside the engine's worker and the browser, at least one and at most three", () => {
  const count = (cores) => {
    workers(() => {}, cores);
    const parts = new Parts();
    parts.start();
    parts.start();
    parts.close();
    return started.length;
  };
  const cores = [1, 2, 3, 4, 5, 6, 64, undefined];
  assert.deepEqual(cores.map(count), [1, 1, 1, 2, 3, 3, 3, 2]);
});

test("one that is closed before it has read anything starts none", () => {
  workers(() => {});
  new Parts().close();
  assert.equal(started.length, 0);
});

test("what was asked and not answered ends with the reading", async () => {
  workers((worker) => queueMicrotask(() => worker.port.postMessage({ type: "hello" })));
  const parts = new Parts();
  parts.start();
  await undefined;
  const waiting = parts.read({ id: "of no account" }, 0, 1);
  parts.close();
  await assert.rejects(waiting, { code: "cancelled" });
});
