// Folders of safetensors in Node: those of tests/golden, cut into shards, in GPTQ, damaged,
// quantized while they are loaded. One whole and one in GPTQ are on Dawn; the rest is the same
// wherever it is computed, and the processor loads in a tenth of the time.
// Usage: node folder.mjs GOLDEN QUANTIZED Prints JSON: what the test looks at. QUANTIZED: a folder
// with what `peregrine quantize` has made: hf-folder-TYPE.gguf and quant-TYPE.gguf.

import { openAsBlob, readdirSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import { create, globals } from "webgpu";
import { farthest } from "../goldens/harness.mjs";
import { safetensors } from "../goldens/tensors.mjs";

Object.assign(globalThis, globals);
Object.defineProperty(globalThis, "navigator", { value: { gpu: create([]) }, configurable: true });

const { createEngine } = await import("peregrine");
const wasmUrl = await readFile(new URL(import.meta.resolve("peregrine/wasm")));
const [, , golden, quantized] = process.argv;
const FOLDER = `${golden}/hf-folder`;

const file = (bytes, name, path) => Object.defineProperty(new File([bytes], name), "webkitRelativePath", { value: path });
const texts = () => readdirSync(FOLDER).filter((name) => !name.endsWith(".safetensors")).map((name) => [name, readFileSync(`${FOLDER}/${name}`)]);
/** A folder as a page has it from an input: `called/NAME`. */
const picked = (called, files) => [...files].map(([name, bytes]) => file(bytes, name, `${called}/${name}`));

/** The tensors of a file: name, dtype, shape, bytes. */
function tensorsOf(path) {
  const bytes = readFileSync(path);
  const begin = 8 + Number(bytes.readBigUInt64LE(0));
  const { __metadata__: _, ...header } = JSON.parse(bytes.subarray(8, begin).toString());
  return new Map(Object.entries(header).map(([name, { dtype, shape, data_offsets: [from, to] }]) => [name, { dtype, shape, bytes: bytes.subarray(begin + from, begin + to) }]));
}

/** A file of them; `change` may lie in its header. */
function written(tensors, change = (header) => header) {
  let at = 0;
  const header = {};
  for (const [name, { dtype, shape, bytes }] of tensors) header[name] = { dtype, shape, data_offsets: [at, (at += bytes.length)] };
  const text = Buffer.from(JSON.stringify(change(header)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, ...[...tensors.values()].map(({ bytes }) => bytes)]);
}

const all = tensorsOf(`${FOLDER}/model.safetensors`);
const INDEX = "model.safetensors.index.json";
/** In three files and an index. */
function shards(change = (map) => map) {
  const map = {};
  const parts = [0, 1, 2].map((part) => new Map([...all].filter(([name], i) => i % 3 === part && (map[name] = `model-0000${part + 1}-of-00003.safetensors`))));
  return new Map([...texts(), [INDEX, JSON.stringify({ metadata: {}, weight_map: change(map) })], ...parts.map((part, i) => [`model-0000${i + 1}-of-00003.safetensors`, written(part)])]);
}
const single = (bytes = readFileSync(`${FOLDER}/model.safetensors`)) => new Map([...texts(), ["model.safetensors", bytes]]);

const open = (model, more = {}) => createEngine({ model, worker: "here", device: "cpu", wasmUrl, kvType: "f32", ...more });
const { ids: idTensor, logits, greedy } = safetensors(new Uint8Array(readFileSync(`${golden}/hf-folder.safetensors`)).buffer).tensors;
const ids = [...idTensor];
const last = 8;
async function used(engine, ask) {
  try {
    return await ask(engine);
  } finally {
    await engine.dispose();
  }
}
/** How far the logits are from the golden's, and the greedy answer. */
const read = (model, more) =>
  open(model, more).then((engine) =>
    used(engine, async () => ({
      device: engine.info.device.kind,
      name: engine.info.model.name,
      far: farthest(await engine.logits(ids, { last }), logits.subarray(-last * engine.info.model.vocabSize)),
      tokens: (await engine.completions.create({ prompt: ids, max_tokens: 16, temperature: 0, ignore_eos: true, return_token_ids: true })).choices[0].token_ids,
    })),
  );
const rows = (model, more) => open(model, more).then((engine) => used(engine, () => engine.logits(ids, { last })));

/** 16 bits of a half that is a power of two. */
const half = (exponent) => (exponent + 15) << 10;
/** The folder in GPTQ of 4 bits with groups of 32, and the same weights in F32. */
function gptq() {
  const [stored, plain] = [new Map(), new Map()];
  for (const [name, tensor] of all) {
    const [out, inputs] = tensor.shape;
    if (!name.endsWith("_proj.weight") || out % 8 !== 0) {
      for (const to of [stored, plain]) to.set(name, tensor);
      continue;
    }
    const groups = inputs / 32;
    const [qweight, qzeros, scales] = [new Uint32Array((inputs / 8) * out), new Uint32Array((groups * out) / 8).fill(0x77777777), new Uint16Array(groups * out)];
    const values = new Float32Array(out * inputs);
    for (let o = 0; o < out; o++) {
      for (let g = 0; g < groups; g++) {
        const exponent = -3 - ((o + g) % 3);
        scales[g * out + o] = half(exponent);
        for (let i = 32 * g; i < 32 * (g + 1); i++) {
          const bits = tensor.bytes.readUInt16LE(2 * (o * inputs + i));
          const value = new Float32Array(Uint32Array.of(bits << 16).buffer)[0];
          const code = Math.max(0, Math.min(15, Math.round(value / 2 ** exponent) + 8));
          values[o * inputs + i] = (code - 8) * 2 ** exponent;
          qweight[(i >> 3) * out + o] |= code << (4 * (i & 7));
        }
      }
    }
    const stem = name.slice(0, -".weight".length);
    stored.set(`${stem}.qweight`, { dtype: "I32", shape: [inputs / 8, out], bytes: Buffer.from(qweight.buffer) });
    stored.set(`${stem}.qzeros`, { dtype: "I32", shape: [groups, out / 8], bytes: Buffer.from(qzeros.buffer) });
    stored.set(`${stem}.scales`, { dtype: "F16", shape: [groups, out], bytes: Buffer.from(scales.buffer) });
    plain.set(name, { dtype: "F32", shape: tensor.shape, bytes: Buffer.from(values.buffer) });
  }
  const config = JSON.parse(readFileSync(`${FOLDER}/config.json`));
  config.quantization_config = { quant_method: "gptq", bits: 4, group_size: 32, sym: true, desc_act: false };
  return [picked("GPTQ", single(written(stored)).set("config.json", JSON.stringify(config))), picked("plain", single(written(plain)))];
}

const GPU = { device: "gpu" };
const found = {
  greedy: [...greedy],
  single: await read(picked("hf-folder", single()), GPU),
  sharded: await read(picked("Sharded-H1", shards())),
  address: await read(pathToFileURL(`${FOLDER}/`)),
};
const [inGptq, inPlain] = gptq();
const [onCpu, plain] = [await rows(inGptq), await rows(inPlain)];
found.gptq = await open(inGptq, GPU).then((engine) =>
  used(engine, async () => ({
    device: engine.info.device.kind,
    formats: engine.info.model.formats,
    far: Math.max(farthest(onCpu, plain), farthest(await engine.logits(ids, { last }), plain)),
    fromGolden: farthest(onCpu, logits.subarray(-last * 271)),
  })),
);

const same = (a, b) => a.length === b.length && a.every((value, i) => Object.is(value, b[i]));
found.quantized = {};
for (const [source, types] of [["hf-folder", ["Q4_K_M", "Q8_0"]], ["quant", ["Q4_K_M", "IQ4_XS"]]]) {
  const model = source === "quant" ? await openAsBlob(`${golden}/quant.gguf`) : picked(source, single());
  const unquantized = await rows(model);
  for (const type of types) {
    const phases = new Set();
    const here = await rows(model, { quantizeTo: type, onProgress: ({ phase }) => phases.add(phase) });
    const native = await rows(await openAsBlob(`${quantized}/${source}-${type}.gguf`));
    found.quantized[`${source} ${type}`] = [same(here, native), same(here, unquantized), phases.has("quantize")];
  }
}

const said = (files, more) => open(files, more).then((engine) => (void engine.dispose(), "nothing"), (error) => `${error.name} ${error.code}: ${error.message}`);
const without = (files, name) => (files.delete(name), picked("H1", files));
const bytes = readFileSync(`${FOLDER}/model.safetensors`);
const lied = (change) => picked("H1", single(written(all, (header) => (change(header), header))));
const D = "model.layers.0.mamba.D";
const withText = (name, text) => picked("H1", single().set(name, text));
found.refusals = {
  shard: await said(without(shards(), "model-00002-of-00003.safetensors")),
  tensor: await said(picked("H1", shards((map) => ({ ...map, [D]: map["lm_head.weight"] })))),
  named: await said(picked("H1", shards((map) => ({ ...map, "model.layers.2.mamba.D": map[D] })))),
  index: await said(picked("H1", shards(() => undefined))),
  weights: await said(without(single(), "model.safetensors")),
  config: await said(without(single(), "config.json")),
  tokenizer: await said(without(single(), "tokenizer.json")),
  dtype: await said(lied((header) => (header[D].dtype = "F8_E4M3"))),
  integers: await said(lied((header) => Object.assign(header[D], { dtype: "I32", shape: [2] }))),
  gone: await said(lied((header) => delete header[D])),
  cut: await said(picked("H1", single(bytes.subarray(0, 1000)))),
  short: await said(picked("H1", single(bytes.subarray(0, bytes.length - 1)))),
  long: await said(picked("H1", single(Buffer.concat([Buffer.from([0, 0, 0, 1, 0, 0, 0, 0]), Buffer.alloc(1 << 25, " ")])))),
  json: await said(withText("config.json", "{")),
  pointer: await said(withText("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")),
  words: await said(withText("tokenizer.json", readFileSync(`${FOLDER}/tokenizer.json`, "utf8").replace('"Isolated"', '"Removed"'))),
  adapter: await said(["adapter_config.json", "adapter_model.safetensors"].map((name) => file(readFileSync(`${golden}/adapters/plain/${name}`), name, `plain/${name}`))),
  type: await said(picked("H1", single()), { quantizeTo: "Q4_K" }),
};
console.log(JSON.stringify(found));
process.exit(0);
