import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";

const src = fileURLToPath(new URL("../src", import.meta.url));
const modules = readdirSync(src, { recursive: true })
  .map((name) => name.replaceAll("\\", "/"))
  .filter((name) => name.endsWith(".ts"));

/** What a module imports or passes on of this package, types too. */
function imported(name) {
  const text = readFileSync(join(src, name), "utf8");
  const named = [...text.matchAll(/\b(?:from|import)\s*\(?\s*"(\.[^"]+)\.js"/g)].map(([, path]) => path);
  return named.map((path) => posix.join(dirname(name), `${path}.ts`)).filter((other) => modules.includes(other));
}
const folder = (name) => (name.includes("/") ? name.split("/")[0] : "");

test("the page knows the downloads, the worker too, and nobody else anybody", () => {
  const allowed = { page: ["", "page", "download"], worker: ["", "worker", "download"], download: ["", "download"] };
  const borders = new Set();
  for (const name of modules) {
    const mine = folder(name);
    for (const other of imported(name)) {
      if (mine !== "") assert.ok(allowed[mine].includes(folder(other)), `${name} imports ${other}`);
      borders.add(`${mine} ${folder(other)}`);
    }
  }
  // The imports have been found.
  for (const border of ["page download", "worker download", "download ", " page"]) assert.ok(borders.has(border), border);
});

// The page starts the worker; nobody else goes back.
test("no folder is in a circle by way of the modules beside it", () => {
  const next = Object.fromEntries(modules.map((name) => [name, imported(name)]));
  const reaches = (from, wanted, seen = new Set()) =>
    next[from].some((name) => wanted(name) || (!seen.has(name) && (seen.add(name), reaches(name, wanted, seen))));
  assert.ok(reaches("index.ts", (name) => name.startsWith("download/")), "ways are found");
  for (const [mine, others] of Object.entries({ download: ["page", "worker"], worker: ["page"] }))
    for (const name of modules.filter((name) => folder(name) === mine))
      assert.ok(!reaches(name, (other) => others.includes(folder(other))), `${name} reaches ${others.join(" or ")}`);
});
