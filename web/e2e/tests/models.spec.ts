/**
 * Models: what they need before they are downloaded, a first visit, and downloads that are paused.
 * With an engine that is played.
 */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Page } from "@playwright/test";
import { fakeEngine } from "../fake.js";
import { expect, failure, MODEL_FILE, openReady, sendBytes, test, waitReady } from "../support.js";

/** What {@link sendBytes} calls the model. */
const HASH = createHash("sha256").update(readFileSync(MODEL_FILE)).digest("hex");

test.use({ viewport: { width: 1300, height: 900 } });

/** The engine of {@link fakeEngine}, whose models have a header: 1 GB, and 100 kB a token. */
const HEADERS = `
  self.addEventListener("message", (event) => {
    const { type, id, call, request } = event.data;
    if (type !== "call" || call !== "load" || request.options.memoryBudget === undefined) return;
    const needed = (tokens) => 1e9 + 1e5 * tokens;
    const contextLength = Math.min(request.options.contextLength ?? 10000, 10000);
    const budget = request.options.memoryBudget;
    if (budget >= needed(request.options.contextLength ? contextLength : 1)) return;
    event.stopImmediatePropagation();
    self.postMessage({ type: "hello" });
    new BroadcastChannel("headers").postMessage(request.source.cache);
    if (/nowhere/.test(request.source.model)) return self.postMessage({ type: "error", id, error: { code: "http", message: "404" } });
    self.postMessage({ type: "event", id, event: { phase: "download", loaded: 2e6, total: 987e6, rate: 1, resumedFrom: 0 } });
    const largest = Math.floor((budget - 1e9) / 1e5);
    const fit = { needed: needed(contextLength), budget, contextLength, ...(largest > 0 && { largestContext: largest }) };
    self.postMessage({ type: "error", id, error: { code: "out-of-memory", message: "does not fit", fit } });
  });
`;

/** Sets what models may take on the GPU, in gigabytes. */
async function limit(page: Page, gigabytes: string): Promise<void> {
  await page.locator("#open-settings").click();
  await page.getByText("Context, in tokens").first().click();
  await page.getByRole("spinbutton", { name: "Most GPU memory" }).fill(gigabytes);
  await page.keyboard.press("Escape");
  await expect(page.locator("dialog[open]")).toHaveCount(0);
}

const row = (page: Page, name: string) => page.locator("#offers li").filter({ hasText: name });

test("a first visit with a GPU: the demo is a demo, and a model for that GPU is recommended", async ({ page, site }) => {
  await openReady(page, await site.start(fakeEngine(HEADERS)));
  const card = page.getByRole("region", { name: "Recommended here: Falcon-H1 0.5B Instruct" });
  await expect(card).toContainText("Fake GPU");
  await expect(card).toContainText("315 MB to download");
  await expect(card).toContainText("366 MB of GPU memory");
  await expect(page.locator("#toy-note")).toContainText("This one is a demo");
  await card.getByRole("button", { name: "Get this model" }).click();
  await expect(page.getByRole("heading", { name: "Download 315 MB?" })).toBeFocused();
  await expect(page.locator(".ask")).toContainText("Falcon LLM License");
  await expect(page.locator(".header-check"), "before the download").toHaveText("The file itself says: 987 MB to download · 1.03 GB of GPU memory at first, 2.00 GB with a full context of 10,000 tokens.");
  await page.getByRole("button", { name: "Cancel" }).click();
  await expect(page.locator("#offers .badge")).toHaveCount(1);
  await expect(row(page, "0.5B")).toContainText("Recommended");
  await page.keyboard.press("Escape");
  await expect(card, "nothing was begun").toBeVisible();
  await page.locator("#model-chip").click();
  await expect(page.locator("#offers"), "the question is not asked again").toBeVisible();
  await page.keyboard.press("Escape");
  await card.getByRole("button", { name: "Get this model" }).click();
  await page.getByRole("button", { name: "Download", exact: true }).click();
  await expect(page.locator("#chip-model")).toHaveText(/Falcon-H1-0\.5B/);
  await expect(page.locator("#recommended")).toHaveCount(0);
});

test("on a software adapter nothing is recommended", async ({ page, site }) => {
  const software = "const post = self.postMessage.bind(self); self.postMessage = (message) => { if (message.result?.device) message.result.device.software = true; post(message); };";
  await openReady(page, await site.start(fakeEngine(software)));
  await expect(page.locator("#toy-note")).toBeVisible();
  await expect(page.locator("#recommended")).toHaveCount(0);
  await page.locator("#model-chip").click();
  await expect(page.locator("#offers li")).toHaveCount(7);
  await expect(page.locator("#offers .badge")).toHaveCount(0);
});

test("what each model needs at the chosen context, and whether the person allows it", async ({ page, site }) => {
  await page.addInitScript(() => Object.defineProperty(Navigator.prototype, "deviceMemory", { get: () => 8, configurable: true }));
  await openReady(page, await site.start(fakeEngine(HEADERS)));
  await page.locator("#model-chip").click();
  const middle = row(page, "Falcon-H1 1.5B Instruct");
  await expect(middle).toContainText("18 languages");
  await expect(middle).toContainText("Falcon LLM License");
  await expect(middle).toContainText("945 MB to download");
  await expect(middle).toContainText("1.07 GB of GPU memory at first, 3.48 GB with a full context of 65,536 tokens");
  await expect(middle, "browsers do not tell").not.toContainText("limit");
  await expect(page.locator("#memory-note")).toContainText("Browsers do not tell");
  await page.keyboard.press("Escape");

  await limit(page, "2");
  await page.locator("#model-chip").click();
  await expect(row(page, "0.5B")).toContainText("fits your limit");
  await expect(middle, "the longest that fits").toContainText("1.07 GB of GPU memory at first, 2.00 GB with a full context of 21,632 tokens · fits your limit");
  await expect(row(page, "7B")).toContainText("does not fit your limit of 2.00 GB");
  await expect(page.locator("#memory-note")).toContainText("2.00 GB");
  await page.keyboard.press("Escape");
  await page.locator("#open-settings").click();
  await page.getByText("Context, in tokens").first().click();
  await page.getByRole("spinbutton", { name: "Context, in tokens" }).fill("65536");
  await page.keyboard.press("Escape");
  await page.locator("#model-chip").click();
  await expect(middle).toContainText("3.48 GB with a full context of 65,536 tokens · fits your limit up to a context of 21,632 tokens");
  await page.keyboard.press("Escape");
  await page.locator("#open-settings").click();
  await page.getByText("Context, in tokens").first().click();
  await page.getByRole("spinbutton", { name: "Context, in tokens" }).fill("4096");
  await page.keyboard.press("Escape");
  await page.locator("#model-chip").click();
  await expect(middle).toContainText("1.21 GB with a full context of 4,096 tokens · fits your limit");

  // Any other model tells it by its header; nothing is kept of what is read.
  await page.evaluate(() => (new BroadcastChannel("headers").onmessage = ({ data }) => Object.assign(window, { kept: data })));
  const other = page.getByRole("textbox", { name: "Another model" });
  await other.fill("org/other");
  await page.getByRole("button", { name: "Read from the file what it needs" }).click();
  await expect(page.locator(".header-check")).toContainText("987 MB to download · 1.03 GB of GPU memory at first, 1.41 GB with a full context of 4,096 tokens · fits your limit");
  await expect.poll(() => page.evaluate(() => (window as unknown as { kept?: boolean }).kept)).toBe(false);
  await other.fill("org/nowhere");
  await page.getByRole("button", { name: "Read from the file what it needs" }).click();
  await expect(page.locator(".header-check")).toContainText("could not be read");
});

test("a model that does not fit with its context is offered with a shorter one", async ({ page, site }) => {
  await openReady(page, await site.start(fakeEngine(HEADERS)));
  await limit(page, "1.5");
  await page.locator("#open-settings").click();
  await page.getByText("Context, in tokens").first().click();
  await page.getByRole("spinbutton", { name: "Context, in tokens" }).fill("9000");
  await page.getByRole("button", { name: "Load the model again with this" }).click();
  expect((await failure(page)).title).toContain("not enough memory");
  await page.getByRole("button", { name: "Use a context of 5,000 tokens" }).click();
  await expect(page.locator("#status")).toBeHidden();
  expect(await page.evaluate(() => JSON.parse(localStorage.getItem("peregrine.settings") ?? "").contextLength)).toBe(5000);
});

test("a download is paused, is still paused after a reload, and goes on from where it was", async ({ page, site }) => {
  const model = readFileSync(MODEL_FILE);
  let slow = true;
  let sent = 0;
  const address = await site.start((request, response) => {
    if (!request.url?.startsWith("/big.gguf")) return false;
    const [, first, last] = (/bytes=(\d+)-(\d+)/.exec(request.headers.range ?? "") ?? []).map(Number);
    const bytes = model.subarray(first, Math.min(last! + 1, model.length));
    if (!slow) {
      sent += bytes.length;
      return sendBytes(request, response, "application/octet-stream", model);
    }
    const ETag = `"${HASH}"`;
    response.writeHead(206, { "Content-Range": `bytes ${first}-${first! + bytes.length - 1}/${model.length}`, ETag });
    // Some of each part, and then next to nothing: only the person goes on.
    response.write(bytes.subarray(0, 1_000_000));
    let at = 1_000_000;
    const timer = setInterval(() => response.write(bytes.subarray(at, ++at)), 60);
    response.on("close", () => clearInterval(timer));
    return true;
  });
  await openReady(page, address);
  await page.locator("#model-chip").click();
  await page.getByRole("textbox", { name: "Another model" }).fill("/big.gguf");
  await page.keyboard.press("Enter");
  const card = page.locator("#status");
  await expect(card).toContainText("4.0 MB of 18.6 MB are here");
  await page.getByRole("button", { name: "Pause" }).click();
  await expect(card.getByRole("heading")).toHaveText(/big\.gguf: paused at 2[12]%$/);
  await expect(card.getByRole("button", { name: "Go on loading" })).toBeFocused();
  await page.reload();
  await waitReady(page);
  await expect(card.getByRole("heading")).toHaveText(/big\.gguf: paused at 2[12]%$/);
  await page.locator("#model-chip").click();
  await expect(page.locator("#stored li")).toContainText("4.0 MB of 18.6 MB");
  await page.keyboard.press("Escape");
  slow = false;
  await card.getByRole("button", { name: "Go on loading" }).click();
  await expect(card).toBeHidden({ timeout: 120_000 });
  await expect(page.locator("#toy-note")).toBeHidden();
  expect(sent, "only what was missing").toBeLessThan(model.length - 3_900_000);
  await page.reload();
  await waitReady(page);
  await expect(card, "it is over").toBeHidden();
});
