/** `engine.lora` without a GPU: which files are read, and what requests and pages are told. */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import test from "node:test";
import { chooseAdapter } from "../dist/download/hub.js";
import { FakeEngine, done, faking } from "./faked.mjs";

/** Remembers the names and bytes that it was given. */
class Adapting extends FakeEngine {
  added = [];
  async addAdapter(id, files) {
    const read = await Promise.all(files.map(async ({ name, size, read }) => [name, new TextDecoder().decode(await read(0, size))]));
    this.added.push([id, Object.fromEntries(read)]);
    return { id, kind: "peft", bytes: 1, deviceBytes: 1, ranks: [1, 1], targets: [], notes: [] };
  }
  removeAdapter() {
    return true;
  }
}

const file = (name, path, text = name) => Object.defineProperty(new File([text], name), "webkitRelativePath", { value: path ?? "" });
const adapting = (use, options) => {
  const fake = new Adapting(() => done());
  return faking(fake, options, (engine) => use(engine, fake));
};

test("of a folder the uppermost adapter is read, and nothing else of it", () =>
  adapting(async (engine, fake) => {
    const folder = ["poems/adapter_config.json", "poems/adapter_model.safetensors", "poems/README.md", "poems/checkpoint-10/adapter_config.json", "poems/checkpoint-10/adapter_model.safetensors"];
    const files = folder.reverse().map((path) => file(path.split("/").at(-1), path, path));
    const info = await engine.lora.load(files);
    assert.equal(info.id, "poems");
    assert.deepEqual(fake.added, [["poems", { "adapter_config.json": "poems/adapter_config.json", "adapter_model.safetensors": "poems/adapter_model.safetensors" }]]);
  }));

test("ids are given, or those of files; engine.info and list tell them", () =>
  adapting(async (engine) => {
    assert.deepEqual(engine.info.adapters, []);
    await engine.lora.load([file("laws.gguf"), file("notes.txt")]);
    await engine.lora.load(new Blob(["x"]), { id: "mine" });
    const ids = (list) => list.map(({ id }) => id);
    assert.deepEqual(ids(engine.info.adapters), ["laws", "mine"]);
    assert.deepEqual(ids(await engine.lora.list()), ["laws", "mine"]);
    assert.equal(await engine.lora.remove("laws"), true);
    assert.deepEqual(ids(engine.info.adapters), ["mine"]);
  }));

test("what is no adapter's source is refused by name", () =>
  adapting(async (engine) => {
    const refused = (source, options, message) => assert.rejects(engine.lora.load(source, options), { code: "argument", message });
    await refused([], {}, "source: expected adapter_config.json and adapter_model.safetensors, or one GGUF adapter, found no files");
    await refused([file("a.gguf"), file("b.gguf")], {}, /found a\.gguf, b\.gguf$/);
    await refused(7, {}, "source: expected files, a folder, bytes, addresses or a hub id of an adapter, found 7");
    await refused("a/b", { id: "" }, 'id: expected a text that is not empty, found ""');
    await refused("a/b", { name: "x" }, /^name: not an option of lora\.load/);
    await assert.rejects(engine.logits([1], { lora: "poems" }), { message: 'lora: expected a list of { id, scale }, found "poems"' });
    await assert.rejects(engine.logits([1], { lora: [{ scale: 1 }] }), { message: /^lora\[0\]\.id: expected a text that is not empty/ });
    await assert.rejects(engine.prefill("x", { lora: [{ id: "a", scale: NaN }] }), { message: /^options\.lora\[0\]\.scale: expected a number from -1000 to 1000/ });
  }));

test("a request that names no adapter which is there is refused at once", () =>
  adapting(async (engine) => {
    await engine.lora.load(file("laws.gguf"));
    const ask = (lora) => engine.completions.create({ prompt: "x", lora });
    await assert.rejects(ask([{ id: "poems" }]), { code: "argument", message: "lora[0].id: there is no adapter poems; there are laws" });
    await assert.doesNotReject(ask([{ id: "laws", scale: 0.5 }]));
  }));

test("addresses and hub ids: the adapter's files, verified, and tried again where the connection breaks", async () => {
  const config = "{}";
  let broken = 0;
  const server = createServer((request, response) => {
    if (request.url.startsWith("/api/models/me/poems/")) {
      const lfs = { sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" };
      const siblings = [{ rfilename: "adapter_config.json", size: 2 }, { rfilename: "adapter_model.safetensors", size: 3, lfs }, { rfilename: "optimizer.pt", size: 9 }];
      response.end(JSON.stringify({ sha: "c0", siblings }));
    } else if (request.url === "/me/poems/resolve/c0/adapter_model.safetensors" && broken++ === 0) {
      response.writeHead(200, { "Content-Length": 3 }).write("a", () => response.destroy());
    } else if (request.url.endsWith(".json")) response.end(config);
    else response.end("abc");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const base = `http://127.0.0.1:${server.address().port}`;
  try {
    await adapting(async (engine, fake) => {
      await engine.lora.load("me/poems", { hub: base });
      await engine.lora.load([`${base}/tales/adapter_config.json`, `${base}/tales/adapter_model.safetensors`]);
      await engine.lora.load(new URL(`${base}/x/laws.gguf`));
      const peft = { "adapter_config.json": config, "adapter_model.safetensors": "abc" };
      assert.deepEqual(fake.added, [["poems", peft], ["tales", peft], ["laws", { "laws.gguf": "abc" }]]);
      assert.equal(broken, 2);
    });
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test("the files of a repository", () => {
  const peft = ["README.md", "adapter_config.json", "adapter_model.safetensors", "config.json"];
  assert.deepEqual(chooseAdapter(peft, undefined, "a/b"), peft.slice(1));
  assert.deepEqual(chooseAdapter(["x.gguf", ".gitattributes"], undefined, "a/b"), ["x.gguf"]);
  assert.deepEqual(chooseAdapter(peft, "other.gguf", "a/b"), ["other.gguf"]);
  assert.throws(() => chooseAdapter(["x.gguf", "y.gguf"], undefined, "a/b"), { message: "source: a/b: there is no adapter_config.json; there are x.gguf, y.gguf: name one of them" });
  assert.throws(() => chooseAdapter([], undefined, "a/b"), { message: "source: a/b: there is no adapter_config.json, and no GGUF file" });
});
