// Folders of safetensors in Node: those of tests/golden, cut into shards, in GPTQ, damaged,
// quantized while they are loaded. One whole and one in GPTQ are on Dawn; the rest is the same
// wherever it is computed, and the processor loads in a tenth of the time.
// Usage: node folder.mjs GOLDEN QUANTIZED Prints JSON: what the test looks at. QUANTIZED: a folder
// with what `peregrine quantize` has made: hf-folder-TYPE.gguf and quant-TYPE.gguf.

import { openAsBlob, readdirSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import "../dawn.mjs";
import { farthest } from "../goldens/harness.mjs";
import { safetensors } from "../goldens/tensors.mjs";
import { gptq, tensorsOf, written } from "../folder-files.mjs";

const { createEngine } = await import("peregrine");
const wasmUrl = await readFile(new URL(import.meta.resolve("peregrine/wasm")));
const [, , golden, quantized] = process.argv;
const FOLDER = `${golden}/hf-folder`;

const file = (bytes, name, path) => Object.defineProperty(new File([bytes], name), "webkitRelativePath", { value: path });
const texts = () => readdirSync(FOLDER).filter((name) => !name.endsWith(".safetensors")).map((name) => [name, readFileSync(`${FOLDER}/${name}`)]);
/** A folder as a page has it from an input: `called/NAME`. */
const picked = (called, files) => [...files].map(([name, bytes]) => file(bytes, name, `${called}/${name}`));

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

const GPU = { device: "gpu" };
const found = {
  greedy: [...greedy],
  single: await read(picked("hf-folder", single()), GPU),
  sharded: await read(picked("Sharded-H1", shards())),
  address: await read(pathToFileURL(`${FOLDER}/`)),
};
const [inGptq, inPlain] = gptq(FOLDER).map(({ weights, config }, i) => picked(["GPTQ", "plain"][i], single(weights).set("config.json", config)));
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
