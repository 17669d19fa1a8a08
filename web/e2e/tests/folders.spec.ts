/**
 * Folders of safetensors in Chromium: transformers' logits, from a picker and from a server;
 * quantized once and kept; a heap that stays small.
 */

import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { cp, rm, writeFile } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type * as Peregrine from "peregrine";
import type { Page } from "@playwright/test";
import { gptq } from "../folder-files.mjs";
import { farthest } from "../goldens/harness.mjs";
import { safetensors } from "../goldens/tensors.mjs";
import { expect, openReady, sendBytes, test, waitReady } from "../support.js";

declare global {
  var peregrine: typeof Peregrine;
}

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
const FOLDER = path("../../../tests/golden/hf-folder");
const PROGRAM = path("../../../target/release/peregrine");
const { ids, logits, greedy } = safetensors(new Uint8Array(readFileSync(`${FOLDER}.safetensors`)).buffer).tensors as Record<"ids" | "logits" | "greedy", Float32Array | Int32Array>;
const LAST = 8;

/** Serves the golden's folder at /hf-folder/; `files` are other bytes of some of them. */
function served(files: Map<string, Buffer>, sent: string[] = []) {
  for (const name of readdirSync(FOLDER)) if (!files.has(name)) files.set(name, readFileSync(`${FOLDER}/${name}`));
  return (request: IncomingMessage, response: ServerResponse): boolean => {
    const name = /^\/hf-folder\/(.*)$/.exec(request.url ?? "")?.[1];
    if (name === undefined) return false;
    const bytes = files.get(name);
    if (!bytes) return response.writeHead(404).end() && true;
    if (request.headers.range !== "bytes=0-0") sent.push(name);
    return sendBytes(request, response, "application/octet-stream", bytes);
  };
}

async function open(page: Page, address: string): Promise<void> {
  await page.goto(address);
  await page.evaluate(async () => {
    const url = "/package/dist/index.js";
    globalThis.peregrine = await import(url);
    document.body.innerHTML = '<input id="folder" type="file" webkitdirectory>';
  });
}

interface Found {
  name: string;
  formats: string;
  tokens: number[];
  logits: number[];
  phases: string[];
  storage: Peregrine.EngineInfo["storage"];
}

/** Loads a model there and reads the golden's prompt; "picked" is what the input has. */
const read = (page: Page, device: "cpu" | "gpu", model: string, options: Pick<Peregrine.EngineOptions, "quantizeTo"> = {}): Promise<Found> =>
  page.evaluate(
    async ({ device, model, options, ids, last }) => {
      const phases = new Set<string>();
      const source = model === "picked" ? document.querySelector<HTMLInputElement>("#folder")!.files! : model;
      const engine = await peregrine.createEngine({ model: source, device, kvType: "f32", ...options, onProgress: ({ phase }) => phases.add(phase) });
      try {
        const found = await engine.logits(ids, { last });
        const { choices } = await engine.completions.create({ prompt: ids, max_tokens: 16, temperature: 0, ignore_eos: true, return_token_ids: true });
        const { model, storage } = engine.info as Peregrine.EngineInfo;
        return { name: model.name, formats: model.formats, tokens: choices[0]!.token_ids!, logits: [...found], phases: [...phases], storage };
      } finally {
        await engine.dispose();
      }
    },
    { device, model, options, ids: [...ids], last: LAST },
  );

test("a folder that a person picks, and one on a server: what transformers gives", { tag: "@gpu" }, async ({ page, site }) => {
  const sent: string[] = [];
  await open(page, await site.bare(served(new Map(), sent)));
  await page.locator("#folder").setInputFiles(FOLDER);
  const expected = logits.subarray(-LAST * 271);
  const picked = await read(page, "gpu", "picked");
  expect(farthest(picked.logits, expected)).toBeLessThan(2e-4);
  expect(picked).toMatchObject({ name: "hf-folder", tokens: [...greedy], storage: { kept: true } });
  const address = await read(page, "cpu", "/hf-folder/");
  expect(farthest(address.logits, expected)).toBeLessThan(2e-4);
  expect(address).toMatchObject({ name: "hf-folder", tokens: [...greedy], storage: { kept: true } });
  expect(sent.sort()).toEqual(readdirSync(FOLDER).sort());
  // From the store.
  expect((await read(page, "cpu", "/hf-folder/")).tokens).toEqual([...greedy]);
  expect(sent).toHaveLength(readdirSync(FOLDER).length);
});

test("a folder in GPTQ: the logits of the same weights in F32, on both devices", { tag: "@gpu" }, async ({ page, site }) => {
  const files = new Map<string, Buffer>();
  await open(page, await site.bare(served(files)));
  const [inGptq, plain] = gptq(FOLDER);
  const put = ({ weights, config }: { weights: Buffer; config: Buffer }) => files.set("model.safetensors", weights).set("config.json", config);
  put(plain!);
  const expected = await read(page, "cpu", "/hf-folder/");
  put(inGptq!);
  for (const device of ["cpu", "gpu"] as const) {
    const found = await read(page, device, "/hf-folder/");
    expect(found.formats, device).toContain("Q4_0");
    expect(farthest(found.logits, expected.logits), device).toBeLessThan(2e-4);
  }
  expect(expected.formats).not.toContain("Q4_0");
  expect(farthest(expected.logits, logits.subarray(-LAST * 271)), "other weights than the golden's").toBeGreaterThan(0.01);
});

test("quantized: as the native program does it, once; again when the source has changed; exported, loaded without its source, deleted", async ({ page, site }, info) => {
  const files = new Map<string, Buffer>();
  await open(page, await site.bare(served(files)));
  const quantizeTo = "Q8_0";
  const first = await read(page, "cpu", "/hf-folder/", { quantizeTo });
  expect(first.phases).toContain("quantize");
  expect(first).toMatchObject({ name: "hf-folder", storage: { kept: true } });
  expect(first.formats).toMatch(/^Q8_0 ×/);

  const exported = Buffer.from(
    await page.evaluate(async () => {
      const [file] = await peregrine.exportModel("stored:" + new URL("/hf-folder/", location.href).href + ":Q8_0");
      if (file!.name !== "hf-folder-Q8_0.gguf") throw new Error(file!.name);
      return [...new Uint8Array(await file!.arrayBuffer())];
    }),
  );
  const native = info.outputPath("native.gguf");
  await promisify(execFile)(PROGRAM, ["quantize", FOLDER, native, "--type", quantizeTo]);
  expect(exported.equals(readFileSync(native))).toBe(true);
  await writeFile(native, exported);
  expect((await promisify(execFile)(PROGRAM, ["info", native])).stdout).toContain("Q8_0");
  await rm(native);

  // What is kept is found by its source, and by its own name.
  const again = await read(page, "cpu", "/hf-folder/", { quantizeTo });
  expect(again.phases).not.toContain("quantize");
  expect(again.logits).toEqual(first.logits);
  const id = await page.evaluate(async () => (await peregrine.listModels()).find(({ id }) => id.startsWith("stored:"))!.id);
  await page.evaluate(() => peregrine.deleteModel(new URL("/hf-folder/", location.href).href));
  expect((await read(page, "cpu", id)).logits).toEqual(first.logits);
  // Neither does it need its source for that.
  const notAgain = await read(page, "cpu", "/hf-folder/", { quantizeTo });
  expect(notAgain.phases).not.toContain("quantize");
  expect(await page.evaluate(() => peregrine.listModels())).toMatchObject([{ id, name: "hf-folder-Q8_0.gguf", complete: true }]);

  const config = JSON.parse(files.get("config.json")!.toString()) as Record<string, number>;
  files.set("config.json", Buffer.from(JSON.stringify({ ...config, lm_head_multiplier: 2 * config.lm_head_multiplier! })));
  const changed = await read(page, "cpu", "/hf-folder/", { quantizeTo });
  expect(changed.phases).toContain("quantize");
  expect(changed.logits).not.toEqual(first.logits);
  await page.evaluate((id) => peregrine.deleteModel(id), id);
  const missing = await read(page, "cpu", id).catch((error: Error) => error.message);
  expect(missing).toMatch(/is not among the models that are kept here/);
});

test("a picked folder is quantized once, and what was stopped leaves nothing that is taken for a model", async ({ page, site }) => {
  // The first worker writes nothing more once it has said that it quantizes: it may have done so
  // before it is stopped.
  const worker = readFileSync(path("../../package/dist/worker.js"));
  const stuck = Buffer.from(`const post = self.postMessage;
    self.postMessage = (message, ...more) => {
      if (message.event?.phase === "quantize") FileSystemFileHandle.prototype.createSyncAccessHandle = () => new Promise(() => {});
      post.call(self, message, ...more);
    };
  `);
  let isFirst = true;
  const folder = served(new Map());
  const fault = (request: IncomingMessage, response: ServerResponse) =>
    isFirst && request.url === "/package/dist/worker.js" ? sendBytes(request, response, "text/javascript", Buffer.concat([stuck, worker])) : folder(request, response);
  await open(page, await site.bare(fault));
  await page.locator("#folder").setInputFiles(FOLDER);
  const stopped = await page.evaluate(async () => {
    const stop = new AbortController();
    const model = document.querySelector<HTMLInputElement>("#folder")!.files!;
    const onProgress = ({ phase }: Peregrine.Progress) => phase === "quantize" && stop.abort();
    return peregrine.createEngine({ model, device: "cpu", quantizeTo: "Q4_K_M", signal: stop.signal, onProgress }).then(
      () => "loaded",
      (error: Peregrine.PeregrineError) => error.code,
    );
  });
  expect(stopped).toBe("cancelled");
  isFirst = false;
  const left = await page.evaluate(() => peregrine.listModels());
  expect(left.filter(({ complete }) => complete)).toEqual([]);
  for (const { id } of left) await expect(page.evaluate((id) => peregrine.exportModel(id), id)).rejects.toThrow(/is not whole/);
  const first = await read(page, "cpu", "picked", { quantizeTo: "Q4_K_M" });
  expect(first).toMatchObject({ storage: { kept: true }, phases: expect.arrayContaining(["quantize"]) });
  const again = await read(page, "cpu", "picked", { quantizeTo: "Q4_K_M" });
  expect(again.phases).not.toContain("quantize");
  expect(again.logits).toEqual(first.logits);
  const [kept] = await page.evaluate(() => peregrine.listModels());
  expect(kept!.id).toMatch(/^stored:hf-folder@[0-9a-f]{8}:Q4_K_M$/);
  expect((await read(page, "cpu", kept!.id)).logits).toEqual(first.logits);
});

/**
 * A folder of 160 MB, and nearly all of it three matrices: zeros, since what they mean is not
 * looked at. Held as a whole it is more than a worker's own memory may grow to.
 */
function large(): Map<string, Buffer> {
  const [hidden, intermediate] = [1024, 26_624];
  const files = zeros({ hidden_size: hidden, intermediate_size: intermediate }, (name, size) =>
    size === 64 && name.includes("feed_forward") ? intermediate : size === 32 && !name.includes("mamba.conv1d") ? hidden : size,
  );
  expect(files.get("model.safetensors")!.length).toBeGreaterThan(160e6);
  return files;
}

/**
 * The golden's folder with other sizes, its weights zeros; `sized` says how long a dimension is.
 */
function zeros(sizes: object, sized: (name: string, size: number) => number): Map<string, Buffer> {
  const config = { ...(JSON.parse(readFileSync(`${FOLDER}/config.json`, "utf8")) as object), num_hidden_layers: 1, ...sizes };
  const own = new Uint8Array(readFileSync(`${FOLDER}/model.safetensors`)).buffer;
  const begin = Number(new DataView(own).getBigUint64(0, true));
  const header = JSON.parse(Buffer.from(own, 8, begin).toString()) as Record<string, { dtype: string; shape: number[]; data_offsets: number[] }>;
  let at = 0;
  const made = Object.entries(header).flatMap(([name, entry]) => {
    if (name === "__metadata__" || name.includes("layers.1.")) return [];
    const shape = entry.shape.map((size) => sized(name, size));
    // The heads of attention are as wide as they were.
    if (/\.(k|v)_proj/.test(name)) shape[0] = 32;
    const bytes = 2 * shape.reduce((product, size) => product * size, 1);
    return [[name, { dtype: entry.dtype, shape, data_offsets: [at, (at += bytes)] }] as const];
  });
  const text = Buffer.from(JSON.stringify(Object.fromEntries(made)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return new Map([
    ["config.json", Buffer.from(JSON.stringify(config))],
    ["model.safetensors", Buffer.concat([length, text, Buffer.alloc(at)])],
  ]);
}

/** The golden's folder with a vocabulary as large as the family's largest. */
function wordy(): Map<string, Buffer> {
  const tokens = 131_072;
  const files = zeros({ vocab_size: tokens }, (_, size) => (size === 271 ? tokens : size));
  const tokenizer = JSON.parse(readFileSync(`${FOLDER}/tokenizer.json`, "utf8")) as { model: { vocab: Record<string, number>; merges: [string, string][] } };
  const { vocab, merges } = tokenizer.model;
  const letters = Object.keys(vocab).filter((token) => [...token].length === 1);
  let [next, begins] = [271, letters];
  // Words of two letters, then of three: each is one of those before it and a letter.
  while (next < tokens) {
    const words: string[] = [];
    for (const begin of begins) {
      for (const letter of letters) {
        if (next === tokens || begin + letter in vocab) continue;
        vocab[begin + letter] = next++;
        merges.push([begin, letter]);
        words.push(begin + letter);
      }
    }
    begins = words;
  }
  return files.set("tokenizer.json", Buffer.from(JSON.stringify(tokenizer)));
}

/** Bytes of the worker's own memory with the folder that is served, and what the model needs. */
const heap = (page: Page, device: "cpu" | "gpu", options: Pick<Peregrine.EngineOptions, "quantizeTo"> = {}) =>
  page.evaluate(
    async ({ device, options }) => {
      const engine = await peregrine.createEngine({ model: "/hf-folder/", device, contextLength: 64, snapshotBytes: 0, ...options });
      await engine.completions.create({ prompt: [5], max_tokens: 1, temperature: 0, ignore_eos: true });
      const { memory, model } = engine.info as Peregrine.EngineInfo;
      await engine.dispose();
      return { heap: memory.wasm, needed: memory.needed, weights: memory.weights, vocabulary: model.vocabSize };
    },
    { device, options },
  );

test("a folder of 160 MB takes less than 60 MiB of the worker's own memory, quantized or not", { tag: "@gpu" }, async ({ page, site }) => {
  test.setTimeout(600_000);
  await open(page, await site.bare(served(large())));
  // On the processor the weights would be in that memory.
  const [plain, quantized] = [await heap(page, "gpu"), await heap(page, "gpu", { quantizeTo: "Q8_0" })];
  console.log(`${plain.heap >> 20} MiB, ${quantized.heap >> 20} MiB`);
  // 55 MB are one matrix.
  expect(plain.heap).toBeLessThan(60 << 20);
  expect(quantized.heap).toBeLessThan(60 << 20);
});

test("on the processor that memory is what the model needs, and 32 MB", async ({ page, site }) => {
  await open(page, await site.bare(served(large())));
  const found = await heap(page, "cpu");
  expect(found.weights).toBeGreaterThan(160e6);
  expect(found.heap).toBeGreaterThan(found.weights);
  expect(found.heap - found.needed).toBeLessThan(32e6);
});

test("a tokenizer.json of 131,072 tokens leaves it below 100 MiB", { tag: "@gpu" }, async ({ page, site }) => {
  await open(page, await site.bare(served(wordy())));
  const found = await heap(page, "gpu");
  expect(found.vocabulary).toBe(131_072);
  expect(found.heap).toBeLessThan(100 << 20);
});

test("the page: a folder that is dropped onto it", async ({ page, site }) => {
  await openReady(page, await site.start());
  const devtools = await page.context().newCDPSession(page);
  // As the browser hears of it from the desktop.
  for (const type of ["dragEnter", "dragOver", "drop"] as const) {
    await devtools.send("Input.dispatchDragEvent", { type, x: 400, y: 300, data: { items: [], files: [FOLDER], dragOperationsMask: 1 } });
  }
  await expect(page.locator("#model-chip")).toContainText("hf-folder");
  await waitReady(page);
});

test("the page: a picked folder that does not fit is made smaller, is among the stored models then, and can be saved", async ({ page, site }, info) => {
  test.setTimeout(600_000);
  const folder = info.outputPath("Large-H1");
  await cp(FOLDER, folder, { recursive: true });
  for (const [name, bytes] of large()) await writeFile(`${folder}/${name}`, bytes);
  await page.addInitScript(() => localStorage.setItem("peregrine.settings", JSON.stringify({ memoryLimit: 0.125 })));
  await openReady(page, await site.start());
  await page.locator("#model-chip").click();
  await page.locator("#folder-files").setInputFiles(folder);
  await page.locator("#status.failed").getByRole("button", { name: "Make it smaller (Q4_K_M)" }).click({ timeout: 120_000 });
  await expect(page.locator("#model-chip")).toContainText("Large-H1", { timeout: 300_000 });
  await page.locator("#model-chip").click();
  await expect(page.locator("#facts")).toContainText("Q4_K ×");
  const row = page.locator("#stored li", { hasText: "Large-H1 Q4_K_M" });
  const [download] = await Promise.all([page.waitForEvent("download"), row.getByRole("button", { name: "Save as a file" }).click()]);
  expect(download.suggestedFilename()).toBe("Large-H1-Q4_K_M.gguf");
  await rm(folder, { recursive: true });
  // The next visit begins with it.
  await page.reload();
  await waitReady(page);
  await expect(page.locator("#model-chip")).toContainText("Large-H1");
  await page.locator("#model-chip").click();
  await page.locator("#stored li", { hasText: "Large-H1" }).getByRole("button", { name: "Delete" }).click();
  await expect(page.locator("#stored-part")).toHaveCount(0);
});
