// Speed in a real browser beside the same files natively, in one run: the first visit, answers, the
// second visit, states. Every visit is a fresh browser; nothing comes from a network.
// Usage: node bench-browser.mjs [FILE.gguf ...] [--sizes 0.5b,1.5b,1.5b-deep] [--repeat N]
// [--browser-args "..."] [--json] CHROME=PATH says which Chromium. Without files, models of random
// weights and official shapes are made in target/bench, Q4_K_M.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { listen, serveFolder } from "../chat/serve.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
process.chdir(root);
const PROGRAM = "target/release/peregrine";
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    sizes: { type: "string", default: "0.5b,1.5b,1.5b-deep" },
    repeat: { type: "string", default: "5" },
    "browser-args": { type: "string", default: "" },
    json: { type: "boolean", default: false },
  },
});
const repeat = Number(values.repeat);
if (!Number.isInteger(repeat) || repeat < 1) fail("--repeat wants a number from 1 on");

function fail(text) {
  console.error(text);
  process.exit(2);
}

const say = (text) => process.stderr.write(`${text}\n`);
const run = (command, args) => execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });

/** The files to measure; those of official shapes are made when they are not there. */
function files() {
  if (positionals.length > 0) return positionals.map((file) => (existsSync(file) ? resolve(file) : fail(`there is no ${file}`)));
  mkdirSync("target/bench", { recursive: true });
  return values.sizes.split(",").map((size) => {
    const file = `target/bench/${size}.gguf`;
    if (!existsSync(file)) run(PROGRAM, ["synth", "--size", size, "--type", "Q4_K_M", "--seed", "1", "-o", file]);
    return resolve(file);
  });
}

function browser() {
  const path = process.env.CHROME || run("sh", ["web/scripts/browser.sh"]).trim();
  return path || fail("there is no Chromium: sh web/scripts/system.sh browser installs one; CHROME=PATH says where it is");
}

// Without a display a GPU of NVIDIA's is found through Vulkan only.
const VULKAN = [
  "--use-angle=vulkan", "--enable-features=Vulkan,VulkanFromANGLE,DefaultANGLEVulkan", "--disable-vulkan-surface",
  "--disable-gpu-sandbox",
];
const ARGS = ["--enable-unsafe-webgpu", "--ignore-gpu-blocklist", ...(process.platform === "linux" ? VULKAN : [])];

/**
 * What runs in the page. `load` gives the engine and what it took, from the beginning of the visit
 * on.
 */
function inPage() {
  const UNCOUNTED = 3;
  const ids = (count, seed) => Array.from({ length: count }, (_, i) => 1000 + ((i * 7919 + seed * 104729) % 20000));
  const timed = async (work) => {
    const begin = performance.now();
    const result = await work();
    return [performance.now() - begin, result];
  };
  let engine;
  const ask = (count, tokens, seed) =>
    timed(() => engine.completions.create({ prompt: ids(count, seed), max_tokens: tokens, temperature: 0, ignore_eos: true }));
  globalThis.visit = async (model) => {
    const { createEngine } = await import("/package/dist/index.js");
    const marks = { begin: 0, upload: 0, compile: 0, check: 0 };
    const onProgress = (progress) => {
      if (progress.phase === "upload") marks.begin ||= performance.now();
      if (progress.phase === "upload") marks.upload = performance.now();
      if (progress.phase === "compile") marks.compile ||= performance.now();
      if (progress.phase === "check") marks.check = 1000 * (progress.seconds ?? 0);
    };
    const asked = performance.now();
    // Places to go back to would be moved out of the way by prompts that have nothing in common, as
    // no person's have.
    engine = await createEngine({ model, onProgress, snapshotHostBytes: 0, contextLength: 8192 });
    const ready = performance.now();
    const [first] = await ask(128, 1, 1);
    const { device, loading, model: { bytes } } = engine.info;
    return { asked, ready, ...marks, first, token: performance.now(), device, loading, bytes };
  };
  globalThis.answers = async (repeat) => {
    const [prompts, decode, long] = [[], [], []];
    // The first few are slower, and so is one that the GPU has waited for.
    for (let k = 0; k < UNCOUNTED + repeat; k++) prompts.push((await ask(128, 1, 2 + k))[0]);
    prompts.splice(0, UNCOUNTED);
    await new Promise((resolve) => setTimeout(resolve, 5000));
    const [idle] = await ask(128, 1, 50);
    for (let k = 0; k < repeat; k++) {
      const [one] = await ask(128, 1, 100 + k);
      const [all] = await ask(128, 257, 200 + k);
      decode.push((all - one) / 256);
      long.push((await ask(2048, 1, 300 + k))[0]);
    }
    await ask(4096, 1, 400);
    const [save, state] = await timed(() => engine.saveState());
    const [restore] = await timed(() => engine.restoreState(state));
    return { prompts, idle, decode, long, save, restore, stateBytes: state.size };
  };
}

const PAGE = `<!doctype html><meta charset="utf-8"><title>bench</title><script>(${inPage})()</script>`;

/** The page, the package and the models, of folders that have nothing to do with each other. */
function site(models) {
  const [packed, folders] = [serveFolder("web/package"), new Map(models.map((file) => [`/models/${basename(file)}`, serveFolder(dirname(file))]))];
  return (request, response) => {
    if (request.url === "/") return response.writeHead(200, { "Content-Type": "text/html" }).end(PAGE);
    if (request.url.startsWith("/package/")) {
      request.url = request.url.slice("/package".length);
      return packed(request, response);
    }
    const models = folders.get(request.url);
    if (models) request.url = `/${basename(request.url)}`;
    return (models ?? packed)(request, response);
  };
}

/** Where drivers keep what they have compiled: nowhere, or in a folder. */
const cacheOf = (folder) =>
  folder === undefined
    ? { __GL_SHADER_DISK_CACHE: "0", MESA_SHADER_CACHE_DISABLE: "true" }
    : { __GL_SHADER_DISK_CACHE: "1", __GL_SHADER_DISK_CACHE_PATH: folder, MESA_SHADER_CACHE_DIR: folder };

/** One visit in a browser of its own, whose profile stays, as does `cache`, the driver's folder. */
async function visit(profile, address, model, { work, cache } = {}) {
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: browser(),
    args: [...ARGS, ...values["browser-args"].split(" ").filter(Boolean), ...(process.getuid?.() === 0 ? ["--no-sandbox"] : [])],
    env: { ...process.env, ...cacheOf(cache) },
  });
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(0);
    await page.goto(address);
    const found = await page.evaluate((model) => visit(model), `/models/${basename(model)}`);
    return { ...found, ...(work ? await page.evaluate((repeat) => answers(repeat), work) : {}) };
  } finally {
    await context.close();
  }
}

const native = (model, prompt, answer) =>
  JSON.parse(run(PROGRAM, ["bench", model, "--prompt-tokens", `${prompt}`, "--gen-tokens", `${answer}`, "--repeat", `${repeat}`, "--json", "--device", "gpu"]));
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

async function measure(model, address) {
  say(`${basename(model)}: ${(statSync(model).size / 1e6).toFixed(0)} MB`);
  const folder = mkdtempSync(join(process.env.TMPDIR || tmpdir(), "peregrine-bench-"));
  const [profile, cache] = ["profile", "cache"].map((name) => join(folder, name));
  mkdirSync(cache);
  try {
    const first = await visit(profile, address, model, { work: repeat });
    const second = await visit(profile, address, model);
    // Of somebody whose driver has seen these programs: the first of two such visits fills its
    // cache.
    await visit(join(folder, "filling"), address, model, { cache });
    const cached = await visit(join(folder, "filled"), address, model, { cache });
    const [short, long] = [native(model, 128, 257), native(model, 2048, 2)];
    const later = median(first.prompts);
    return {
      model: basename(model, ".gguf"),
      device: first.device,
      rows: [
        ["first visit: to the end of the upload, s", first.upload / 1000, undefined, 2],
        ['  "compile" to "ready", nothing cached, s', (first.ready - first.compile) / 1000, undefined, 2],
        ["    of it the self-check, s", first.check / 1000, undefined, 2],
        ['  "compile" to "ready", the driver\'s cache filled, s', (cached.ready - cached.compile) / 1000, undefined, 2],
        ["    of it the self-check, s", cached.check / 1000, undefined, 2],
        ["  first answer over later ones, prompt of 128", first.first / later, undefined, 2],
        ["  one after five idle seconds over later ones", first.idle / later, undefined, 2],
        ["second visit: to the first token, s", second.token / 1000, undefined, 2],
        ["  to createEngine, s", second.asked / 1000, undefined, 2],
        ["  from there to the first weights on the device, s", (second.begin - second.asked) / 1000, undefined, 2],
        ["  from there to the last, s", (second.upload - second.begin) / 1000, undefined, 2],
        ["    MB/s", second.bytes / 1000 / (second.upload - second.begin), undefined, 0],
        ...[["waited for bytes", "read"], ["laid out", "layOut"], ["handed over", "upload"]].map(([what, name]) => [`    of it ${what}, s`, second.loading[name], undefined, 2]),
        ["  from there to ready, s", (second.ready - second.upload) / 1000, undefined, 2],
        ["  the first answer, s", second.first / 1000, undefined, 2],
        ["decode at context 128, ms a token", median(first.decode), short.decode_milliseconds_per_token, 2],
        ["prompt of 128, tokens/s", 128000 / later, short.prefill_tokens_per_second, 0],
        ["prompt of 2,048, tokens/s", 2048000 / median(first.long), long.prefill_tokens_per_second, 0],
        [`save a state of 4,096 tokens (${(first.stateBytes / 1e6).toFixed(0)} MB), s`, first.save / 1000, undefined, 2],
        ["restore it, s", first.restore / 1000, undefined, 2],
      ],
      native: short.adapter,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const models = files();
const { server, address } = await listen(site(models), 8400);
const results = [];
for (const model of models) results.push(await measure(model, address));
server.close();
server.closeAllConnections();
if (values.json) {
  console.log(JSON.stringify(results, null, 2));
} else {
  for (const { model, device, native, rows } of results) {
    console.log(`${model}: Chromium on ${device.name} (${device.shapes}, ${device.reduction}); natively ${native}`);
    for (const [name, here, there, digits] of rows) {
      const beside = there === undefined ? "" : `   natively ${there.toFixed(digits)}, ${(Math.max(here, there) / Math.min(here, there)).toFixed(2)} times`;
      console.log(`  ${name.padEnd(56)} ${here.toFixed(digits).padStart(8)}${beside}`);
    }
  }
}
