/** Each thing that can go wrong says what happened and what to do, and a way out works. */

import { readFileSync } from "node:fs";
import { chromium, type Page } from "@playwright/test";
import { FLAGS } from "../playwright.config.js";
import { answerText, beGreedy, DESTROYER, expect, failure, golden, lose, MODEL_FILE, modelIs, onGpu, openReady, say, SMALL, test, waitReady, workerBegins } from "../support.js";

declare global {
  /** What the channel of a {@link DESTROYER} said. */
  var told: string[];
}

const model = readFileSync(MODEL_FILE);

/** A copy of the model with `bytes` at `offset`. */
function patched(offset: number, bytes: Buffer): Buffer {
  const copy = Buffer.from(model);
  bytes.copy(copy, offset);
  return copy;
}

/**
 * Where the type field of a tensor's entry in the table is: after name, number of dimensions, and
 * dimensions.
 */
function typeField(tensor: string): number {
  const at = model.indexOf(tensor);
  expect(at).toBeGreaterThan(0);
  const dims = model.readUInt32LE(at + tensor.length);
  return at + tensor.length + 4 + 8 * dims;
}

/** Opens the models dialog, where it stands what computes. */
async function expectProcessor(page: Page): Promise<void> {
  await expect(page.locator("#chip-device")).toContainText("CPU");
  await page.locator("#model-chip").click();
  await expect(page.getByRole("dialog")).toContainText("answers come from the processor, about");
  await page.keyboard.press("Escape");
  await beGreedy(page);
  const capital = golden("capital");
  await say(page, capital.messages[0]!.content);
  expect(await answerText(page, 0)).toBe(capital.answer);
}

test("a browser without WebGPU: the processor answers; who insists on a GPU is told", async ({ page, site }) => {
  await page.addInitScript(() => Reflect.deleteProperty(Navigator.prototype, "gpu"));
  const address = await site.start(workerBegins("Reflect.deleteProperty(WorkerNavigator.prototype, 'gpu');"));
  await openReady(page, address);
  await expectProcessor(page);
  await page.evaluate(() => localStorage.clear());
  await onGpu(page);
  await page.goto(address);
  const { title, text } = await failure(page);
  expect(title).toBe("This browser cannot run the model: it has no WebGPU.");
  expect(text).toContain("Update this browser to version 113 or newer");
  await expect(page.getByRole("button", { name: "Send" })).toBeDisabled();
});

test("a browser that offers no GPU: the processor answers; who insists on one is told", async ({ site }, info) => {
  // A browser of its own, without the flags for software WebGPU.
  const { executablePath } = info.project.use.launchOptions as { executablePath: string };
  const browser = await chromium.launch({ executablePath, args: [...FLAGS, "--disable-gpu"] });
  try {
    const page = await browser.newPage();
    const address = await site.start();
    await openReady(page, address);
    await expectProcessor(page);
    await page.evaluate(() => localStorage.clear());
    await onGpu(page);
    await page.goto(address);
    const { title, text } = await failure(page);
    expect(["no GPU", "no WebGPU", "no graphics card"].some((part) => title.includes(part)), title).toBe(true);
    expect(text).toContain("enable-unsafe-webgpu");
  } finally {
    await browser.close();
  }
});

const damaged: [string, Buffer, string, string][] = [
  ["a file that is not GGUF", patched(0, Buffer.from("JUNK")), "This is not a GGUF file.", "not a GGUF file"],
  ["a file that is cut off in its header", model.subarray(0, 3000), "The model file is cut off: a part of it is missing.", "truncated"],
  ["a file that is cut off in its weights", model.subarray(0, 9_000_000), "The model file is cut off: a part of it is missing.", "truncated"],
  ["an empty file", Buffer.alloc(0), "The model", ""],
  ["an unknown block type", patched(typeField("blk.3.ffn_down.weight"), Buffer.from([99, 0, 0, 0])), "This model is not one that Peregrine can run.", "blk.3.ffn_down.weight"],
  ["a wrong count of tensors", patched(8, Buffer.from([255, 255, 255, 255, 255, 255, 255, 127])), "The model file is cut off: a part of it is missing.", "tensor"],
];
test("broken models: each is named, and trying again works when the server is mended", async ({ page, site }) => {
  let served: Buffer | undefined;
  let asked = 0;
  const address = await site.start((request, response) => {
    const isAsked = served !== undefined && modelIs(served)(request, response);
    asked += isAsked ? 1 : 0;
    return isAsked;
  });
  for (const [name, bytes, sentence, detail] of damaged) {
    served = bytes;
    asked = 0;
    await page.goto(address);
    const { title, text } = await failure(page);
    expect(title, name).toContain(sentence);
    expect(text, name).toContain(detail);
    expect(asked, `${name}: from the server, not from the visit before`).toBeGreaterThan(0);
  }
  served = undefined;
  await page.getByRole("button", { name: "Try again" }).click();
  await waitReady(page);
});

test("a model that is not on the server", async ({ page, site }) => {
  await page.goto(await site.start((request, response) => Boolean(request.url?.includes(".gguf") && response.writeHead(404).end())));
  const { title, text } = await failure(page);
  expect(title).toBe("The model could not be downloaded.");
  expect(text).toContain("404");
});

test("a broken local file: the model that works stays", async ({ page, site }) => {
  await openReady(page, await site.start());
  await page.getByLabel("GGUF file").setInputFiles({ name: "holiday.gguf", mimeType: "application/octet-stream", buffer: Buffer.from("this is a diary") });
  const { title, text } = await failure(page);
  expect(title).toBe("This is not a GGUF file.");
  expect(text).toContain("holiday.gguf");
  await expect(page.locator("#chip-model")).toHaveText("Peregrine Tiny Chat");
  await page.getByRole("button", { name: "Go on with Peregrine Tiny Chat" }).click();
  await expect(page.locator("#status")).toBeHidden();
  await beGreedy(page);
  await say(page, "What is the capital of France?");
  await expect(page.locator("article.assistant").last()).toContainText("Paris", { timeout: 120_000 });
});

test("a local file", async ({ page, site }) => {
  await page.goto(await site.start((request, response) => Boolean(request.url?.includes(".gguf") && response.writeHead(404).end())));
  await failure(page);
  await page.getByLabel("GGUF file").setInputFiles(MODEL_FILE);
  // The file is looked into first: it may be an adapter. Until then the card stays.
  await expect(page.locator("#status.failed")).toBeHidden();
  await waitReady(page);
  await beGreedy(page);
  const capital = golden("capital");
  await say(page, capital.messages[0]!.content);
  expect(await answerText(page, 0)).toBe(capital.answer);
});

test("a lost device, in the middle of an answer: it goes on by itself; lost for good, a retry helps", { tag: "@gpu" }, async ({ page, site }) => {
  await page.addInitScript(() => localStorage.setItem("peregrine.settings", JSON.stringify({ device: "gpu", temperature: 0, maxTokens: 40 })));
  await page.addInitScript(() => {
    globalThis.told = [];
    new BroadcastChannel("told").onmessage = ({ data }) => void (["lost", "reloaded", "result"].includes(data as string) && told.push(data as string));
  });
  const [small, worker] = [modelIs(SMALL.bytes), workerBegins(DESTROYER)];
  await openReady(page, await site.start((request, response) => small(request, response) || worker(request, response)));
  const question = "Hello!";
  await say(page, question);
  const answer = await answerText(page, 0);
  await page.locator("#new-chat").click();
  await lose(page, "in an answer");
  await say(page, question);
  expect(await answerText(page, 0), "the answer is the one that it would have been").toBe(answer);
  await expect.poll(() => page.evaluate(() => told), "the loss came before the end").toEqual(["result", "lost", "reloaded", "result"]);

  await lose(page, "for good");
  await say(page, question);
  const { title, text } = await failure(page);
  expect(title).toBe("The connection to the graphics card was lost.");
  expect(text).toContain("Load the model again");
  await expect(page.locator("article.user")).not.toHaveCount(0);

  await page.getByRole("button", { name: "Try again" }).click();
  await waitReady(page);
  await page.locator("#new-chat").click();
  await say(page, question);
  expect(await answerText(page, 0)).toBe(answer);
});

test("a broken shader is reported, never silent", { tag: "@gpu" }, async ({ page, site }) => {
  const broken = `
    const create = GPUDevice.prototype.createShaderModule;
    GPUDevice.prototype.createShaderModule = function (descriptor) {
      return create.call(this, { ...descriptor, code: descriptor.code.replace("fn main(", "fn mein(") });
    };`;
  await onGpu(page);
  await page.goto(await site.start(workerBegins(broken)));
  const { title, text } = await failure(page);
  expect(title).toContain("graphics driver reported an error");
  expect(text).toContain("main");
});

test("an error on the device while it computes is reported, never silent", { tag: "@gpu" }, async ({ page, site }) => {
  await onGpu(page);
  const [small, worker] = [modelIs(SMALL.bytes), workerBegins(DESTROYER)];
  await openReady(page, await site.start((request, response) => small(request, response) || worker(request, response)));
  await page.workers()[0]!.evaluate(() => {
    const { device } = globalThis as unknown as { device: GPUDevice };
    // A copy beyond the end of a buffer: the queue drops the whole command buffer.
    const small = device.createBuffer({ size: 16, usage: 12 });
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(small, 0, small, 16, 16);
    device.queue.submit([encoder.finish()]);
  });
  const { title } = await failure(page);
  expect(title).toContain("graphics driver reported an error");
});

test("not enough GPU memory", { tag: "@gpu" }, async ({ page, site }) => {
  const poor = `
    const create = GPUDevice.prototype.createBuffer;
    let spent = 0;
    GPUDevice.prototype.createBuffer = function (descriptor) {
      if ((spent += descriptor.size) > 8e6) {
        queueMicrotask(() => this.dispatchEvent(new GPUUncapturedErrorEvent("uncapturederror", { error: new GPUOutOfMemoryError("no room") })));
      }
      return create.call(this, descriptor);
    };`;
  await onGpu(page);
  await page.goto(await site.start(workerBegins(poor)));
  const { title, text } = await failure(page);
  expect(title).toBe("There is not enough memory for this.");
  expect(text).toContain("Use a smaller model");
});

test("the engine's code cannot be loaded", async ({ page, site }) => {
  await page.goto(await site.start((request, response) => Boolean(request.url?.includes(".wasm") && response.writeHead(404).end())));
  const { title, text } = await failure(page);
  expect(title).toContain("engine");
  expect(text).toContain("Reload the page");
});

test("a conversation longer than the context", async ({ page, site }) => {
  await openReady(page, await site.start());
  await say(page, "word ".repeat(6000));
  const { title, text } = await failure(page);
  expect(title).toBe("The conversation is longer than the model can remember.");
  expect(text).toContain("Start a new chat");
  await page.locator("#status").getByRole("button", { name: "New chat" }).click();
  await beGreedy(page);
  const capital = golden("capital");
  await say(page, capital.messages[0]!.content);
  expect(await answerText(page, 0)).toBe(capital.answer);
});
