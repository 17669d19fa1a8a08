// Adapters in Node, on Dawn: the base and the adapters of tests/golden, against what transformers
// with PEFT computed.
// Usage: node lora.mjs GOLDEN   Prints JSON: what the test looks at.

import { openAsBlob, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import "../dawn.mjs";

const { createEngine } = await import("peregrine");
const wasmUrl = await readFile(new URL(import.meta.resolve("peregrine/wasm")));
const golden = process.argv[2];

/** A tensor of a safetensors file. */
function tensor(file, name) {
  const bytes = readFileSync(`${golden}/${file}.safetensors`);
  const header = Number(bytes.readBigUInt64LE(0));
  const { dtype, data_offsets } = JSON.parse(bytes.subarray(8, 8 + header).toString())[name];
  const data = Uint8Array.from(bytes.subarray(8 + header + data_offsets[0], 8 + header + data_offsets[1]));
  return dtype === "I32" ? new Int32Array(data.buffer) : new Float32Array(data.buffer);
}

const open = async (path) => new File([await openAsBlob(`${golden}/adapters/${path}`)], path.split("/").at(-1));
const folder = async (name, files = ["adapter_config.json", "adapter_model.safetensors", "config.json"]) => Promise.all(files.map((file) => open(`${name}/${file}`)));
const spoilt = async (name, change) => {
  const files = await folder(name);
  return Promise.all(files.map(async (file) => new File([change(file.name, Buffer.from(await file.arrayBuffer())) ?? file], file.name)));
};
const said = (promise) => promise.then(() => "nothing", (error) => `${error.name} ${error.code}: ${error.message}`);
const same = (a, b) => a.length === b.length && a.every((value, i) => Object.is(value, b[i]));

const ids = Array.from(tensor("norm2", "ids"));
const engine = await createEngine({ model: await openAsBlob(`${golden}/norm2.gguf`), worker: "here", wasmUrl, kvType: "f32" });
const row = (lora, last = 16) => engine.logits(ids, { last, lora });
const difference = (found, expected) => Math.max(...found.map((value, i) => Math.abs(value - expected[i])));

const before = await row([]);
const loaded = [await engine.lora.load(await folder("baked"), { id: "baked" }), await engine.lora.load(await open("baked.gguf"), { id: "second" })];
const differences = {
  peft: difference(await row([{ id: "baked" }]), tensor("adapters", "baked")),
  gguf: difference(await row([{ id: "second", scale: 1 }]), tensor("adapters", "baked-gguf")),
};
const none = [same(await row([]), before), same(await row([{ id: "baked", scale: 0 }]), before), same(await row([{ id: "baked" }]), before)];

const ask = { prompt: ids.slice(0, 20), max_tokens: 8, temperature: 0, ignore_eos: true, return_token_ids: true };
const tokens = async (more) => (await engine.completions.create({ ...ask, ...more })).choices[0].token_ids;
const base = await tokens({});
const answers = {
  base,
  again: [await tokens({ lora: [{ id: "baked" }] }), await tokens({ model: "baked" }), await tokens({})],
  both: await tokens({ lora: [{ id: "baked", scale: 0.5 }, { id: "second", scale: 0.5 }] }),
};
const post = (body) => engine.fetch("/v1/completions", { method: "POST", body: JSON.stringify({ ...ask, ...body }) }).then((response) => response.json());
const byModel = await post({ model: "second" });
const models = await (await engine.fetch("/v1/models")).json();

// Read with one choice, and again with another.
await engine.prefill(ids, { lora: [{ id: "baked" }] });
const state = await engine.saveState();
const cached = [(await post({ prompt: ids, model: "baked" })).usage.prompt_tokens_details.cached_tokens, (await post({ prompt: ids })).usage.prompt_tokens_details.cached_tokens];
const states = [await said(engine.restoreState(state)), await said(engine.restoreState(state, { lora: [{ id: "second" }] })), await said(engine.restoreState(state, { lora: [{ id: "baked" }] }))];

const refusals = {
  twice: await said(engine.lora.load(await folder("baked"), { id: "baked" })),
  noConfig: await said(engine.lora.load(await folder("baked", ["adapter_model.safetensors"]))),
  noTensors: await said(engine.lora.load(await folder("baked", ["adapter_config.json"]))),
  noMultipliers: await said(engine.lora.load(await folder("baked", ["adapter_config.json", "adapter_model.safetensors"]))),
  otherModel: await said(engine.lora.load(await folder("tied"))),
  aModel: await said(engine.lora.load(new File([await openAsBlob(`${golden}/norm2.gguf`)], "norm2.gguf"))),
  cut: await said(engine.lora.load(await spoilt("baked", (name, bytes) => (name.endsWith(".safetensors") ? bytes.subarray(0, 9000) : undefined)))),
  noJson: await said(engine.lora.load(await spoilt("baked", (name, bytes) => (name === "adapter_config.json" ? bytes.subarray(1) : undefined)))),
  dora: await said(engine.lora.load(await spoilt("baked", (name, bytes) => (name === "adapter_config.json" ? bytes.toString().replace('"use_dora": false', '"use_dora": true') : undefined)))),
  expression: await said(engine.lora.load(await spoilt("baked", (name, bytes) => (name === "adapter_config.json" ? JSON.stringify({ ...JSON.parse(bytes), target_modules: "(q_proj" }) : undefined)))),
  unknown: await said(tokens({ lora: [{ id: "nobody" }] })),
  unknownLogits: await said(row([{ id: "nobody" }])),
  beside: await said(tokens({ model: "baked", lora: [{ id: "second" }] })),
};
// Names as an expression, which the browser's engine reads.
const byExpression = await spoilt("baked", (name, bytes) => (name === "adapter_config.json" ? JSON.stringify({ ...JSON.parse(bytes), target_modules: ".*\\.(q_proj|k_proj|v_proj|o_proj|in_proj|gate_proj|up_proj|down_proj)" }) : undefined));
await engine.lora.load(byExpression, { id: "expression" });
const expression = same(await row([{ id: "expression" }]), await row([{ id: "baked" }]));
const check = await engine.check({ tokens: 6, lora: [{ id: "baked" }] });

const listed = engine.info.adapters.map(({ id }) => id);
const removed = [await engine.lora.remove("baked"), await engine.lora.remove("baked")];
const left = [(await engine.lora.list()).map(({ id }) => id), engine.info.adapters.map(({ id }) => id)];
const gone = await said(tokens({ lora: [{ id: "baked" }] }));
console.log(JSON.stringify({ loaded, differences, none, answers, byModel, models, cached, states, refusals, expression, check: check.ok, listed, removed, left, gone }));
process.exit(0);
