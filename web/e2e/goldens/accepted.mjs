// What Dawn, Chromium's WebGPU, takes: every composed source, and all that loading models asks of
// it. Its backend "null" parses and checks sources and pipelines as the others do, writes no code
// for a driver, and computes nothing. So no model passes its self-check: each is loaded in every
// way that is left to try, and the error says of each way what was wrong with it.
// Usage: DAWN=backend=null node accepted.mjs INPUT.json
// INPUT.json: { sources: [{ name, code }], models: [{ name, model, shapes, kv }], plant }; `model`
// is a path in the repository. Prints JSON: { refused: { NAME: MESSAGES }, pipelines: those that
// were made, errors: { NAME: [CODE, MESSAGE] } }

import { openAsBlob } from "node:fs";
import { readFile } from "node:fs/promises";
import process from "node:process";
import { fileURLToPath } from "node:url";
import "../dawn.mjs";
import { planted } from "./plant.mjs";
import { createEngine } from "../../package/dist/index.js";

const root = new URL("../../../", import.meta.url);
const { sources, models, plant } = JSON.parse(await readFile(process.argv[2], "utf8"));

const device = await (await navigator.gpu.requestAdapter()).requestDevice({ requiredFeatures: ["subgroups", "shader-f16"] });
const refused = {};
for (const { name, code } of sources) {
  device.pushErrorScope("validation");
  const { messages } = await device.createShaderModule({ code }).getCompilationInfo();
  const errors = messages.filter(({ type }) => type === "error").map(({ message }) => message);
  const error = await device.popErrorScope();
  if (error || errors.length) refused[name] = errors.join("\n") || error.message;
}

let pipelines = 0;
const ask = GPUDevice.prototype.createComputePipelineAsync;
GPUDevice.prototype.createComputePipelineAsync = async function (descriptor) {
  const made = await ask.call(this, descriptor);
  pipelines += 1;
  return made;
};
const wasmUrl = await WebAssembly.compile(planted((await readFile(new URL("web/package/wasm/peregrine_bg.wasm", root))).buffer, plant));
const errors = {};
for (const { name, model, shapes, kv } of models) {
  const { code, message } = await createEngine({
    model: await openAsBlob(fileURLToPath(new URL(model, root))),
    worker: "here", wasmUrl, cache: false, logLevel: "off", contextLength: 256,
    kvType: kv, device: "gpu", gpu: { shapes, reduction: "subgroup" },
  }).then(() => ({ code: "loaded", message: "" }), (error) => error);
  errors[name] = [code, message];
}
console.log(JSON.stringify({ refused, pipelines, errors }));
// Dawn keeps the process alive.
process.exit(0);
