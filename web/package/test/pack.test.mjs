import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("..", import.meta.url));
const [packed] = JSON.parse(execFileSync("npm", ["pack", "--dry-run", "--json"], { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }));
const files = packed.files.map(({ path }) => path).sort();

/** Modules whose types no app can name. */
const isInner = (name) => /^(worker\/.*|download\/(download|folder|http|meter|quantized|source|stored|writer))$/.test(name);

test("the package has all that it needs, and nothing else", () => {
  const sources = readdirSync(join(folder, "src"), { recursive: true }).filter((name) => name.endsWith(".ts"));
  const modules = sources.map((name) => name.replaceAll("\\", "/").replace(/\.ts$/, ""));
  const expected = [
    "README.md",
    "package.json",
    ...(existsSync(join(folder, "LICENSE")) ? ["LICENSE"] : []),
    ...modules.flatMap((name) => [`dist/${name}.js`, `dist/${name}.d.ts`]),
    "dist/cjs/package.json",
    ...["index", "download", "embedded", "service-worker", "worker"].map((name) => `dist/cjs/${name}.js`),
    ...modules.filter((name) => !isInner(name)).map((name) => `dist/cjs/${name}.d.ts`),
    "models/peregrine-tiny-chat-Q4_0.gguf",
    "wasm/grammar.d.ts",
    "wasm/grammar.js",
    "wasm/grammar_bg.wasm",
    "wasm/grammar_bg.wasm.d.ts",
    "wasm/peregrine.d.ts",
    "wasm/peregrine.js",
    "wasm/peregrine_bg.wasm",
    "wasm/peregrine_bg.wasm.d.ts",
  ];
  assert.deepEqual(files, expected.sort());
});

/** As gzip does it; Node has another zlib, whose files are 4% larger. */
const zipped = (paths) => paths.reduce((sum, path) => sum + execFileSync("gzip", ["-9c", join(folder, path)], { maxBuffer: 1 << 26 }).length, 0);

test("code is at most 1.25 MB on the wire, and that of grammars 0.75 MB more", () => {
  const later = "wasm/grammar_bg.wasm";
  const base = zipped(files.filter((path) => /\.(js|wasm)$/.test(path) && path !== later));
  assert.ok(base <= 1_250_000, `${base} bytes`);
  const grammar = zipped([later]);
  assert.ok(grammar <= 750_000, `${grammar} bytes`);
});

test("the crates, the packages and the list of changes say one version", () => {
  const read = (name) => readFileSync(join(folder, "../..", name), "utf8");
  const [, version] = read("Cargo.toml").match(/\[workspace\.package\]\nversion = "([^"]+)"/);
  assert.equal(read("CHANGELOG.md").match(/^## (\S+)/m)[1], version);
  const crates = [...read("Cargo.toml").matchAll(/^peregrine[a-z-]* = \{ path = "[^"]+", version = "([^"]+)" \}/gm)];
  assert.ok(crates.length >= 6);
  for (const [line, wanted] of crates) assert.equal(wanted, version, line);
  for (const name of ["package", "chat", "docs", "e2e"]) {
    const found = JSON.parse(read(`web/${name}/package.json`));
    assert.equal(found.version, version, name);
    assert.equal(found.dependencies?.peregrine ?? version, version, name);
  }
});
