// collects sources from an engine load, then compiles them in different ways
import { openAsBlob } from "node:fs";
import { readFile } from "node:fs/promises";
import { create, globals } from "webgpu";
Object.assign(globalThis, globals);
const gpu = create([]);
Object.defineProperty(globalThis, "navigator", { value: { gpu }, configurable: true });
const descs = [];
const orig = GPUDevice.prototype.createComputePipelineAsync, om = GPUDevice.prototype.createShaderModule;
const codes = new WeakMap();
GPUDevice.prototype.createShaderModule = function (d) { const m = om.call(this, d); codes.set(m, d); return m; };
let first; 
const stop = new Error("stop");
GPUDevice.prototype.createComputePipelineAsync = function (d) { descs.push({ label: d.label, code: codes.get(d.compute.module).code, constants: d.compute.constants }); return new Promise(() => {}); };
const { createEngine } = await import("peregrine");
const wasm = await readFile(new URL(import.meta.resolve("peregrine/wasm")));
createEngine({ model: await openAsBlob(process.argv[2]), worker: "here", wasmUrl: wasm, cache: false, gpu: { shapes: process.argv[3] } }).catch(() => {});
await new Promise(r => setTimeout(r, 1500));
console.log(descs.length, "pipelines");
const mode = process.argv[4];
const adapter = await gpu.requestAdapter();
const device = await adapter.requestDevice({ requiredFeatures: ["subgroups"] });
const t0 = performance.now(), c0 = process.cpuUsage();
const mods = new Map();
const mod = (d) => { if (!mods.has(d.code)) mods.set(d.code, om.call(device, { code: d.code })); return mods.get(d.code); };
const desc = (d) => ({ layout: "auto", compute: { module: mod(d), entryPoint: "main", constants: d.constants } });
if (mode === "sync") for (const d of descs) { device.createComputePipeline(desc(d)); }
else { const n = mode === "all" ? descs.length : +mode; let i = 0; await Promise.all(Array.from({ length: n }, async () => { while (i < descs.length) { const d = descs[i++]; await orig.call(device, desc(d)); } })); }
const c = process.cpuUsage(c0);
console.log(mode, "wall", ((performance.now() - t0) / 1e3).toFixed(2), "cpu", (c.user / 1e6).toFixed(2), (c.system / 1e6).toFixed(2));
const fs = await import("node:fs"); for (const t of fs.readdirSync("/proc/self/task")) { const s = fs.readFileSync("/proc/self/task/"+t+"/stat","utf8"); const f = s.slice(s.lastIndexOf(")")+2).split(" "); const u=+f[11]+ +f[12]; if (u>10) console.log(s.slice(s.indexOf("("), s.lastIndexOf(")")+1), u/100); }
process.exit(0);
