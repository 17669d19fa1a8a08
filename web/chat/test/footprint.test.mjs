/**
 * What the page says that official checkpoints need is what the engine computes from such a header.
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { SHAPES, writeOfficial } from "./official.mjs";
import { browser, load } from "./support.mjs";
import { defaultContext, longestContext, memoryNeeded } from "peregrine";

browser();
const { OFFERS } = await load("app/offers.ts");
const { needOf } = await load("app/footprint.ts");
const ENGINE = fileURLToPath(new URL("../../../target/release/peregrine", import.meta.url));
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
    const { tokens, full } = needOf(shape, null, kvType);
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
  assert.equal(needOf(shape, 1e9, "f16").tokens, shape.context);
  assert.deepEqual(needOf(shape, 100, "f16").first, needOf(shape, 100, "f16").full);
  assert.equal(longestContext(shape, 1000, "f16"), 0);
  assert.equal(longestContext(shape, Infinity, "f16"), shape.context);
});
