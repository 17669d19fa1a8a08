// The goldens in Node, on Dawn's WebGPU (the npm package `webgpu`), or in Deno on its own. Usage:
// script.mjs PLAN.json
// PLAN.json: { plan: [{ golden or native, mode }], plant: [from, to], isBare, lanes }; `plant`
// changes a text of the wasm module, to see that a fault is found; `isBare`: there is no WebGPU;
// `lanes`: models that are read at a time.

import { readFile } from "node:fs/promises";
import process from "node:process";
import { differences } from "./compilers.mjs";
import { run, verdict } from "./harness.mjs";
import { planted } from "./plant.mjs";

const { plan, plant, isBare, lanes } = JSON.parse(await readFile(process.argv[2], "utf8"));
if (!("Deno" in globalThis) && !isBare) await import("../dawn.mjs");
const { programs, wrong } = isBare ? { programs: 0, wrong: [] } : await differences(navigator.gpu);
console.log(`${programs} small programs compiled and run, ${wrong.length} differ`);
wrong.forEach((difference) => console.log(difference));
const { createEngine } = await import("../../package/dist/index.js");

const root = new URL("../../../", import.meta.url);
const read = async (path) => {
  const bytes = await readFile(new URL(path, root));
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
};
const wasmUrl = await WebAssembly.compile(planted(await read("web/package/wasm/peregrine_bg.wasm"), plant));
const rows = await run({ createEngine, options: { worker: "here", wasmUrl }, read, log: console.error, lanes }, plan);
let code = wrong.length ? 1 : 0;
try {
  console.log(verdict(rows));
} catch (error) {
  console.log(error.message);
  code = 1;
}
// Dawn keeps the process alive.
process.exit(code);
