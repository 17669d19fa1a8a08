import assert from "node:assert/strict";
import test, { beforeEach } from "node:test";
import { openSources } from "../dist/download/source.js";
import { deleteModel, exportModel, listModels } from "../dist/index.js";
import { crash, disk, network, newHasher, restart, storedParts } from "./browser.mjs";

const ADDRESS = "https://x.example/m/H1/";
const FOLDER = { kind: "folder", model: ADDRESS, cache: true };
const SMALL = { "config.json": "{1}", "tokenizer.json": "{2}" };

/** Serves files of a folder: `version` is in their ETags. */
function serve(files, version = "1") {
  network.files.clear();
  for (const [name, body] of Object.entries(files)) network.files.set(ADDRESS + name, { body, headers: { ETag: `"${version}${body}"` } });
}
async function load(spec = FOLDER, report = () => {}) {
  const sources = await openSources(spec, report, newHasher);
  try {
    const texts = sources.files.map(async (file) => [file.name.split("/").at(-1), new TextDecoder().decode(await file.read(0, file.size))]);
    const found = Object.fromEntries(await Promise.all(texts));
    await sources.complete;
    return found;
  } finally {
    sources.close();
  }
}

beforeEach(restart);

test("a folder that has another version: without a network all of it is the new one", async () => {
  const first = { ...SMALL, "chat_template.jinja": "a", "generation_config.json": "b", "model.safetensors": "weights" };
  serve(first);
  assert.deepEqual(await load(), first);
  const second = { ...SMALL, "tokenizer.json": "{3}", "model.safetensors": "others!" };
  serve(second);
  assert.deepEqual(await load(), second);
  network.isThere = false;
  assert.deepEqual(await load(), second);
  assert.equal((await listModels())[0].size, 13);
  // One that another tab still has open stays, and then it is not said what the model is.
  network.isThere = true;
  serve(first);
  await load();
  const other = await openSources({ kind: "urls", model: "other", files: [{ url: `${ADDRESS}chat_template.jinja`, key: `${ADDRESS}chat_template.jinja`, name: "a" }], cache: true }, () => {}, newHasher);
  serve(second);
  assert.deepEqual(await load(), second);
  network.isThere = false;
  await assert.rejects(load(), { code: "http" });
  other.close();
  network.isThere = true;
  await load();
  network.isThere = false;
  assert.deepEqual(await load(), second);
});

test("what is whole is on the disk: without a network it is there after the machine has crashed", async () => {
  const files = { ...SMALL, "model.safetensors": "weights" };
  serve(files);
  await load();
  crash();
  network.isThere = false;
  assert.deepEqual(await load(), files);
});

test("another hub's model of the same name is another one", async () => {
  const hub = (base, body) => {
    const siblings = [{ rfilename: "M-Q4_K_M.gguf", size: body.length, blobId: body }];
    network.files.set(`${base}api/models/org/repo/revision/main?blobs=true`, { body: JSON.stringify({ sha: "c0ffee", siblings }) });
    network.files.set(`${base}org/repo/resolve/c0ffee/M-Q4_K_M.gguf`, { body, headers: { ETag: body } });
    return { kind: "hub", model: "org/repo", base, cache: true };
  };
  const [one, two] = [hub("https://one.example/", "first"), hub("https://two.example/", "second")];
  await load(one);
  await load(two);
  network.isThere = false;
  assert.deepEqual([await load(one), await load(two)], [{ "M-Q4_K_M.gguf": "first" }, { "M-Q4_K_M.gguf": "second" }]);
  assert.equal((await listModels())[0].complete, true);
});

test("a folder without its weights is not whole: not listed so, not exported", async () => {
  serve({ ...SMALL, "model.safetensors": "weights" });
  await load();
  assert.equal((await listModels())[0].complete, true);
  assert.deepEqual((await exportModel(ADDRESS)).map(({ name, size }) => [name, size]), [["config.json", 3], ["model.safetensors", 7], ["tokenizer.json", 3]]);
  await deleteModel(ADDRESS);
  // The weights cannot be had, the others can.
  network.files.delete(`${ADDRESS}model.safetensors`);
  await assert.rejects(load(), { code: "http" });
  const [left] = await listModels();
  assert.deepEqual([left?.complete, left?.stored], [false, 6]);
  await assert.rejects(exportModel(ADDRESS), { code: "argument", message: /^id: .* is not whole; load it first/ });
});

test("what is exported is compared with its checksums", async () => {
  serve({ ...SMALL, "model.safetensors": "weights" });
  await load();
  const [, part] = (await storedParts()).find(([name]) => name === "H1/model.safetensors/000000");
  part.bytes[3] ^= 1;
  await assert.rejects(exportModel(ADDRESS), { code: "integrity", message: /^H1\/model\.safetensors: part 0 of the stored copy is damaged/ });
  await assert.rejects(exportModel(ADDRESS), { code: "argument", message: /is not whole/ });
  await load();
  assert.equal(await (await exportModel(ADDRESS))[1].text(), "weights");
});

/** A promise, and what resolves it. */
function signal() {
  let give;
  const given = new Promise((resolve) => (give = resolve));
  return { given, give };
}

test("two tabs that open the same files in another order do not wait for each other", { timeout: 60_000 }, async () => {
  // Both names mean both parts. They are kept, and are others on the server now.
  const part = (i, tab) => ({ url: `${ADDRESS}${tab}/${i}`, key: `${ADDRESS}${i}`, name: `m-0000${i}-of-00002.gguf` });
  const spec = (tab, ...order) => ({ kind: "urls", model: `${ADDRESS}${order[0]}`, files: order.map((i) => part(i, tab)), cache: true });
  const put = (version) => {
    for (const tab of ["a", "b", "c"]) for (const i of [1, 2]) network.files.set(`${ADDRESS}${tab}/${i}`, { body: `${version} ${i}`, headers: { ETag: `${version} ${i}` } });
  };
  put("old");
  await load(spec("c", 1, 2));
  put("new");
  // Each tab waits first for the file that the other one has, and asks for its own later.
  const [a, b, queued] = [signal(), signal(), signal()];
  const { request } = navigator.locks;
  navigator.locks.request = function (name, options, callback) {
    const mine = { is: false };
    const result = request.call(this, name, options, (lock) => ((mine.is = true), callback(lock)));
    setImmediate(() => !mine.is && queued.give());
    return result;
  };
  network.onRequest = async (url) => {
    if (url === `${ADDRESS}a/2`) await Promise.race([a.given, b.given]);
    if (url === `${ADDRESS}b/1`) await b.given;
  };
  const tabs = [load(spec("a", 1, 2)), load(spec("b", 2, 1))];
  await queued.given;
  a.give();
  b.give();
  const texts = { "m-00001-of-00002.gguf": "new 1", "m-00002-of-00002.gguf": "new 2" };
  assert.deepEqual(await Promise.all(tabs), [texts, texts]);
});

test("a disk that is full in the middle of a manifest", async () => {
  serve({ ...SMALL, "model.safetensors": "weights" });
  await load();
  disk.quota = 0;
  // What is here is read all the same.
  assert.equal((await load())["model.safetensors"], "weights");
  restart();
  network.files.set("https://x.example/a.gguf", { body: "GGUF", headers: { ETag: "1" } });
  navigator.storage.estimate = async () => ({});
  disk.quota = 20;
  const files = [{ url: "https://x.example/a.gguf", key: "https://x.example/a.gguf", name: "a.gguf" }];
  await assert.rejects(load({ kind: "urls", model: "https://x.example/a.gguf", files, cache: true }), { code: "quota", message: /^manifest\.json: / });
});
