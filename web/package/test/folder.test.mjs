import assert from "node:assert/strict";
import { createServer } from "node:http";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { filesOf, resolveFolder, shardsOf } from "../dist/download/folder.js";
import { resolveHub } from "../dist/download/hub.js";
import { Slots } from "../dist/download/stored.js";
import { loraOf } from "../dist/page/lora-source.js";
import { sourceOf } from "../dist/page/model.js";
import { QUANTIZE_TYPES } from "../dist/quantize-types.js";
import { initSync, quantizeTypes } from "../wasm/peregrine.js";

const index = (...names) => JSON.stringify({ metadata: { total_size: 1 }, weight_map: Object.fromEntries(names.map((name, i) => [`tensor.${i}`, name])) });
const file = (path, bytes = "x") => Object.defineProperty(new File([bytes], path.split("/").at(-1)), "webkitRelativePath", { value: path });
const serving = async (handler, use) => {
  const server = createServer(handler);
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    return await use(`http://127.0.0.1:${server.address().port}/`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
};

test("the files that an index names", () => {
  assert.deepEqual(shardsOf(index("b", "a", "b")), ["a", "b"]);
  for (const odd of ["", "{}", "[]", '{"weight_map": 5}', index("../a"), index("a/b"), index("a\\b"), '{"weight_map": {"a": 5}}']) assert.equal(shardsOf(odd), undefined, odd);
  const names = ["README.md", "tokenizer.json", "config.json", "a", "b", "additional_chat_templates/default.jinja"];
  assert.deepEqual(filesOf(names, index("b", "a")), ["config.json", "tokenizer.json", "additional_chat_templates/default.jinja", "model.safetensors.index.json", "a", "b"]);
  assert.deepEqual(filesOf(["config.json"], undefined), ["config.json", "model.safetensors"]);
});

test("a folder that a person gives", async () => {
  const names = async (files) => (await sourceOf(files, {})).files.map(({ name }) => name);
  const small = ["config.json", "tokenizer.json", "chat_template.jinja"];
  assert.deepEqual(await names([...small, "model.safetensors", "notes.txt", "optimizer.pt"].map((name) => file(`My-H1/${name}`))), [...small, "model.safetensors"].map((name) => `My-H1/${name}`));
  // The outermost one; what training left inside is another model.
  const nested = ["runs/config.json", "runs/tokenizer.json", "runs/model.safetensors", "runs/checkpoint-1/config.json", "runs/checkpoint-1/model.safetensors"];
  assert.deepEqual(await names(nested.toReversed().map((path) => file(path))), nested.slice(0, 3));
  const sharded = [...small.map((name) => file(`H1/${name}`)), file("H1/model.safetensors.index.json", index("two.safetensors", "one.safetensors")), ...["one", "two", "three"].map((name) => file(`H1/${name}.safetensors`))];
  assert.deepEqual((await names(sharded)).slice(3), ["H1/model.safetensors.index.json", "H1/one.safetensors", "H1/two.safetensors"]);
  assert.deepEqual(await names(small.concat("model.safetensors").map((name) => new File(["x"], name))), ["config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors"].map((name) => `model/${name}`));
  // GGUF is what a folder with both has for this.
  assert.deepEqual(await names([...small, "model.safetensors", "a.gguf"].map((name) => file(`H1/${name}`))), ["a.gguf"]);
  const refused = (files, message) => assert.rejects(sourceOf(files, {}), { code: "argument", message });
  await refused(sharded.filter(({ name }) => name !== "one.safetensors"), /^model: one\.safetensors is missing/);
  await refused([file("model.safetensors")], /^model: config\.json is missing/);
  await refused([file("a/config.json")], /^model: (model\.safetensors|tokenizer\.json) is missing/);
  await refused([file("a/adapter_config.json"), file("a/adapter_model.safetensors")], /^model: this is a LoRA adapter, which engine\.lora\.load\(\)/);
  const models = ["one", "two"].flatMap((name) => [...small, "model.safetensors"].map((part) => file(`runs/${name}/${part}`)));
  await refused(models, /^model: expected the folder of one model, found runs\/one\/config\.json and runs\/two\/config\.json; choose one/);
  await refused([file("a/notes.txt"), file("a/b.txt")], /^model: no GGUF file and no folder of safetensors among notes\.txt, b\.txt/);
});

test("addresses of folders", async () => {
  const of = (address, more) => sourceOf(address, more ?? {});
  for (const address of ["https://x.example/m/H1/", "https://x.example/m/H1/config.json", "https://x.example/m/H1/model.safetensors", "https://x.example/m/H1/model.safetensors.index.json"]) {
    assert.deepEqual(await of(`${address}?key=1`), { kind: "folder", model: "https://x.example/m/H1/?key=1", cache: true });
  }
  assert.equal((await of("https://x.example/m/H1.gguf")).kind, "urls");
  await assert.rejects(of("https://x.example/m/", { sha256: "00".repeat(32) }), { code: "not-supported", message: /^sha256: / });
  assert.deepEqual(await of("stored:org/repo:Q4_K_M"), { kind: "stored", model: "stored:org/repo:Q4_K_M" });
  const golden = new URL("../../../tests/golden/hf-folder/", import.meta.url);
  const { kind, files } = await of(golden);
  assert.deepEqual([kind, files.map(({ name }) => name)], ["blobs", ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja", "model.safetensors"].map((name) => `hf-folder/${name}`)]);
  await assert.rejects(of(new URL("nowhere/", golden)), { code: "io", message: /^model: file:.*nowhere\/ cannot be opened/ });
});

test("a file of a folder, by its address in Node, is not the GGUF file beside it", async () => {
  const folder = mkdtempSync(join(tmpdir(), "folder-"));
  try {
    for (const name of ["config.json", "tokenizer.json", "model.safetensors", "a.gguf"]) writeFileSync(join(folder, name), name);
    const names = async (name) => (await sourceOf(new URL(name, pathToFileURL(`${folder}/`)), {})).files.map(({ name }) => name.split("/").at(-1));
    for (const name of ["model.safetensors", "config.json"]) assert.deepEqual(await names(name), ["config.json", "tokenizer.json", "model.safetensors"]);
    assert.deepEqual(await names(""), ["a.gguf"]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a folder's handle: what cannot be read of it is named", async () => {
  const before = globalThis.FileSystemDirectoryHandle;
  class Handle {
    constructor(name, inside) {
      Object.assign(this, { kind: "directory", name, inside });
    }
    async *entries() {
      if (!this.inside) throw new DOMException("not allowed", "NotAllowedError");
      for (const [name, one] of Object.entries(this.inside)) yield [name, one instanceof Handle ? one : { kind: "file", getFile: async () => one ?? Promise.reject(new DOMException("gone", "NotFoundError")) }];
    }
  }
  globalThis.FileSystemDirectoryHandle = Handle;
  try {
    const files = { "config.json": new File(["x"], "config.json"), "tokenizer.json": new File(["x"], "tokenizer.json"), "model.safetensors": new File(["x"], "model.safetensors") };
    const templates = new Handle("additional_chat_templates", { "default.jinja": new File(["x"], "default.jinja") });
    const { files: found } = await sourceOf(new Handle("H1", { ...files, additional_chat_templates: templates, other: new Handle("other") }), {});
    assert.deepEqual(found.map(({ name }) => name), ["config.json", "tokenizer.json", "additional_chat_templates/default.jinja", "model.safetensors"].map((name) => `H1/${name}`));
    await assert.rejects(sourceOf(new Handle("H1", { ...files, "tokenizer.json": undefined }), {}), { code: "io", message: "model: H1/tokenizer.json cannot be opened: gone" });
    await assert.rejects(sourceOf(new Handle("H1"), {}), { code: "io", message: "model: the folder H1 cannot be read: not allowed" });
    await assert.rejects(loraOf(new Handle("adapter", { "adapter_config.json": undefined }), "https://x.example"), { code: "io", message: "source: adapter/adapter_config.json cannot be opened: gone" });
  } finally {
    globalThis.FileSystemDirectoryHandle = before;
  }
});

test("an index that is too long to be one is not read", async () => {
  const long = Buffer.alloc((64 << 20) + 1, " ");
  const files = [file("H1/config.json"), file("H1/tokenizer.json"), file("H1/model.safetensors.index.json", long)];
  const message = /model\.safetensors\.index\.json: an index of 67108864 bytes at most is read/;
  await assert.rejects(sourceOf(files, {}), { code: "malformed", message });
  await serving(
    (request, response) => (request.url.endsWith("index.json") ? response.end(long) : response.writeHead(404).end()),
    (base) => assert.rejects(resolveFolder(`${base}m/`), { code: "malformed", message }),
  );
});

test("a server is asked for what a folder may have", () =>
  serving(
    (request, response) => {
      const { pathname, searchParams } = new URL(request.url, "http://localhost");
      if (searchParams.get("key") !== "1") return response.writeHead(401).end();
      const name = pathname.slice("/m/My%20H1/".length);
      if (name === "model.safetensors.index.json") return response.writeHead(200).end(index("b.safetensors", "a.safetensors"));
      if (name === "generation_config.json") return response.writeHead(206, { "Content-Range": "bytes 0-0/9" }).end("{");
      if (name === "tokenizer_config.json") return response.writeHead(200, { "Content-Type": "text/html; charset=utf-8" }).end("<!doctype html>");
      if (name === "added_tokens.json") return response.writeHead(416).end();
      return response.writeHead(name === "chat_template.json" ? 403 : 404).end();
    },
    async (base) => {
      const files = await resolveFolder(`${base}m/My%20H1/?key=1`);
      const names = ["config.json", "tokenizer.json", "generation_config.json", "model.safetensors.index.json", "a.safetensors", "b.safetensors"];
      assert.deepEqual(files, names.map((name) => ({ url: `${base}m/My%20H1/${name}?key=1`, name: `My H1/${name}`, key: `${base}m/My%20H1/${name}?key=1`, of: 6 })));
      assert.equal((await resolveFolder(`${base}m/My%20H1/?key=1`.replace("My%20H1", "My%20H1/100%")))[0].name, "100%/config.json");
      await assert.rejects(resolveFolder(`${base}m/My%20H1/`), { code: "http", message: /401/ });
    },
  ));

test("a hub's repository: GGUF where there is one, unless the safetensors are named", () =>
  serving(
    (request, response) => {
      const both = request.url.includes("/org/both");
      if (request.url.endsWith("/model.safetensors.index.json")) return response.writeHead(200).end(index("s1.safetensors", "s2.safetensors"));
      const files = ["config.json", "tokenizer.json", "added_tokens.json", "model.safetensors.index.json", "s1.safetensors", "s2.safetensors", "s3.safetensors", ...(both ? ["M-Q4_K_M.gguf"] : [])];
      const siblings = files.map((rfilename) => ({ rfilename, size: rfilename === "added_tokens.json" ? 0 : 7, blobId: `id of ${rfilename}`, ...(/^s/.test(rfilename) && { lfs: { sha256: "AB".repeat(32) } }) }));
      response.writeHead(200).end(JSON.stringify({ sha: "c0ffee", siblings }));
    },
    async (base) => {
      const names = async (model) => (await resolveHub(model, base)).map(({ name }) => name);
      const folder = (repo) => ["config.json", "tokenizer.json", "model.safetensors.index.json", "s1.safetensors", "s2.safetensors"].map((name) => `${repo}/${name}`);
      assert.deepEqual(await names("org/plain"), folder("plain"));
      assert.deepEqual(await names("org/both"), ["M-Q4_K_M.gguf"]);
      assert.deepEqual(await names("org/both:model.safetensors.index.json"), folder("both"));
      assert.deepEqual(await names("org/both:model.safetensors"), folder("both"));
      await assert.rejects(names("org/plain:Q4_K_M"), { code: "argument", message: /no GGUF file is called Q4_K_M/ });
      const [config, , , shard] = await resolveHub("org/plain", base);
      const root = base.slice(0, -1);
      assert.deepEqual(config, { url: `${root}/org/plain/resolve/c0ffee/config.json`, name: "plain/config.json", key: `${root}/org/plain/config.json`, size: 7, version: "id of config.json", of: 5 });
      assert.equal(shard.sha256, "ab".repeat(32));
    },
  ));

test("places for downloads: four, and those that begin go first", async () => {
  const slots = new Slots();
  const order = [];
  const leaves = await Promise.all([1, 2, 3, 4].map(() => slots.enter()));
  const waiting = [["late", false], ["first", true], ["later", false], ["second", true]].map(([name, urgent]) => slots.enter(urgent).then((leave) => (order.push(name), leave())));
  assert.deepEqual(order, []);
  leaves[0]();
  await Promise.all(waiting);
  assert.deepEqual(order, ["first", "second", "late", "later"]);
  leaves.slice(1).forEach((leave) => leave());
  let running = 0;
  let most = 0;
  await Promise.all(Array.from({ length: 20 }, () => slots.run(async () => ((most = Math.max(most, ++running)), await undefined, running--))));
  assert.equal(most, 4);
});

test("the types of `quantizeTo` are those that the engine has", () => {
  initSync({ module: readFileSync(fileURLToPath(new URL("../wasm/peregrine_bg.wasm", import.meta.url))) });
  assert.deepEqual([...QUANTIZE_TYPES].sort(), quantizeTypes().sort());
});
