import assert from "node:assert/strict";
import { createServer } from "node:http";
import test from "node:test";
import { openHttp } from "../dist/download/http.js";
import { blobSource } from "../dist/download/bytes.js";
import { openSources } from "../dist/download/source.js";

const MIB = 1 << 20;
const file = new Uint8Array(7 * MIB + 123).map((_, i) => (i * 31 + (i >> 8)) & 255);

/**
 * Serves `file` with ranges; `fault(request, response, n)` may answer the n-th request itself by
 * returning true.
 */
async function serving(fault, use) {
  const requests = [];
  const server = createServer((request, response) => {
    requests.push(request.headers.range);
    if (fault?.(request, response, requests.length)) return;
    const [, first, last] = /bytes=(\d+)-(\d+)/.exec(request.headers.range).map(Number);
    const end = Math.min(last, file.length - 1);
    response.writeHead(206, { "Content-Range": `bytes ${first}-${end}/${file.length}`, ETag: '"1"' });
    response.end(file.subarray(first, end + 1));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    return await use(`http://127.0.0.1:${server.address().port}/some%20model.gguf?x=1`, requests);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}
const open = (url, onLoaded = () => {}) => openHttp({ url, name: "some model.gguf", key: url }, onLoaded);
const same = (bytes, offset, length) => assert.ok(Buffer.from(bytes).equals(Buffer.from(file.subarray(offset, offset + length))));

test("ranges: any slice, each part asked for once, progress up to the end", () =>
  serving(null, async (url, requests) => {
    const seen = [];
    const source = await open(url, (loaded, total) => seen.push([loaded, total]));
    assert.equal(source.name, "some model.gguf");
    assert.equal(source.size, file.length);
    for (let at = 0; at < file.length; at += 1_300_000) {
      const length = Math.min(1_300_000, file.length - at);
      same(await source.read(at, length), at, length);
    }
    same(await source.read(file.length - 1, 1), file.length - 1, 1);
    assert.equal((await source.read(5, 0)).length, 0);
    assert.equal(new Set(requests).size, requests.length, "no part was sent twice");
    assert.deepEqual(seen.at(-1), [file.length, file.length]);
  }));

test("a read over many parts", () =>
  serving(null, async (url) => {
    const source = await open(url);
    same(await source.read(100, 7 * MIB), 100, 7 * MIB);
  }));

test("a read beyond the end is refused", () =>
  serving(null, async (url) => {
    const source = await open(url);
    await assert.rejects(source.read(file.length - 5, 10), { code: "truncated" });
  }));

test("a server that ignores ranges", () =>
  serving(
    (_, response) => response.writeHead(200, { "Content-Length": file.length }).end(file) && true,
    async (url, requests) => {
      let last;
      const source = await open(url, (...now) => (last = now));
      same(await source.read(3 * MIB, 5000), 3 * MIB, 5000);
      assert.equal(requests.length, 1);
      assert.deepEqual(last, [file.length, file.length]);
    },
  ));

test("a server whose Content-Range another origin may not read: all of it in one go", () =>
  serving(
    (request, response) => {
      const range = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? "");
      if (!range) return response.writeHead(200, { ETag: '"1"' }).end(file) && true;
      return response.writeHead(206, { ETag: '"1"' }).end(file.subarray(Number(range[1]), Number(range[2]) + 1)) && true;
    },
    async (url, requests) => {
      const source = await open(url);
      assert.equal(source.size, file.length);
      same(await source.read(3 * MIB, 5000), 3 * MIB, 5000);
      assert.deepEqual([requests.length, requests[1]], [2, undefined]);
    },
  ));

test("the embedded model says why it is not kept, and so does one for which no cache is wanted", () =>
  serving(null, async (url) => {
    const files = [{ url, name: "some model.gguf", key: url }];
    const why = async (more) => (await openSources({ kind: "urls", model: url, files, cache: false, ...more }, () => {})).storage;
    assert.deepEqual(await why({ why: "it comes with the app" }), { kept: false, why: "it comes with the app" });
    assert.match((await why({})).why, /no cache/);
  }));

test("server errors are tried again, a missing file is not", async () => {
  await serving(
    (_, response, n) => n <= 2 && response.writeHead(n === 1 ? 503 : 429).end() && true,
    async (url, requests) => {
      const source = await open(url);
      same(await source.read(0, 10), 0, 10);
      assert.deepEqual(requests.slice(0, 3), [requests[0], requests[0], requests[0]]);
    },
  );
  await serving(
    (_, response) => response.writeHead(404).end() && true,
    async (url, requests) => {
      await assert.rejects(open(url), { code: "http", message: /404/ });
      assert.equal(requests.length, 1);
    },
  );
});

test("a connection that breaks within a part", () =>
  serving(
    (_, response, n) => {
      if (n !== 2) return false;
      response.writeHead(206, { "Content-Range": `bytes ${2 * MIB}-${4 * MIB - 1}/${file.length}`, ETag: '"1"', "Content-Length": 2 * MIB });
      response.write(file.subarray(2 * MIB, 3 * MIB), () => response.destroy());
      return true;
    },
    async (url) => {
      const source = await open(url);
      same(await source.read(2 * MIB, 2 * MIB), 2 * MIB, 2 * MIB);
    },
  ));

test("a file that changes on the server meanwhile is an error, never a mixture", () =>
  serving(
    (_, response, n) => n > 1 && response.writeHead(206, { "Content-Range": `bytes 0-9/10`, ETag: '"2"' }).end("0123456789") && true,
    async (url) => {
      const source = await open(url);
      await assert.rejects(source.read(4 * MIB, 10), { code: "http", message: /changed/ });
    },
  ));

test("blobs", async () => {
  const source = blobSource(new Blob([file]), "b");
  same(await source.read(1000, 2000), 1000, 2000);
  await assert.rejects(source.read(file.length - 1, 2), { code: "truncated" });
});

test("without a private file system nothing is kept, and that is said", () =>
  serving(null, async (url) => {
    const seen = [];
    const files = [{ url, name: "some model.gguf", key: url }];
    const sources = await openSources({ kind: "urls", model: url, files, cache: true }, (progress) => seen.push(progress));
    assert.equal(sources.storage.kept, false);
    assert.match(sources.storage.why, /private file system/);
    same(await sources.files[0].read(0, file.length), 0, file.length);
    await sources.complete;
    const { loaded, total, resumedFrom, rate } = seen.at(-1);
    assert.deepEqual([loaded, total, resumedFrom], [file.length, file.length, 0]);
    assert.ok(rate > 0);
  }));
