/**
 * The package in Node, on Dawn's WebGPU: the browser's without a browser; and in Deno, on its own.
 */

import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, golden, MODEL_FILE, test } from "../support.js";
import { withSwiftShader } from "../vulkan.mjs";

/** What node/lora.mjs prints. */
interface Adapters {
  loaded: object[];
  differences: Record<"peft" | "gguf", number>;
  none: boolean[];
  answers: { base: number[]; again: number[][]; both: number[] };
  byModel: { model: string; warnings?: string[] };
  models: { data: { id: string }[] };
  cached: number[];
  states: string[];
  refusals: Record<string, string>;
  expression: boolean;
  check: boolean;
  listed: string[];
  removed: boolean[];
  left: string[][];
  gone: string;
}

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
const capital = golden("capital");
const question = capital.messages[0]!.content;

/**
 * What a script prints. Dawn takes any Vulkan driver; where there is no GPU, Chromium brings one
 * that computes on the CPU.
 */
async function run(browser: string, script: string, ...args: string[]): Promise<string> {
  const [program, ...before] = script.includes("deno") ? [path("../../node_modules/.bin/deno"), "run", "--allow-all"] : ["node"];
  return (await promisify(execFile)(program!, [...before, script, ...args], { env: withSwiftShader(browser), timeout: 500_000 })).stdout;
}

const browserOf = (info: { project: { use: { launchOptions?: unknown } } }) => (info.project.use.launchOptions as { executablePath: string }).executablePath;

test("an answer in Node", async ({}, info) => {
  const { answer, device } = JSON.parse(await run(browserOf(info), path("../node/answer.mjs"), MODEL_FILE, question)) as { answer: string; device: { name: string } };
  expect(answer).toBe(capital.answer);
  expect(device.name).not.toBe("");
});

test("answers in Deno: in a worker and without one, of bytes and of a file by its address", async ({}, info) => {
  const { answers, device } = JSON.parse(await run(browserOf(info), path("../deno/answer.mjs"), MODEL_FILE, question)) as { answers: string[]; device: { name: string } };
  expect(answers).toEqual([capital.answer, capital.answer]);
  expect(device.name).not.toBe("");
});

test("the bench in Node", async ({}, info) => {
  const args = ["--prompt-tokens", "4", "--gen-tokens", "4", "--context", "3", "--repeat", "1"];
  const report = JSON.parse(await run(browserOf(info), path("../node/bench.mjs"), MODEL_FILE, ...args)) as Record<string, number>;
  for (const key of ["load_seconds", "prefill_tokens_per_second", "time_to_first_token_seconds", "decode_milliseconds_per_token"]) {
    expect(report[key], key).toBeGreaterThan(0);
  }
  expect(report).toMatchObject({ context: 3, prompt_tokens: 4, gen_tokens: 4, runs: 1, tokens_decoded: [3] });
  await expect(run(browserOf(info), path("../node/bench.mjs"), MODEL_FILE, "--repeat", "0")).rejects.toMatchObject({ code: 2 });
});

test("adapters in Node: PEFT's logits, choices of requests, states, and what is refused", async ({}, info) => {
  const found = JSON.parse(await run(browserOf(info), path("../node/lora.mjs"), path("../../../tests/golden"))) as Adapters;
  const modules = ["q_proj", "k_proj", "v_proj", "in_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
  const targets = modules.map((module) => ({ module, layers: 2 }));
  expect(found.loaded[0]).toEqual({ id: "baked", kind: "peft", bytes: expect.any(Number), deviceBytes: expect.any(Number), ranks: [6, 6], targets, notes: [] });
  expect(found.loaded[1]).toMatchObject({ id: "second", kind: "gguf" });
  // As natively: what transformers with PEFT gives, in f32.
  expect(found.differences.peft).toBeLessThan(2e-4);
  expect(found.differences.gguf).toBeLessThan(2e-4);
  expect(found.none).toEqual([true, true, false]);

  const { base, again, both } = found.answers;
  expect(again).toEqual([again[0], again[0], base]);
  expect(again[0]).not.toEqual(base);
  expect(both).toHaveLength(8);
  expect(found.byModel).toMatchObject({ model: "second", choices: [{ token_ids: expect.any(Array) }] });
  expect(found.byModel.warnings).toBeUndefined();
  const [model, ...adapters] = found.models.data;
  expect(adapters).toMatchObject(["baked", "second"].map((id) => ({ id, parent: model!.id })));

  // What was read with an adapter is found with that adapter only.
  expect(found.cached[0]).toBeGreaterThan(0);
  expect(found.cached[1]).toBe(0);
  expect(found.states[0]).toMatch(/^ModelFileError .*"baked".*no adapters/);
  expect(found.states[1]).toMatch(/^ModelFileError .*"baked".*"second"/);
  expect(found.states[2]).toBe("nothing");

  const refusals: Record<string, RegExp> = {
    twice: /^RequestError argument: id: expected a name that neither the model nor another adapter has, found "baked"/,
    noConfig: /^ModelFileError missing-field: .*adapter_config\.json/,
    noTensors: /^ModelFileError missing-field: .*adapter_model\.safetensors/,
    noMultipliers: /^ModelFileError unsupported: .*config\.json of the base model/,
    otherModel: /^ModelFileError (tensor-shape|malformed|missing-tensor): /,
    aModel: /^ModelFileError unsupported: .*a LoRA adapter/,
    cut: /^ModelFileError truncated: adapter_model\.safetensors/,
    noJson: /^ModelFileError malformed: adapter_config\.json.*JSON/,
    dora: /^ModelFileError unsupported: .*use_dora.*DoRA/,
    expression: /^ModelFileError malformed: .*target_modules.*a regular expression/,
    unknown: /^RequestError argument: lora\[0\]\.id: there is no adapter nobody; there are baked, second/,
    unknownLogits: /^RequestError argument: lora\[0\]\.id: expected the id of a loaded adapter: baked, second, found "nobody"/,
    beside: /^RequestError argument: lora: not beside the model baked/,
  };
  for (const [name, message] of Object.entries(refusals)) expect(found.refusals[name], name).toMatch(message);
  expect(found.expression).toBe(true);
  expect(found.check).toBe(true);
  expect(found.listed).toEqual(["baked", "second", "expression"]);
  expect(found.removed).toEqual([true, false]);
  expect(found.left).toEqual([["second", "expression"], ["second", "expression"]]);
  expect(found.gone).toMatch(/there is no adapter baked/);
});

/** What node/folder.mjs prints. */
interface Folders {
  /** The golden's. */
  greedy: number[];
  single: { device: string; name: string; far: number; tokens: number[] };
  sharded: { device: string; name: string; far: number; tokens: number[] };
  address: { device: string; name: string; far: number; tokens: number[] };
  gptq: { device: string; formats: string; far: number; fromGolden: number };
  quantized: Record<string, boolean[]>;
  refusals: Record<string, string>;
}

test("folders of safetensors in Node: transformers' logits, shards, GPTQ, quantized as natively, and what is refused", { tag: "@gpu" }, async ({}, info) => {
  const folder = info.outputPath("quantized");
  await mkdir(folder, { recursive: true });
  const golden = path("../../../tests/golden");
  for (const [source, input, type] of [["hf-folder", "hf-folder", "Q4_K_M"], ["hf-folder", "hf-folder", "Q8_0"], ["quant", "quant.gguf", "Q4_K_M"], ["quant", "quant.gguf", "IQ4_XS"]]) {
    await promisify(execFile)(path("../../../target/release/peregrine"), ["quantize", `${golden}/${input}`, `${folder}/${source}-${type}.gguf`, "--type", type!]);
  }
  const found = JSON.parse(await run(browserOf(info), path("../node/folder.mjs"), golden, folder)) as Folders;
  // As natively: what transformers gives, in f32.
  for (const [kind, name, device] of [["single", "hf-folder", "gpu"], ["sharded", "Sharded-H1", "cpu"], ["address", "hf-folder", "cpu"]] as const) {
    expect(found[kind].far, kind).toBeLessThan(2e-4);
    expect(found[kind]).toMatchObject({ name, device });
    expect(found[kind].tokens).toEqual(found.greedy);
  }
  expect(found.gptq.device).toBe("gpu");
  expect(found.gptq.formats).toContain("Q4_0");
  expect(found.gptq.far).toBeLessThan(2e-4);
  expect(found.gptq.fromGolden).toBeGreaterThan(0.01);
  for (const [kind, [asNative, asBefore, told]] of Object.entries(found.quantized)) expect([asNative, asBefore, told], kind).toEqual([true, false, true]);
  const refusals: Record<string, RegExp> = {
    shard: /^RequestError argument: model: model-00002-of-00003\.safetensors is missing/,
    tensor: /^ModelFileError malformed: H1\/model-0000\d-of-00003\.safetensors: tensor model\.layers\.0\.mamba\.D: expected it in model-0000\d/,
    named: /^ModelFileError missing-tensor: H1\/model-0000\d-of-00003\.safetensors: tensor model\.layers\.2\.mamba\.D is missing/,
    index: /^ModelFileError missing-field: H1\/model\.safetensors\.index\.json: field weight_map/,
    weights: /^RequestError argument: model: model\.safetensors is missing/,
    config: /^RequestError argument: model: config\.json is missing/,
    tokenizer: /^RequestError argument: model: tokenizer\.json is missing/,
    dtype: /^ModelFileError unsupported: H1\/model\.safetensors: tensor model\.layers\.0\.mamba\.D: dtype F8_E4M3 is not supported/,
    integers: /^ModelFileError unsupported: .*mamba\.D.*quantization_config/,
    gone: /^ModelFileError missing-tensor: H1: tensor model\.layers\.0\.mamba\.D is missing/,
    cut: /^ModelFileError truncated: H1\/model\.safetensors: the header/,
    short: /^ModelFileError truncated: H1\/model\.safetensors: tensor /,
    long: /^ModelFileError malformed: H1\/model\.safetensors: the length of the header: expected at most 8388608, found 16777216/,
    json: /^ModelFileError malformed: H1\/config\.json.*JSON/,
    pointer: /^ModelFileError malformed: H1\/model\.safetensors.*Git LFS pointer/,
    words: /^ModelFileError unsupported: tokenizer: pre_tokenizer: .*in a browser/,
    adapter: /^RequestError argument: model: this is a LoRA adapter/,
    type: /^RequestError argument: quantizeTo: expected .*"Q4_K_M".*found "Q4_K"/,
  };
  for (const [name, message] of Object.entries(refusals)) expect(found.refusals[name], name).toMatch(message);
});

test("the README's snippet for Node", async ({}, info) => {
  const readme = readFileSync(path("../../package/README.md"), "utf8");
  const [, snippet] = /^```js\n(.*?)^```$/ms.exec(readme) ?? [];
  const ask = `
const messages = [{ role: "user", content: ${JSON.stringify(question)} }];
console.log((await engine.chat.completions.create({ messages, temperature: 0 })).choices[0].message.content);
process.exit(0);
`;
  // Beside the other script, so that it finds the packages.
  const script = path("../node/readme.mjs");
  await writeFile(script, snippet!.replace('"model.gguf"', JSON.stringify(MODEL_FILE)) + ask);
  try {
    expect((await run(browserOf(info), script)).trim()).toBe(capital.answer);
  } finally {
    await rm(script);
  }
});
