import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { listen, rangeOf, serveFolder } from "../../chat/serve.mjs";

test("ranges", () => {
  assert.deepEqual(rangeOf("bytes=0-9", 100), [0, 9]);
  assert.deepEqual(rangeOf("bytes=90-200", 100), [90, 99]);
  assert.deepEqual(rangeOf("bytes=90-", 100), [90, 99]);
  assert.deepEqual(rangeOf("bytes=-5", 100), [95, 99]);
  assert.equal(rangeOf("bytes=100-", 100), "bad");
  assert.equal(rangeOf("bytes=5-4", 100), "bad");
  for (const none of [undefined, "", "bytes=-", "bytes=0-1,4-5", "lines=1-2"]) assert.equal(rangeOf(none, 100), undefined);
});

test("files with their types, and nothing from outside", async () => {
  const folder = await mkdtemp(join(tmpdir(), "peregrine-"));
  const root = join(folder, "site");
  await mkdir(join(root, "assets"), { recursive: true });
  await writeFile(join(folder, "secret.html"), "secret");
  await writeFile(join(root, "index.html"), "<p>hello");
  await writeFile(join(root, "assets", "a.wasm"), "0123456789");
  const { server, address } = await listen(serveFolder(root), 0);
  // A raw request: fetch would tidy up the path.
  const get = (path, headers = {}) =>
    new Promise((resolve, reject) => {
      const { port } = new URL(address);
      request({ port, host: "localhost", path, headers }, (response) => {
        let body = "";
        response.on("data", (data) => (body += data)).on("end", () => resolve({ status: response.statusCode, headers: response.headers, body }));
      }).on("error", reject).end();
    });
  try {
    const index = await get("/");
    assert.equal(index.status, 200);
    assert.equal(index.headers["content-type"], "text/html; charset=utf-8");
    assert.equal(index.body, "<p>hello");
    assert.equal((await get("/", { "If-None-Match": index.headers.etag })).status, 304);
    const part = await get("/assets/a.wasm", { Range: "bytes=2-4" });
    assert.deepEqual([part.status, part.body, part.headers["content-range"]], [206, "234", "bytes 2-4/10"]);
    assert.equal(part.headers["content-type"], "application/wasm");
    assert.match(part.headers["cache-control"], /immutable/);
    assert.equal((await get("/assets/a.wasm", { Range: "bytes=2-4", "If-Range": part.headers.etag })).status, 206);
    assert.equal((await get("/assets/a.wasm", { Range: "bytes=2-4", "If-Range": '"older"' })).body, "0123456789");
    assert.equal((await get("/assets/a.wasm", { Range: "bytes=20-" })).status, 416);
    for (const path of ["/../secret.html", "/%2e%2e/secret.html", "/..%2fsecret.html", "/assets", "/%00", "/%zz", "/none"]) {
      assert.equal((await get(path)).status, 404, path);
    }
    const next = await listen(serveFolder(root), server.address().port);
    // The next of all may be somebody else's.
    assert.ok(next.server.address().port > server.address().port, "a later port when one is taken");
    next.server.close();
  } finally {
    server.closeAllConnections();
    server.close();
    await rm(folder, { recursive: true });
  }
});
