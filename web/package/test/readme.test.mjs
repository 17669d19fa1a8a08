import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("..", import.meta.url));
const snippets = [...readFileSync(join(folder, "README.md"), "utf8").matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => code);

/** The compiler's complaints about files in a folder of the package, where `peregrine` means the package itself. */
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

test("a snippet with a wrong type is found", async () => {
  assert.match(await complaints([snippets[0].replace("model:", "modle:")]), /modle/);
});
