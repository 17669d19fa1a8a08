import { copyFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

await build({
  entryPoints: { main: "src/main.js", named: "src/named.js", worker: "peregrine/worker" },
  outdir: "public",
  bundle: true,
  splitting: true,
  format: "esm",
  // named.js imports it, for its address.
  loader: { ".wasm": "file" },
  publicPath: "/",
});
// main.js names neither worker nor wasm module: the package looks for them beside the bundles.
await copyFile(fileURLToPath(import.meta.resolve("peregrine/wasm")), "public/peregrine_bg.wasm");
