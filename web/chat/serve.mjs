// A small static server for the built page: right types, ranges (the model is read in pieces), and
// nothing outside its folder.
// Usage: node serve.mjs [--port N] [--host H]   The next free port is taken when N is in use.

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize, sep } from "node:path";
import { fileURLToPath } from "node:url";

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".json": "application/json",
  ".webmanifest": "application/manifest+json",
  ".wasm": "application/wasm",
  ".gguf": "application/octet-stream",
};

/** The file in `root` that an address means, or undefined. */
function fileOf(root, address) {
  let path;
  try {
    path = decodeURIComponent(new URL(address, "http://localhost").pathname);
  } catch {
    return undefined;
  }
  if (path.includes("\0")) return undefined;
  const file = normalize(join(root, path.endsWith("/") ? `${path}index.html` : path));
  return file.startsWith(normalize(root + sep)) ? file : undefined;
}

/**
 * `bytes=a-b` of a file of `size` bytes: `[first, last]`, "bad", or undefined when there is none
 * that we serve.
 */
export function rangeOf(header, size) {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? "");
  if (!match || (match[1] === "" && match[2] === "")) return undefined;
  const first = match[1] === "" ? Math.max(size - Number(match[2]), 0) : Number(match[1]);
  const last = match[1] === "" || match[2] === "" ? size - 1 : Math.min(Number(match[2]), size - 1);
  return first > last || first >= size ? "bad" : [first, last];
}

/** Answers requests for the files under `root`. */
export function serveFolder(root) {
  return async (request, response) => {
    const file = fileOf(root, request.url);
    const found = file && (await stat(file).catch(() => undefined));
    if (!found?.isFile()) {
      response.writeHead(404, { "Content-Type": "text/plain; charset=utf-8" }).end("There is nothing at this address.\n");
      return;
    }
    if (request.method !== "GET" && request.method !== "HEAD") {
      response.writeHead(405, { Allow: "GET, HEAD" }).end();
      return;
    }
    const headers = {
      "Content-Type": TYPES[extname(file)] ?? "application/octet-stream",
      "Accept-Ranges": "bytes",
      // Built files carry a hash of their content in their name; the others must be asked for
      // again.
      "Cache-Control": /[\\/]assets[\\/]/.test(file) ? "public, max-age=31536000, immutable" : "no-cache",
      ETag: `"${found.size.toString(16)}-${Math.trunc(found.mtimeMs).toString(16)}"`,
      "X-Content-Type-Options": "nosniff",
    };
    // A range of another version of the file is of no use: then all of it is sent.
    const same = (request.headers["if-range"] ?? headers.ETag) === headers.ETag;
    const range = same ? rangeOf(request.headers.range, found.size) : undefined;
    if (range === "bad") {
      response.writeHead(416, { "Content-Range": `bytes */${found.size}` }).end();
      return;
    }
    if (!range && request.headers["if-none-match"] === headers.ETag) {
      response.writeHead(304, headers).end();
      return;
    }
    const [start, end] = range ?? [0, found.size - 1];
    headers["Content-Length"] = end - start + 1;
    if (range) headers["Content-Range"] = `bytes ${start}-${end}/${found.size}`;
    response.writeHead(range ? 206 : 200, headers);
    if (request.method === "HEAD" || found.size === 0) response.end();
    else createReadStream(file, { start, end }).on("error", () => response.destroy()).pipe(response);
  };
}

/** Listens on `port`, or on the next free one; resolves to the server and its address. */
export function listen(handler, port, host = "localhost") {
  const server = createServer(handler);
  return new Promise((resolve, reject) => {
    let tries = 0;
    server.on("error", (error) => {
      if (error.code === "EADDRINUSE" && ++tries < 50) server.listen(port + tries, host);
      else reject(error);
    });
    server.on("listening", () => resolve({ server, address: `http://localhost:${server.address().port}/` }));
    server.listen(port, host);
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const option = (name, fallback) => (process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : fallback);
  const root = fileURLToPath(new URL("./dist", import.meta.url));
  const { address } = await listen(serveFolder(root), Number(option("--port", "8317")), option("--host", "localhost"));
  process.stdout.write(`${address}\n`);
}
