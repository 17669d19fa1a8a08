// Makes dist/cjs: what `require("peregrine")` gets. Node 20.19 and newer can require ES modules, so
// each file there hands on the one that `import` gets, and there is one copy of the package in an
// app. The types are those of dist once more, in a folder that says CommonJS: TypeScript takes no
// ES module's types for what is required.

import { copyFileSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";

const dist = fileURLToPath(new URL("dist/", import.meta.url));
const out = `${dist}cjs/`;
const ENTRIES = ["index", "download", "embedded", "service-worker", "worker"];
/** What only the worker needs: no app can name these types. */
const INNER = /^(worker\/.*|download\/(download|folder|http|meter|quantized|source|stored|writer)\.d\.ts|cjs\/.*)$/;

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
writeFileSync(`${out}package.json`, '{ "type": "commonjs" }\n');
for (const name of ENTRIES) writeFileSync(`${out}${name}.js`, `module.exports = require("../${name}.js");\n`);
for (const name of readdirSync(dist, { recursive: true }).map((name) => name.replaceAll("\\", "/"))) {
  if (!name.endsWith(".d.ts") || INNER.test(name)) continue;
  mkdirSync(dirname(out + name), { recursive: true });
  copyFileSync(dist + name, out + name);
}
