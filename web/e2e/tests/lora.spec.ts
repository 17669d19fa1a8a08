/** LoRA adapters in the package's own workers: over a loss of the device, and between pages that share a model. */

import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import type * as Peregrine from "peregrine";
import type { Page } from "@playwright/test";
import { loraGguf } from "../gguf.js";
import { expect, golden, sendBytes, test } from "../support.js";

declare global {
  var peregrine: typeof Peregrine;
  var engine: Peregrine.Engine;
}

const messages = golden("capital").messages;
const adapter = loraGguf();

/** The package's worker; where a test can destroy its device, on a channel. */
const DESTROYER = `
  const request = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = async function (...rest) { return (self.device = await request.apply(this, rest)); };
  new BroadcastChannel("destroy").onmessage = () => self.device.destroy();`;
const serving = (request: IncomingMessage, response: ServerResponse) => {
  if (request.url === "/adapter.gguf") return sendBytes(request, response, "application/octet-stream", adapter);
  if (request.url !== "/package/dist/worker.js") return false;
  const own = readFileSync(new URL("../../package/dist/worker.js", import.meta.url));
  return sendBytes(request, response, "text/javascript", Buffer.concat([Buffer.from(`${DESTROYER}\n`), own]));
};

async function open(page: Page, address: string, worker: "dedicated" | "shared"): Promise<void> {
  await page.goto(address);
  await page.evaluate(async (worker) => {
    const url = "/package/dist/index.js";
    globalThis.peregrine = await import(url);
    globalThis.engine = await peregrine.createEngine({ model: "/model.gguf", worker });
  }, worker);
}

const ask = (page: Page, more: object = {}) =>
  page.evaluate(
    async ([messages, more]) => (await engine.chat.completions.create({ messages: messages as never, temperature: 0, max_tokens: 12, ignore_eos: true, return_token_ids: true, ...more })).choices[0]!.token_ids,
    [messages, more] as const,
  );

test("an adapter answers in a worker, the model alone as before; after a loss of the device it is there again", async ({ page, site }) => {
  await open(page, await site.bare(serving), "dedicated");
  const plain = await ask(page);
  expect(plain).toEqual(golden("capital").answer_ids.slice(0, 12));
  const info = await page.evaluate(() => engine.lora.load("/adapter.gguf"));
  expect(info).toMatchObject({ id: "adapter", kind: "gguf", ranks: [2, 2], targets: [{ module: "q_proj", layers: 1 }, { module: "down_proj", layers: 1 }] });
  const adapted = await ask(page, { model: "adapter" });
  expect(adapted).not.toEqual(plain);
  expect(await ask(page)).toEqual(plain);
  await page.evaluate(async () => {
    const back = new Promise((resolve) => engine.on("device-lost", resolve));
    new BroadcastChannel("destroy").postMessage("now");
    await back;
  });
  expect(await ask(page, { lora: [{ id: "adapter" }] })).toEqual(adapted);
  expect(await page.evaluate(() => engine.info.adapters.map(({ id }) => id))).toEqual(["adapter"]);
  expect(await ask(page)).toEqual(plain);
});

test("pages that share a model share its adapters, and each chooses for itself", async ({ page, site, context }) => {
  const address = await site.bare(serving);
  const other = await context.newPage();
  await open(page, address, "shared");
  await open(other, address, "shared");
  await page.evaluate(() => engine.lora.load("/adapter.gguf", { id: "mine" }));
  expect(await other.evaluate(() => engine.lora.list().then((list) => list.map(({ id }) => id)))).toEqual(["mine"]);
  expect(await other.evaluate(() => engine.info.adapters.length)).toBe(1);
  const [adapted, plain] = await Promise.all([ask(page, { model: "mine" }), ask(other)]);
  expect(plain).toEqual(golden("capital").answer_ids.slice(0, 12));
  expect(adapted).not.toEqual(plain);
  expect(await ask(other, { model: "mine" })).toEqual(adapted);
});
