/** Files in the store: what of them is in memory, and what is deleted when. */

import assert from "node:assert/strict";
import test from "node:test";
import { makeError } from "../dist/errors.js";
import { Readers, Slots, Stored } from "../dist/download/stored.js";

/** What a load's files share; `read` hears of every part that is read from the disk. */
function shared(read) {
  const parts = {
    start() {},
    async read(entry, part, length) {
      read(`${entry.name} ${part}`);
      return { bytes: new Uint8Array(length), isWhole: true };
    },
  };
  return { slots: new Slots(), readers: new Readers(), parts, newHasher: () => ({ update() {}, finish: () => "" }), onLoaded() {}, onVerified() {} };
}

const manifest = { size: 100, etag: '"1"', sha256: null };

test("of a model in many files no more than two have parts in memory", async () => {
  const reads = [];
  const options = shared((part) => reads.push(part));
  const files = ["a", "b", "c"].map((name) => new Stored({ name }, { name, url: "" }, manifest, options, () => {}));
  const [a, b, c] = files;
  for (const file of [a, b, a, b, a, c, a]) assert.equal((await file.read(10, 20)).length, 20);
  assert.deepEqual(reads, ["a 0", "b 0", "c 0"], "from the disk once: those that were read last are in memory");
  await b.read(0, 1);
  assert.deepEqual(reads.slice(3), ["b 0"], "it had given its memory back");
  await c.read(0, 1);
  assert.deepEqual(reads.slice(4), ["c 0"], "and the one that was read before that");
  files.forEach((file) => file.close());
});

test("a file that has changed is deleted when its part is closed, at once", async (t) => {
  const happened = [];
  t.mock.method(globalThis, "fetch", async () => new Response("x", { status: 206, headers: { ETag: '"2"', "Content-Range": "bytes 0-99/100" } }));
  let open = 0;
  const entry = {
    name: "a",
    async access() {
      open++;
      return { getSize: () => 0, close: () => open-- };
    },
    async clear() {
      happened.push(`deleted with ${open} open`);
    },
  };
  const file = new Stored(entry, { name: "a", url: "http://localhost/a" }, manifest, shared(() => {}), () => {}, new Map());
  await assert.rejects(file.complete, (error) => error.code === makeError("http", "").code && /changed on the server/.test(error.message));
  assert.deepEqual(happened, ["deleted with 0 open"]);
});
