// Speed of a GGUF file in Node on Dawn: the WebGPU of Chrome without a browser, to compare with
// `peregrine bench`, whose names these are.
// Usage: node bench.mjs MODEL.gguf [--prompt-tokens 128] [--gen-tokens 64] [--context 0]
// [--repeat 3] [--temperature 0] Prints JSON. Finds the packages `peregrine` and `webgpu` as Node
// does: in a node_modules beside it or above.

import { openAsBlob } from "node:fs";
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { create, globals } from "webgpu";

const number = (fallback) => ({ type: "string", default: String(fallback) });
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { "prompt-tokens": number(128), "gen-tokens": number(64), context: number(0), repeat: number(3), temperature: number(0) },
});
const [path] = positionals;
const [promptTokens, genTokens, context, repeat, temperature] = ["prompt-tokens", "gen-tokens", "context", "repeat", "temperature"].map((name) => Number(values[name]));
if (!path || [promptTokens, genTokens, repeat].some((n) => !(n >= 1)) || !(context >= 0) || !(temperature >= 0)) {
  console.error("usage: node bench.mjs MODEL.gguf [--prompt-tokens N] [--gen-tokens N] [--context N] [--repeat N] [--temperature X]");
  process.exit(2);
}

Object.assign(globalThis, globals);
Object.defineProperty(globalThis, "navigator", { value: { gpu: create([]) }, configurable: true });
const { createEngine } = await import("peregrine");
const wasmUrl = await readFile(new URL(import.meta.resolve("peregrine/wasm")));

const start = performance.now();
const engine = await createEngine({ model: await openAsBlob(path), worker: "here", wasmUrl, cache: false });
const load = (performance.now() - start) / 1e3;

// Tokens without meaning, the same each time: as the program makes them.
function ids(count, seed) {
  let x = seed;
  return Array.from({ length: count }, () => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return (x >>> 8) % engine.info.model.vocabSize;
  });
}

/** One answer: milliseconds of the prompt and of each token after the first. */
async function measure(run) {
  // Each run has a beginning of its own, so that nothing of it has been read before.
  const before = [...ids(1, run + 7), ...ids(context, 1)];
  if (context > 0) await engine.completions.create({ prompt: before, max_tokens: 1, temperature: 0 });
  const prompt = [...before, ...ids(promptTokens, 2)];
  const begin = performance.now();
  let last = begin;
  const tokens = [];
  let [first, usage] = [0, undefined];
  const stream = await engine.completions.create({
    prompt, max_tokens: genTokens, temperature, seed: run, ignore_eos: true, stream: true, stream_options: { include_usage: true }, return_token_ids: true,
  });
  for await (const chunk of stream) {
    usage = chunk.usage ?? usage;
    if (!chunk.choices[0]) continue;
    const now = performance.now();
    if (first) tokens.push(now - last);
    first ||= now - begin;
    last = now;
  }
  const read = usage.prompt_tokens - usage.prompt_tokens_details.cached_tokens;
  const decoded = usage.completion_tokens - 1;
  return { first, read, tokens, decoded, decode: usage.timings.decode_ms, prefill: usage.timings.prefill_ms };
}

await measure(0);
const runs = [];
for (let run = 1; run <= repeat; run++) runs.push(await measure(run));
const sorted = (values) => [...values].sort((a, b) => a - b);
const median = (value) => sorted(runs.map(value))[Math.floor(runs.length / 2)];
const tokens = sorted(runs.flatMap((run) => run.tokens));
const percentile = (share) => tokens[Math.max(1, Math.ceil(share * tokens.length)) - 1];
const each = median((run) => run.decode / run.decoded);
console.log(JSON.stringify({
  model: path,
  adapter: engine.info.device.name,
  device: engine.info.device,
  load_seconds: load,
  context,
  prompt_tokens: promptTokens,
  gen_tokens: genTokens,
  temperature,
  runs: repeat,
  prefill_tokens_per_second: median((run) => run.read / run.prefill) * 1e3,
  time_to_first_token_seconds: median((run) => run.first) / 1e3,
  decode_tokens_per_second: 1e3 / each,
  decode_milliseconds_per_token: each,
  decode_milliseconds_percentiles: { p50: percentile(0.5), p90: percentile(0.9), p99: percentile(0.99) },
  tokens_decoded: runs.map((run) => run.decoded),
}, null, 2));
await engine.dispose();
// Dawn keeps the process alive.
process.exit(0);
