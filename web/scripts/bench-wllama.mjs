// The processor in Chromium beside wllama, llama.cpp's build for browsers: the same file and
// prompts, one thread each, in one run and by turns. Each visit is a browser of its own; medians
// are printed, and what a token must cost: the bytes of the weights over the speed with which this
// machine copies memory. Both are bundled by Vite, as apps have them.
// Usage: node bench-wllama.mjs [FILE.gguf] [--repeat N] [--prompt-words N] [--gen-tokens N]
// [--json]
// CHROME=PATH says which Chromium. wllama is installed from npm into target/bench/wllama, its
// current version; WLLAMA=VERSION another.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { build } from "vite";
import { listen, serveFolder } from "../chat/serve.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
process.chdir(root);
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    repeat: { type: "string", default: "5" },
    "prompt-words": { type: "string", default: "200" },
    "gen-tokens": { type: "string", default: "64" },
    json: { type: "boolean", default: false },
  },
});

function fail(text) {
  console.error(text);
  process.exit(2);
}

const whole = (name) => (/^[1-9]\d*$/.test(values[name]) ? Number(values[name]) : fail(`--${name} wants a whole number from 1 on`));
const [repeat, words, tokens] = ["repeat", "prompt-words", "gen-tokens"].map(whole);
const model = resolve(positionals[0] ?? "models/tiny/peregrine-tiny-chat-Q4_0.gguf");
if (!existsSync(model)) fail(`there is no ${model}`);
const executablePath = process.env.CHROME || execFileSync("sh", ["web/scripts/browser.sh"], { encoding: "utf8" }).trim();
if (!executablePath) fail("there is no Chromium: sh web/scripts/system.sh browser installs one; CHROME=PATH says where it is");

const folder = "target/bench/wllama";
mkdirSync(folder, { recursive: true });
const wanted = `@wllama/wllama@${process.env.WLLAMA ?? "latest"}`;
execFileSync("npm", ["install", "--no-save", "--no-fund", "--no-audit", "--prefix", folder, wanted], { stdio: ["ignore", "ignore", "inherit"] });
const wllama = join(folder, "node_modules/@wllama/wllama");
const { version } = JSON.parse(readFileSync(join(wllama, "package.json"), "utf8"));

/** What runs in the page: each engine in the same three steps. Its imports are the app's own. */
function inPage() {
  const text = (count, seed) => Array.from({ length: count }, (_, i) => ["bird", "sea", "storm", "old", "sailor", "wind", "small", "house"][(i * 5 + seed * 3 + (i >> 3)) % 8]).join(" ");
  const engines = {
    async peregrine(model) {
      const { createEngine } = await import("peregrine");
      const engine = await createEngine({ model, device: "cpu", cache: false, contextLength: 4096 });
      const ask = async (prompt, max_tokens) => {
        const { usage } = await engine.completions.create({ prompt, max_tokens, temperature: 0, ignore_eos: true });
        const { prefill_ms, tokens_per_second } = usage.timings;
        return { prompt: (usage.prompt_tokens - usage.prompt_tokens_details.cached_tokens) / prefill_ms, decode: tokens_per_second };
      };
      return { ask, weights: engine.info.memory.weights, expected: engine.info.device.tokensPerSecond };
    },
    async wllama(model) {
      const { Wllama } = await import("@wllama/wllama");
      const quiet = { debug() {}, log() {}, warn() {}, error: console.error };
      const engine = new Wllama({ default: "/wllama/esm/wasm/wllama.wasm" }, { suppressNativeLog: true, logger: quiet });
      await engine.loadModelFromUrl(new URL(model, location.href).href, { useCache: false, n_threads: 1, n_ctx: 4096, n_gpu_layers: 0 });
      const ask = async (prompt, max_tokens) => {
        const { timings } = await engine.createCompletion({ prompt, max_tokens, temperature: 0, ignore_eos: true });
        return { prompt: timings.prompt_n / timings.prompt_ms, decode: timings.predicted_per_second };
      };
      return { ask };
    },
  };
  globalThis.visit = async (name, model, words, tokens) => {
    const begin = performance.now();
    const { ask, ...known } = await engines[name](model);
    await ask(text(10, 1), 1);
    const first = performance.now() - begin;
    // Browsers make code fast that has run for some time.
    await ask(text(words, 2), tokens);
    const found = await ask(text(words, 3), tokens);
    return { first, ...found, ...known };
  };
  globalThis.copySpeed = () => {
    const [from, to] = [new Uint8Array(64 << 20).fill(1), new Uint8Array(64 << 20)];
    let best = Infinity;
    for (let i = 0; i < 10; i++) {
      const begin = performance.now();
      to.set(from);
      best = Math.min(best, performance.now() - begin);
    }
    return (from.length / best) * 1000;
  };
}

const app = resolve(folder, "app");
rmSync(app, { recursive: true, force: true });
mkdirSync(app);
writeFileSync(join(app, "index.html"), '<!doctype html><meta charset="utf-8"><title>bench</title><script type="module" src="./main.js"></script>');
writeFileSync(join(app, "main.js"), `(${inPage})();`);
await build({
  root: app,
  base: "./",
  configFile: false,
  logLevel: "warn",
  resolve: { alias: { peregrine: resolve("web/package/dist/index.js"), "@wllama/wllama": resolve(wllama, "esm/index.js") } },
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: false },
  worker: { format: "es" },
});
const folders = { "/wllama/": serveFolder(wllama), "/model/": serveFolder(dirname(model)) };
const page = serveFolder(join(app, "dist"));
const { server, address } = await listen((request, response) => {
  const at = Object.keys(folders).find((prefix) => request.url.startsWith(prefix));
  if (!at) return page(request, response);
  request.url = request.url.slice(at.length - 1);
  return folders[at](request, response);
}, 8410);

async function inBrowser(work, ...args) {
  const browser = await chromium.launch({ executablePath, args: ["--headless=new", ...(process.getuid?.() === 0 ? ["--no-sandbox"] : [])] });
  try {
    const page = await browser.newPage();
    page.setDefaultTimeout(0);
    page.on("pageerror", (error) => console.error(error.message));
    await page.goto(address);
    return await page.evaluate(work, args);
  } finally {
    await browser.close();
  }
}

const visits = { peregrine: [], wllama: [] };
let copy = 0;
for (let i = 0; i < repeat; i++) {
  for (const name of Object.keys(visits)) {
    visits[name].push(await inBrowser((args) => globalThis.visit(...args), name, `/model/${basename(model)}`, words, tokens));
    process.stderr.write(`${name}: ${JSON.stringify(visits[name].at(-1))}\n`);
  }
  copy = Math.max(copy, await inBrowser(() => globalThis.copySpeed()));
}
server.close();
server.closeAllConnections();

const median = (name, key) => visits[name].map((visit) => visit[key]).sort((a, b) => a - b)[visits[name].length >> 1];
const { weights } = visits.peregrine[0];
const rows = [
  ["load to first token, s", "first", 1e-3, false],
  ["prompt, tokens/s", "prompt", 1e3, true],
  ["decode, tokens/s", "decode", 1, true],
].map(([title, key, unit, isMore]) => {
  const [ours, theirs] = ["peregrine", "wllama"].map((name) => unit * median(name, key));
  return { title, ours, theirs, times: isMore ? ours / theirs : theirs / ours };
});
const floor = copy / weights;
if (values.json) {
  console.log(JSON.stringify({ model: basename(model), wllama: version, repeat, words, tokens, rows, floor, expected: median("peregrine", "expected"), copy }, null, 2));
} else {
  console.log(`${basename(model)}, one thread, medians of ${repeat}: peregrine beside wllama ${version}`);
  for (const { title, ours, theirs, times } of rows) console.log(`  ${title.padEnd(26)} ${ours.toFixed(2).padStart(8)} ${theirs.toFixed(2).padStart(8)}   ${times.toFixed(2)} times`);
  console.log(`  expected before the first answer: ${median("peregrine", "expected").toFixed(1)} tokens/s`);
  console.log(`  floor: ${(copy / 1e9).toFixed(1)} GB/s copied, ${(weights / 1e6).toFixed(1)} MB of weights: ${floor.toFixed(0)} tokens/s`);
}
