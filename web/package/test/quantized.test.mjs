import assert from "node:assert/strict";
import test, { beforeEach } from "node:test";
import { openMade, openQuantized } from "../dist/download/quantized.js";
import { ATTEMPTS } from "../dist/download/retry.js";
import { deleteModel, exportModel, listModels } from "../dist/index.js";
import { sourceOf } from "../dist/page/model.js";
import { crash, disk, network, newHasher, restart, storedParts } from "./browser.mjs";

const ADDRESS = "https://x.example/m/H1/";
const FOLDER = { kind: "folder", model: ADDRESS, cache: true };
const text = async (file) => new TextDecoder().decode(await file.read(0, file.size));

/** What was quantized: which bytes of which files. */
const quantized = [];
async function quantize({ files }, sink, report) {
  const made = `GGUF of ${(await Promise.all(files.map(text))).join(" ")}`;
  quantized.push(made);
  report({ phase: "quantize", loaded: 0, total: made.length });
  sink.take(new TextEncoder().encode(made));
  await sink.flush();
}
async function load(spec, { made = quantize } = {}) {
  const sources = await openQuantized(spec, "Q8_0", () => {}, newHasher, made);
  try {
    return { text: await text(sources.files[0]), ...sources.storage };
  } finally {
    sources.close();
  }
}
/** Loads what is kept under an id. */
async function stored(id) {
  const sources = await openMade(id, () => {}, newHasher);
  try {
    return await text(sources.files[0]);
  } finally {
    sources.close();
  }
}
/** A folder that a person picks. */
const picked = (weights, lastModified = 1) => ({
  kind: "blobs",
  files: [["config.json", "{}"], ["model.safetensors", weights]].map(([name, bytes]) => ({ name: `H1/${name}`, blob: new File([bytes], name, { lastModified }) })),
});
/** A folder on a server; `headers` of its weights. */
function serve(weights, headers = { ETag: weights }) {
  network.files.clear();
  for (const [name, body] of [["config.json", "{}"], ["tokenizer.json", "{}"]]) network.files.set(ADDRESS + name, { body, headers: { ETag: "small" } });
  network.files.set(`${ADDRESS}model.safetensors`, { body: weights, headers });
}
const ids = async () => (await listModels()).map(({ id }) => id).filter((id) => id.startsWith("stored:"));

beforeEach(() => {
  restart();
  quantized.length = 0;
});

test("what was quantized is on the disk when it is called whole", async () => {
  const made = await load(picked("one"));
  crash();
  assert.equal(await stored(made.id), made.text);
});

test("two folders, and two hubs' models, of the same name are both kept", async () => {
  const [one, two] = [await load(picked("one")), await load(picked("two", 2))];
  assert.deepEqual([one.text, two.text], ["GGUF of {} one", "GGUF of {} two"]);
  assert.match(one.id, /^stored:H1@[0-9a-f]{8}:Q8_0$/);
  assert.deepEqual((await ids()).sort(), [one.id, two.id].sort());
  assert.deepEqual([await stored(one.id), await stored(two.id), (await load(picked("one"))).text], [one.text, two.text, one.text]);
  assert.deepEqual((await exportModel(one.id)).map(({ name }) => name), ["H1-Q8_0.gguf"]);
  const hub = (base) => {
    const siblings = [{ rfilename: "M.gguf", size: base.length, blobId: base }];
    network.files.set(`${base}api/models/org/repo/revision/main?blobs=true`, { body: JSON.stringify({ sha: "c0ffee", siblings }) });
    network.files.set(`${base}org/repo/resolve/c0ffee/M.gguf`, { body: base, headers: { ETag: base } });
    return { kind: "hub", model: "org/repo", base, cache: true };
  };
  const hubs = [];
  for (const base of ["https://huggingface.co/", "https://two.example/", "https://three.example/"]) hubs.push(await load(hub(base)));
  assert.equal(hubs[0].id, "stored:org/repo:Q8_0");
  assert.equal(new Set(hubs.map(({ id }) => id)).size, 3);
  for (const { id, text } of hubs) assert.equal(await stored(id), text);
});

test("the old one stays until the new one is whole", async () => {
  serve("old");
  const { id } = await load(FOLDER);
  serve("new");
  const broken = (made) => async (sources, sink, report) => {
    await quantize(sources, sink, report);
    // As when the tab is closed now: what has been written is there.
    assert.equal(await stored(id), "GGUF of {} {} old");
    assert.equal((await listModels()).find((one) => one.id === id).complete, true);
    if (made) throw made;
  };
  await assert.rejects(load(FOLDER, { made: broken(new Error("a damaged shard")) }), /a damaged shard/);
  assert.equal(await stored(id), "GGUF of {} {} old");
  assert.equal((await load(FOLDER, { made: broken() })).text, "GGUF of {} {} new");
  assert.deepEqual(await ids(), [id]);
  assert.deepEqual((await storedParts()).map(([name]) => name).filter((name) => /^H1-Q8_0.gguf\/\d/.test(name)), ["H1-Q8_0.gguf/000000"]);
  assert.equal(await stored(id), "GGUF of {} {} new");
  network.isThere = false;
  assert.equal((await load(FOLDER)).text, "GGUF of {} {} new");
  await deleteModel(id);
  await assert.rejects(stored(id), { code: "argument" });
});

test("two tabs: one quantizes, the other one takes what it made", async () => {
  serve("weights");
  const both = await Promise.all([load(FOLDER), load(FOLDER)]);
  assert.deepEqual(both.map(({ text }) => text), Array(2).fill("GGUF of {} {} weights"));
  assert.equal(quantized.length, 1);
});

test("one that another tab deletes before it is opened is made again", async () => {
  serve("weights");
  const { request } = navigator.locks;
  let isDeleted = false;
  navigator.locks.request = async function (name, options, callback) {
    // Between the lock to write and the one to read.
    if (options.mode === "shared" && quantized.length === 1 && !isDeleted) {
      isDeleted = true;
      await deleteModel(`stored:${ADDRESS}:Q8_0`);
    }
    return request.call(this, name, options, callback);
  };
  assert.equal((await load(FOLDER)).text, "GGUF of {} {} weights");
  assert.equal(quantized.length, 2);
});

test("the bytes are those of the state that the name was made of", async () => {
  serve("old");
  await load(FOLDER);
  await deleteModel(`stored:${ADDRESS}:Q8_0`);
  // The server is there for the first question about the new weights, and not for the second, which
  // is tried again.
  serve("new");
  let asked = 0;
  network.onRequest = (url) => {
    if (url.endsWith("model.safetensors")) network.isThere = ++asked === 1 || asked > 1 + ATTEMPTS;
  };
  await assert.rejects(load(FOLDER), { code: "http" });
  assert.deepEqual(quantized, ["GGUF of {} {} old"]);
  // It changes between the two.
  restart();
  serve("old");
  asked = 0;
  network.onRequest = (url) => {
    if (url.endsWith("model.safetensors") && ++asked === 2) serve("new");
  };
  await assert.rejects(load(FOLDER), { code: "http", message: /changed on the server/ });
  assert.deepEqual(await ids(), []);
});

test("servers without ETags: by dates; and where there is none nothing is taken for the same", async () => {
  const on = (day) => ({ "Last-Modified": `Thu, 0${day} Jan 2026 00:00:00 GMT` });
  serve("1st", on(1));
  assert.equal((await load(FOLDER)).kept, true);
  await load(FOLDER);
  assert.equal(quantized.length, 1);
  serve("2nd", on(2));
  assert.equal((await load(FOLDER)).text, "GGUF of {} {} 2nd");
  serve("3rd", {});
  const found = await load(FOLDER);
  assert.deepEqual([found.kept, found.id, found.text], [false, undefined, "GGUF of {} {} 3rd"]);
  await load(FOLDER);
  assert.equal(quantized.length, 4);
});

test("`cache: false`: files that a person gives leave nothing behind", async () => {
  const files = picked("weights").files.map(({ blob }) => blob).concat(new File(["{}"], "tokenizer.json"));
  const spec = await sourceOf(files, { cache: false });
  const found = await load(spec);
  assert.deepEqual([found.kept, found.why, found.text], [false, "the page asked for no cache", "GGUF of {} {} weights"]);
  assert.deepEqual(await listModels(), []);
  assert.equal((await load(await sourceOf(files, {}))).kept, true);
});

test("a disk without room says so before the work", async () => {
  disk.quota = 1000;
  let isWritten = false;
  const made = async (sources, sink, report) => {
    report({ phase: "quantize", loaded: 0, total: 5000 });
    await sink.flush();
    isWritten = true;
  };
  await assert.rejects(load(picked("weights"), { made }), { code: "quota", message: /^H1-Q8_0\.gguf: 5000 more bytes are needed, the browser lets this page store \d+$/ });
  assert.equal(isWritten, false);
  assert.deepEqual(await listModels(), []);
});
