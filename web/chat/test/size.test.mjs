// What a visitor waits for before the page is there: its document, and what that asks for, and what
// those modules import at once.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const folder = fileURLToPath(new URL("../dist", import.meta.url));
const read = (path) => readFileSync(join(folder, path));

/** Every file that is loaded without being asked for, with its bytes after gzip. */
function first() {
  const files = new Map();
  const add = (path) => {
    if (files.has(path)) return;
    files.set(path, gzipSync(read(path), { level: 9 }).length);
    if (!path.endsWith(".js")) return;
    // Static imports alone: import("…") is for what is needed later.
    const imports = read(path).toString().matchAll(/\b(?:import|export)(?:[\w$*{},\s]+from)?\s*"(\.[^"]+)"/g);
    for (const [, target] of imports) add(join(dirname(path), target));
  };
  add("index.html");
  for (const [, path] of read("index.html").toString().matchAll(/\b(?:src|href)="\.\/([^"]+)"/g)) add(path);
  return files;
}

test("the page is at most 150 KB on the wire before anything is asked for", () => {
  const files = first();
  assert.ok([...files.keys()].some((path) => path.endsWith(".css")) && [...files.keys()].some((path) => /assets\/.*\.js$/.test(path)), "the build");
  const bytes = [...files.values()].reduce((sum, size) => sum + size, 0);
  assert.ok(bytes <= 150_000, `${bytes} bytes: ${[...files].map(([path, size]) => `${path} ${size}`).join(", ")}`);
});
