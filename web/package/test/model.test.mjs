import assert from "node:assert/strict";
import { createServer } from "node:http";
import test from "node:test";
import { chooseFile, isHubId, partsOf, resolveHub } from "../dist/download/hub.js";
import { sourceOf } from "../dist/page/model.js";

test("hub ids are told from addresses", () => {
  for (const id of ["tiiuae/Falcon-H1-0.5B-Instruct-GGUF", "a/b:Q4_K_M", "a/b:sub/c.gguf", "a/b.gguf:c.gguf"]) assert.ok(isHubId(id), id);
  for (const address of ["/a/b", "./a/b", "../a/b", "a", "a/b/c", "a/b.gguf", "https://x/y", "a b/c", "/model.gguf", "a/b:"]) assert.ok(!isHubId(address), address);
});

test("files of a repository", () => {
  const files = ["README.md", "M-Q4_0.gguf", "M-Q4_K_M.gguf", "M-Q4_K_S.gguf", "big-BF16-00001-of-00003.gguf", "big-BF16-00002-of-00003.gguf"];
  assert.equal(chooseFile(files, undefined, "a/b"), "M-Q4_K_M.gguf");
  assert.equal(chooseFile(files, "q4_0", "a/b"), "M-Q4_0.gguf");
  assert.equal(chooseFile(files, "BF16", "a/b"), "big-BF16-00001-of-00003.gguf");
  assert.equal(chooseFile(files, "big-BF16-00002-of-00003.gguf", "a/b"), "big-BF16-00001-of-00003.gguf");
  assert.equal(chooseFile(["one.gguf"], undefined, "a/b"), "one.gguf");
  assert.throws(() => chooseFile(files, "Q9", "a/b"), { code: "argument", message: /no GGUF file is called Q9; there are M-Q4_0\.gguf, M-Q4_K_M/ });
  assert.throws(() => chooseFile(["a-Q4_0.gguf", "b-Q4_0.gguf"], "Q4_0", "a/b"), { message: /several files/ });
  assert.throws(() => chooseFile(["model.safetensors"], undefined, "a/b"), { message: /no GGUF file is called Q4_K_M; there is no GGUF file/ });
});

test("parts of a model", () => {
  assert.deepEqual(partsOf("x-00002-of-00003.gguf"), ["x-00001-of-00003.gguf", "x-00002-of-00003.gguf", "x-00003-of-00003.gguf"]);
  assert.deepEqual(partsOf("x.gguf"), ["x.gguf"]);
});

test("what an app may give", async () => {
  globalThis.location = { href: "https://app.example/chat/" };
  const url = await sourceOf("models/a.gguf", {});
  assert.equal(url.files[0].url, "https://app.example/chat/models/a.gguf");
  assert.equal(url.cache, true);
  const split = await sourceOf("https://x.example/m/a-00001-of-00002.gguf?key=1", { cache: false });
  assert.deepEqual(split.files.map((file) => file.url), ["https://x.example/m/a-00001-of-00002.gguf?key=1", "https://x.example/m/a-00002-of-00002.gguf?key=1"]);
  assert.deepEqual(await sourceOf("a/b:Q4_0", { hub: "https://mirror.example" }), { kind: "hub", model: "a/b:Q4_0", base: "https://mirror.example/", cache: true });
  const files = ["m-00002-of-00002.gguf", "m-00001-of-00002.gguf"].map((name) => new File(["x"], name));
  assert.deepEqual((await sourceOf(files, {})).files.map(({ name }) => name), ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]);
  await assert.rejects(sourceOf(files.slice(0, 1), {}), { code: "argument", message: /m-00001-of-00002\.gguf is missing/ });
  await assert.rejects(sourceOf([...files, new File(["x"], "other.gguf")], {}), { code: "argument", message: /expected the files of one model/ });
  assert.equal((await sourceOf([new File(["x"], "any name")], {})).files.length, 1);
  await assert.rejects(sourceOf("embedded", {}), { code: "argument", message: /peregrine\/embedded/ });
  await assert.rejects(sourceOf("ftp://x/y", {}), { code: "not-supported" });
  await assert.rejects(sourceOf(5, {}), { code: "argument", message: /^model: / });
  await assert.rejects(sourceOf("https://x.example/a.gguf", { sha256: "abc" }), { code: "argument", message: /^sha256: / });
  delete globalThis.location;
});

test("the hub is asked which files a name means", async () => {
  const seen = [];
  const sha256 = "ab".repeat(32);
  const server = createServer((request, response) => {
    seen.push(request.url);
    if (request.url.startsWith("/api/models/a/none")) return response.writeHead(404).end();
    if (request.url.startsWith("/api/models/a/html")) return response.writeHead(200).end("<p>login");
    const siblings = [{ rfilename: "README.md" }, { rfilename: "sub/M-Q4_K_M.gguf", size: 7, lfs: { sha256 } }];
    response.writeHead(200).end(JSON.stringify({ sha: "c0ffee", siblings }));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const base = `http://127.0.0.1:${server.address().port}/`;
  try {
    const root = base.slice(0, -1);
    assert.deepEqual(await resolveHub("a/b", base), [
      { url: `${root}/a/b/resolve/c0ffee/sub/M-Q4_K_M.gguf`, name: "M-Q4_K_M.gguf", key: `${root}/a/b/sub/M-Q4_K_M.gguf`, size: 7, sha256 },
    ]);
    assert.deepEqual(seen, ["/api/models/a/b/revision/main?blobs=true"]);
    await assert.rejects(resolveHub("a/none", base), { code: "http", message: /404/ });
    await assert.rejects(resolveHub("a/html", base), { code: "http", message: /not the answer of a model hub/ });
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
