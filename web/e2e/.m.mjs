import { openAsBlob } from "node:fs";
import { readFile } from "node:fs/promises";
import { create, globals } from "webgpu";
Object.assign(globalThis, globals);
Object.defineProperty(globalThis, "navigator", { value: { gpu: create([]) }, configurable: true });
const { createEngine } = await import("peregrine");
const wasm = await readFile(process.env.WASM ?? new URL(import.meta.resolve("peregrine/wasm")));
const shapes = process.argv[3] ?? "hardware";
for (let i = 0; i < 2; i++) {
const t0 = performance.now(); const log = []; 
const engine = await createEngine({ model: await openAsBlob(process.argv[2]), worker: "here", wasmUrl: wasm, cache: false, gpu: { shapes, reduction: process.argv[4] }, onProgress: (p) => log.push([((performance.now()-t0)/1e3).toFixed(3), p.phase, p.done ?? p.loaded ?? p.seconds ?? "", p.total ?? "", p.failed ?? ""].join(" ")) });
const seen = {}; for (const l of log) { const [t, ph] = l.split(" "); (seen[ph] ??= []).push(l); }
for (const [k, v] of Object.entries(seen)) console.log(v.length, v[0], "..", v.at(-1));
console.log("ready", ((performance.now()-t0)/1e3).toFixed(3), engine.info.device.why);
await engine.dispose();
}
process.exit(0);
