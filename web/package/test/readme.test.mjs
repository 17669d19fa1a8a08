import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { makeError } from "../dist/errors.js";

const folder = fileURLToPath(new URL("..", import.meta.url));
const readme = readFileSync(join(folder, "README.md"), "utf8");
const source = (name) => readFileSync(join(folder, "src", name), "utf8");
const snippets = [...readme.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => code);

/**
 * The compiler's complaints about files in a folder of the package, where `peregrine` means the
 * package itself.
 */
async function complaints(sources) {
  const temporary = await mkdtemp(join(folder, "readme-"));
  try {
    await Promise.all(sources.map((source, i) => writeFile(join(temporary, `snippet-${i + 1}.mts`), source)));
    const files = sources.map((_, i) => join(temporary, `snippet-${i + 1}.mts`));
    const options = "--noEmit --strict --target es2022 --module nodenext --lib es2022,esnext.disposable,dom,dom.iterable,dom.asynciterable --types".split(" ");
    execFileSync(join(folder, "../node_modules/.bin/tsc"), [...files, ...options, "", "--ignoreConfig"], { encoding: "utf8" });
    return "";
  } catch (error) {
    return error.stdout;
  } finally {
    await rm(temporary, { recursive: true });
  }
}

test("the README's snippets have the right types", async () => {
  assert.ok(snippets.length >= 5);
  assert.equal(await complaints(snippets), "");
});

test("the README has every code under its class, and every phase of the progress", () => {
  const codes = /^const ADVICE = \{\n(.*?)^\}/ms.exec(source("errors.ts"))[1].matchAll(/^ {2}"?([a-z-]+)"?: /gm);
  const expected = [...codes].map(([, code]) => `${makeError(code, "").name} ${code}`);
  const rows = [...readme.matchAll(/^\| `(\w+Error)` \| (.*) \|$/gm)];
  const found = rows.flatMap(([, name, list]) => [...list.matchAll(/`([a-z-]+)`/g)].map(([, code]) => `${name} ${code}`));
  assert.ok(expected.length > 20);
  assert.deepEqual(found.sort(), expected.sort());
  const phases = [...source("protocol.ts").matchAll(/phase: "(\w+)"/g)].map(([, phase]) => phase);
  assert.ok(phases.length >= 6);
  const [told] = /^`onProgress` hears of the phases .*?\n\n/ms.exec(readme);
  assert.deepEqual(phases.filter((phase) => !told.includes(`\`${phase}\``)), []);
});

test("a snippet with a wrong type is found", async () => {
  assert.match(await complaints([snippets[0].replace("model:", "modle:")]), /modle/);
});
