/** What a header tells of memory is what the engine then takes: the real one, on the processor. */

import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { createEngine, readNeeds } from "../dist/index.js";

const model = new Blob([readFileSync(new URL("../../../models/tiny/peregrine-tiny-chat-Q4_0.gguf", import.meta.url))]);

for (const kvType of ["f16", "q8", "f32"]) {
  test(`the context that a budget has room for, with ${kvType}`, async () => {
    const all = await readNeeds({ model, kvType });
    for (const part of [0.1, 0.9, 2]) {
      const memoryBudget = Math.round(all.first + part * (all.full - all.first));
      const needs = await readNeeds({ model, kvType, memoryBudget });
      const engine = await createEngine({ model, kvType, memoryBudget, snapshotBytes: 0, cache: false });
      const { model: { contextLength }, memory } = engine.info;
      await engine.dispose();
      assert.equal(needs.contextLength, contextLength, `${part}`);
      assert.equal(needs.full, memory.needed, `${part}`);
      assert.deepEqual({ ...needs, contextLength: all.contextLength, full: all.full }, all);
      // One that is asked for is what it is.
      assert.equal((await readNeeds({ model, kvType, memoryBudget, contextLength: 4000 })).contextLength, 4000);
    }
    assert.deepEqual(await readNeeds({ model, kvType, memoryBudget: 1e6 }), all, "of one that does not fit: what it needs");
  });
}
