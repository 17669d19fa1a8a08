/**
 * What the page says that official checkpoints need is what the engine computes from such a header.
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { SHAPES, writeOfficial } from "./official.mjs";
import { browser, load } from "./support.mjs";
import { defaultContext, longestContext, memoryNeeded } from "peregrine";

browser();
const { OFFERS } = await load("app/offers.ts");
const { needOf, readNeed } = await load("app/footprint.ts");
const ENGINE = fileURLToPath(new URL("../../../target/release/peregrine", import.meta.url));
/** The settings of somebody who has chosen nothing, but for these. */
const chosen = (these = {}) => ({ contextLength: null, kvType: "f16", memoryLimit: null, ...these });
const folder = mkdtempSync(join(tmpdir(), "official-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const sizeOf = ({ name }) => name.replace(/^Falcon-H1 (?:Tiny )?(\S+)( Deep)? Instruct$/, (_, size, deep) => (size === "90M" ? "Tiny-90M" : `${size}${deep ? "-Deep" : ""}`));

test("every model on offer has a shape", () => {
  assert.deepEqual(OFFERS.map(sizeOf).sort(), Object.keys(SHAPES).sort());
});

describe("computed by the engine", () => {
  before(() => assert.ok(existsSync(ENGINE), "cargo build --release -p peregrine-cli builds the engine"));

  for (const offer of OFFERS) {
    test(offer.name, () => {
      const size = sizeOf(offer);
      const file = join(folder, `${size}.gguf`);
      const bytes = writeOfficial(file, size);
      assert.ok(offer.bytes >= 0.99 * bytes && offer.bytes <= 1.03 * bytes, `${offer.bytes} bytes are said, the tensors have ${bytes}`);
      for (const kvType of ["f16", "q8", "f32"]) {
        // How contexts are rounded has nothing to do with the type or the model: one shows it.
        const isFirst = offer === OFFERS[0] && kvType === "f16";
        const contexts = isFirst ? [1, 128, 129, 256, 257, 4096, 5000, offer.shape.context] : [257, offer.shape.context];
        for (const tokens of contexts) {
          const args = ["info", file, "--json", "--kv", kvType, "--context", String(tokens)];
          const { memory } = JSON.parse(execFileSync(ENGINE, args, { encoding: "utf8" }));
          assert.equal(memory.context, tokens);
          assert.equal(memoryNeeded(offer.shape, tokens, kvType), memory.total, `${tokens} tokens, ${kvType}`);
        }
        const limit = 1.2 * offer.shape.base;
        const args = ["info", file, "--json", "--kv", kvType, "--memory-budget", String(Math.round(limit))];
        assert.equal(longestContext(offer.shape, Math.round(limit), kvType), JSON.parse(execFileSync(ENGINE, args, { encoding: "utf8" })).memory.largest_context);
      }
      rmSync(file);
    });
  }
});

test("without a choice the context is what suits the device", () => {
  const own = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  /** With the gigabytes that a browser tells of a device. */
  const on = (deviceMemory, { shape }, kvType = "f16") => {
    Object.defineProperty(globalThis, "navigator", { value: { deviceMemory }, configurable: true });
    const { tokens, full } = needOf(shape, chosen({ kvType }));
    assert.equal(tokens, defaultContext(shape, kvType));
    return { tokens, full };
  };
  try {
    for (const offer of OFFERS) {
      for (const gigabytes of [undefined, 0.25, 4, 8, 16, 1024]) {
        const { tokens, full } = on(gigabytes, offer);
        const likely = ((gigabytes ?? 4) * 2 ** 30) / 2;
        assert.ok(tokens === offer.shape.context || tokens % 1024 === 0, `${tokens}`);
        assert.ok(tokens === 4096 || full <= likely, `${offer.name}: ${full} of ${likely}`);
        if (tokens < offer.shape.context) assert.ok(memoryNeeded(offer.shape, tokens + 1024) > likely, `${offer.name}: more than ${tokens} fit`);
      }
      assert.equal(on(1024, offer).tokens, offer.shape.context);
      assert.equal(on(0.25, offer).tokens, 4096);
      assert.ok(on(8, offer, "q8").tokens >= on(8, offer).tokens);
      assert.equal(on(undefined, offer).tokens, on(4, offer).tokens);
    }
  } finally {
    if (own) Object.defineProperty(globalThis, "navigator", own);
    else delete globalThis.navigator;
  }
});

test("a context that is longer than the model's is the model's", () => {
  const [{ shape }] = OFFERS;
  assert.equal(needOf(shape, chosen({ contextLength: 1e9 })).tokens, shape.context);
  assert.deepEqual(needOf(shape, chosen({ contextLength: 100 })).first, needOf(shape, chosen({ contextLength: 100 })).full);
  assert.equal(longestContext(shape, 1000, "f16"), 0);
  assert.equal(longestContext(shape, Infinity, "f16"), shape.context);
});

test("with a limit, and without a choice, the context is the longest that fits", () => {
  for (const { name, shape } of OFFERS) {
    for (const kvType of ["f16", "q8"]) {
      const most = memoryNeeded(shape, shape.context, kvType);
      for (const part of [0.01, 0.3, 0.99]) {
        const memoryLimit = (shape.base + part * (most - shape.base)) / 1e9;
        const { tokens, first, full } = needOf(shape, chosen({ kvType, memoryLimit }));
        assert.equal(tokens, longestContext(shape, Math.round(memoryLimit * 1e9), kvType), name);
        assert.ok(tokens > 0 && tokens < shape.context && full <= memoryLimit * 1e9 && first <= full, `${name}: ${tokens}`);
        assert.equal(needOf(shape, chosen({ kvType, memoryLimit, contextLength: 5000 })).tokens, 5000, "what was chosen is what it is");
      }
      assert.equal(needOf(shape, chosen({ kvType, memoryLimit: 1e3 })).tokens, shape.context);
      const none = chosen({ kvType, memoryLimit: shape.base / 1e9 });
      assert.deepEqual(needOf(shape, none), needOf(shape, { ...none, memoryLimit: null }), "of one that does not fit: what it needs");
    }
  }
});

test("a header is read with the limit", async () => {
  const model = new Blob([readFileSync(new URL("../../../models/tiny/peregrine-tiny-chat-Q4_0.gguf", import.meta.url))]);
  const read = (these) => readNeed(model, chosen(these), new AbortController().signal);
  const all = await read();
  const memoryLimit = Math.round((all.first + all.full) / 2) / 1e9;
  const { tokens, first, full, bytes } = await read({ memoryLimit });
  assert.ok(tokens > 256 && tokens < all.tokens && full <= memoryLimit * 1e9, `${tokens}`);
  assert.deepEqual([first, bytes], [all.first, all.bytes]);
  assert.equal((await read({ memoryLimit, contextLength: 4000 })).tokens, 4000);
});
