/**
 * LoRA adapters in the package's own workers: over a loss of the device, and between pages that
 * share a model.
 */

import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { fileURLToPath } from "node:url";
import type * as Peregrine from "peregrine";
import type { Page } from "@playwright/test";
import { loraGguf } from "../gguf.js";
import { answerText, DESTROYER, expect, golden, kept, lose, MODEL_FILE, modelIs, openReady, say, sendBytes, SMALL, test, waitReady } from "../support.js";

declare global {
  var peregrine: typeof Peregrine;
  var engine: Peregrine.Engine;
}

const { messages, answer_ids: whole } = golden("capital");
const adapter = loraGguf();

/** An adapter; and the package's worker, whose device a test can destroy. */
const serving = (adapter: Buffer) => (request: IncomingMessage, response: ServerResponse) => {
  if (request.url === "/adapter.gguf") return sendBytes(request, response, "application/octet-stream", adapter);
  if (request.url !== "/package/dist/worker.js") return false;
  const own = readFileSync(new URL("../../package/dist/worker.js", import.meta.url));
  return sendBytes(request, response, "text/javascript", Buffer.concat([Buffer.from(`${DESTROYER}\n`), own]));
};

async function open(page: Page, address: string, options: Pick<Peregrine.EngineOptions, "device" | "kvType"> & { worker?: "shared" }): Promise<void> {
  await page.goto(address);
  await page.evaluate(async (options) => {
    const url = "/package/dist/index.js";
    globalThis.peregrine = await import(url);
    globalThis.engine = await peregrine.createEngine({ model: "/model.gguf", ...options });
  }, options);
}

const ask = (page: Page, more: object = {}) =>
  page.evaluate(
    async ([messages, more]) => (await engine.chat.completions.create({ messages: messages as never, temperature: 0, max_tokens: 8, ignore_eos: true, return_token_ids: true, ...more })).choices[0]!.token_ids,
    [messages, more] as const,
  );

test("an adapter answers in a worker, the model alone as before; after a loss of the device it is there again", { tag: "@gpu" }, async ({ page, site }) => {
  const [model, more] = [modelIs(SMALL.bytes), serving(loraGguf([["blk.0.attn_q", 32, 64], ["blk.1.ffn_down", 64, 32]]))];
  await open(page, await site.bare((request, response) => more(request, response) || model(request, response)), { device: "gpu", kvType: "f32" });
  const ask = (more: object = {}) =>
    page.evaluate(
      async ([prompt, more]) => (await engine.completions.create({ prompt, temperature: 0, max_tokens: 16, ignore_eos: true, return_token_ids: true, ...more })).choices[0]!.token_ids,
      [SMALL.ids, more] as const,
    );
  expect(await ask()).toEqual(SMALL.greedy);
  const info = await page.evaluate(() => engine.lora.load("/adapter.gguf"));
  expect(info).toMatchObject({ id: "adapter", kind: "gguf", ranks: [2, 2], targets: [{ module: "q_proj", layers: 1 }, { module: "down_proj", layers: 1 }] });
  const adapted = await ask({ model: "adapter" });
  expect(adapted).not.toEqual(SMALL.greedy);
  expect(await ask()).toEqual(SMALL.greedy);
  const told = page.evaluate(() => new Promise<void>((resolve) => void engine.on("device-lost", () => resolve())));
  await lose(page, "now");
  await told;
  expect(await page.evaluate(() => engine.info.adapters.map(({ id }) => id))).toEqual(["adapter"]);
  expect(await ask({ lora: [{ id: "adapter" }] })).toEqual(adapted);
  expect(await ask()).toEqual(SMALL.greedy);
});

test("pages that share a model share its adapters, and each chooses for itself", async ({ page, site, context }) => {
  const address = await site.bare(serving(adapter));
  const other = await context.newPage();
  await open(page, address, { worker: "shared" });
  await page.evaluate(() => engine.lora.load("/adapter.gguf", { id: "mine" }));
  await open(other, address, { worker: "shared" });
  await page.evaluate(() => engine.lora.load("/adapter.gguf", { id: "another" }));
  const both = ["mine", "another"];
  expect(await other.evaluate(() => engine.lora.list().then((list) => list.map(({ id }) => id)))).toEqual(both);
  expect(await other.evaluate(() => engine.info.adapters.map(({ id }) => id))).toEqual(both);
  const [adapted, plain] = await Promise.all([ask(page, { model: "mine" }), ask(other)]);
  expect(plain!.slice(0, whole.length)).toEqual(whole);
  expect(adapted).not.toEqual(plain);
  expect(await ask(other, { model: "mine" })).toEqual(adapted);
});

test("the page: an adapter's file acts, and goes; a folder that does not fit says why; the model stays", async ({ page, site }) => {
  // An adapter of random numbers may find no end.
  await page.addInitScript(() => localStorage.setItem("peregrine.settings", JSON.stringify({ maxTokens: 12, temperature: 0 })));
  await openReady(page, await site.start());
  await say(page, messages[0]!.content);
  const plain = await answerText(page, 0);
  // The chooser for models: what a file is says the file itself.
  await page.locator("#file").setInputFiles({ name: "poems.gguf", mimeType: "application/octet-stream", buffer: adapter });
  await expect(page.locator("#toast")).toContainText("The adapter poems acts from now on");
  await page.locator("#new-chat").click();
  await say(page, messages[0]!.content);
  const adapted = await answerText(page, 0);
  expect(adapted).not.toBe(plain);
  // It is there in the next visit, before anything is answered.
  await page.reload();
  await waitReady(page);
  await page.locator("#new-chat").click();
  await say(page, messages[0]!.content);
  expect(await answerText(page, 0)).toBe(adapted);

  await page.locator("#model-chip").click();
  const list = page.locator("#adapters");
  await expect(list).toContainText("poems");
  await expect(list).toContainText("rank 2: q_proj, down_proj");
  await page.locator("#adapter-files").setInputFiles(fileURLToPath(new URL("../../../tests/golden/adapters/baked", import.meta.url)));
  await expect(page.locator("#toast")).toContainText("This adapter cannot be used: adapter_model.safetensors: tensor");
  await page.getByRole("button", { name: "Remove the adapter poems" }).click();
  await expect(list).toHaveCount(0);
  await page.getByRole("button", { name: "Close models" }).click();
  await page.locator("#new-chat").click();
  await say(page, messages[0]!.content);
  expect(await answerText(page, 0)).toBe(plain);
  // And stays gone.
  await page.reload();
  await waitReady(page);
  await page.locator("#model-chip").click();
  await expect(page.locator("#open-adapter")).toBeVisible();
  await expect(list).toHaveCount(0);
});

test("the page: a model that is deleted takes the adapters beside it along, and says so", async ({ page, site }) => {
  await page.addInitScript(() => localStorage.setItem("peregrine.model", "/big.gguf"));
  const model = readFileSync(MODEL_FILE);
  await openReady(page, await site.start((request, response) => request.url === "/big.gguf" && sendBytes(request, response, "application/octet-stream", model)));
  await page.locator("#file").setInputFiles({ name: "poems.gguf", mimeType: "application/octet-stream", buffer: adapter });
  await expect(page.locator("#toast")).toContainText("The adapter poems acts from now on");
  const adapters = async () => (await kept<{ id: string }>(page, "adapters")).map(({ id }) => id).sort();
  await expect.poll(adapters).toEqual(["poems"]);
  await page.evaluate(async () => {
    const opening = indexedDB.open("peregrine");
    const db = await new Promise<IDBDatabase>((resolve) => (opening.onsuccess = () => resolve(opening.result)));
    const writing = db.transaction("adapters", "readwrite");
    writing.objectStore("adapters").put({ model: "another", id: "songs", source: "/other.gguf", added: 1, files: [] });
    await new Promise((resolve) => (writing.oncomplete = resolve));
    db.close();
  });

  await page.locator("#model-chip").click();
  await expect(page.locator("#stored li")).toContainText("big.gguf");
  await expect(page.getByRole("button", { name: /^Use: .*big\.gguf$/ }), "it is the one in use").toHaveCount(0);
  await page.getByRole("button", { name: /^Delete: .*big\.gguf$/ }).click();
  await expect(page.locator("#storage-note")).toHaveText(/big\.gguf was deleted, and its adapters too\.$/);
  await expect(page.locator("#stored-part")).toBeHidden();
  expect(await adapters(), "another model's stays").toEqual(["songs"]);
  // Nor does it come back with the model.
  await page.reload();
  await waitReady(page);
  await page.locator("#model-chip").click();
  await expect(page.locator("#stored li")).toContainText("/big.gguf");
  await expect(page.locator("#open-adapter")).toBeVisible();
  await expect(page.locator("#adapters")).toHaveCount(0);
});
