/**
 * What the tests share: servers with faults, the golden answers, and the steps that a person takes
 * on the page.
 */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { fileURLToPath } from "node:url";
import { expect, test as base, type Page } from "@playwright/test";
import { listen, rangeOf, serveFolder } from "../chat/serve.mjs";
import { safetensors } from "./goldens/tensors.mjs";

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
export const MODEL_FILE = path("../../models/tiny/peregrine-tiny-chat-Q4_0.gguf");
/** Its bytes: one buffer, of which the digest is made once. */
const model = readFileSync(MODEL_FILE);
const SITE = path("../chat/dist");
const WEB = path("..");

/**
 * A conversation of tests/golden/greedy.json and the greedy answer that transformers gives on the
 * same weights.
 */
export interface Golden {
  name: string;
  messages: { role: "system" | "user" | "assistant"; content: string }[];
  prompt_ids: number[];
  /** With the end token, where the model came to it. */
  answer_ids: number[];
  answer: string;
}
const greedy = JSON.parse(readFileSync(path("../../tests/golden/greedy.json"), "utf8")) as { stop: number[]; conversations: Golden[] };
export const GOLDEN = greedy.conversations;
/** Whether the model ended the golden answer itself; others were cut. */
export const isWhole = (golden: Golden) => greedy.stop.includes(golden.answer_ids.at(-1)!);
/** The golden answer's tokens without the end token. */
export const idsOf = (golden: Golden) => (isWhole(golden) ? golden.answer_ids.slice(0, -1) : golden.answer_ids);
/** The golden conversation of that name. */
export function golden(name: string): Golden {
  const found = GOLDEN.find((conversation) => conversation.name === name);
  if (!found) throw new Error(`tests/golden/greedy.json has no conversation "${name}"`);
  return found;
}

/**
 * A golden of two small layers, for where the model is not the subject: software WebGPU compiles
 * its kernels in a third of the time. As bytes, with a prompt and its greedy answer.
 */
export const SMALL = (() => {
  const file = (name: string) => readFileSync(path(`../../tests/golden/${name}`));
  const { ids, greedy } = safetensors(new Uint8Array(file("norm2.safetensors")).buffer).tensors;
  return { bytes: file("norm2.gguf"), ids: [...ids!], greedy: [...greedy!] };
})();

type Handler = (request: IncomingMessage, response: ServerResponse) => unknown;

/** Serves the built page; `fault` may answer a request itself, by returning true. */
export interface Site {
  start: (fault?: (request: IncomingMessage, response: ServerResponse) => boolean) => Promise<string>;
  /**
   * An empty page on which the npm package can be imported as plain modules from
   * /package/dist/index.js; the model is at /model.gguf.
   */
  bare: (fault?: (request: IncomingMessage, response: ServerResponse) => boolean) => Promise<string>;
}

const tags = new WeakMap<Buffer, string>();
/** The digest of bytes, made once: files of hundreds of megabytes are asked for in many parts. */
function tagOf(bytes: Buffer): string {
  const tag = tags.get(bytes) ?? createHash("sha256").update(bytes).digest("hex");
  tags.set(bytes, tag);
  return tag;
}

/** Answers with these bytes, ranges included. */
export function sendBytes(request: IncomingMessage, response: ServerResponse, type: string, bytes: Buffer): true {
  const headers = { "Content-Type": type, ETag: `"${tagOf(bytes)}"` };
  const same = (request.headers["if-range"] ?? headers.ETag) === headers.ETag;
  const range = same ? rangeOf(request.headers.range, bytes.length) : undefined;
  if (range === "bad") {
    response.writeHead(416, { "Content-Range": `bytes */${bytes.length}` }).end();
  } else if (range) {
    const [first, last] = range;
    response.writeHead(206, { ...headers, "Content-Range": `bytes ${first}-${last}/${bytes.length}` });
    response.end(bytes.subarray(first, last + 1));
  } else {
    response.writeHead(200, headers).end(bytes);
  }
  return true;
}

/** A fault: the model's bytes are these. */
export const modelIs = (bytes: Buffer) => (request: IncomingMessage, response: ServerResponse) =>
  (request.url ?? "").includes(".gguf") && sendBytes(request, response, "application/octet-stream", bytes);

/** A fault: this code runs in the worker before its own. */
export function workerBegins(code: string) {
  return (request: IncomingMessage, response: ServerResponse): boolean => {
    const name = /^\/assets\/(worker-[\w-]+\.js)$/.exec(request.url ?? "")?.[1];
    if (!name) return false;
    return sendBytes(request, response, "text/javascript", Buffer.from(`${code}\n${readFileSync(`${SITE}/assets/${name}`, "utf8")}`));
  };
}

/**
 * For the beginning of a worker: `hollow` makes of a kernel's source one that does nothing: a
 * software adapter compiles it at once. Its bindings stay in use, as what is bound follows from
 * them.
 */
export const HOLLOW = `
  const hollow = (code) => {
    const uses = [...code.matchAll(/@binding\\(\\d+\\) var(?:<[^>]*>)? (\\w+)/g)].map(([, name]) => "_ = &" + name + ";");
    return code.replace(/(fn main\\([^{]*\\{)[^]*/, (_, head) => head + uses.join(" ") + "}");
  };`;

/** When the device of a {@link DESTROYER} is destroyed. */
export type Loss = "now" | "in an answer" | "for good";

/**
 * For the beginning of a worker: its device is `self.device`, and is destroyed by a message on the
 * channel "destroy". "now": once; "in an answer": once, when four pieces of the next one have been
 * told; "for good": now, and so is the next one, when the model has been loaded on it and before it
 * answers anything: its kernels are hollow. The channel "told" hears in which order messages,
 * losses, loads, and ends of answers came.
 */
export const DESTROYER = `${HOLLOW}
  const request = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = async function (...rest) { return (self.device = await request.apply(this, rest)); };
  let isForGood = false;
  const create = GPUDevice.prototype.createShaderModule;
  GPUDevice.prototype.createShaderModule = function (descriptor) {
    return create.call(this, isForGood ? { ...descriptor, code: hollow(descriptor.code) } : descriptor);
  };
  let pieces = Infinity;
  const told = new BroadcastChannel("told");
  const post = self.postMessage;
  self.postMessage = (message, ...rest) => {
    post.call(self, message, ...rest);
    if (message.type === "lost" || message.type === "reloaded" || message.result?.usage) told.postMessage(message.type);
    if (isForGood && message.type === "reloaded") self.device.destroy();
    // The first one is empty; those of loading are no texts.
    if (message.type === "event" && typeof message.event === "string" && message.event && --pieces === 0) self.device.destroy();
  };
  new BroadcastChannel("destroy").onmessage = ({ data }) => {
    // A worker that only reads has none.
    if (!self.device) return;
    isForGood ||= data === "for good";
    if (data === "in an answer") pieces = 4;
    else self.device.destroy();
    told.postMessage(data);
  };`;

/** Tells a {@link DESTROYER} of a page; resolves when it has heard. */
export const lose = (page: Page, how: Loss): Promise<void> =>
  page.evaluate(
    (how) =>
      new Promise<void>((resolve, reject) => {
        const told = new BroadcastChannel("told");
        setTimeout(() => reject(new Error("no worker has a device")), 60_000);
        told.onmessage = ({ data }) => {
          if (data !== how) return;
          told.close();
          resolve();
        };
        new BroadcastChannel("destroy").postMessage(how);
      }),
    how,
  );

/** For the beginning of a worker: every adapter says that it is a graphics card. */
export const CARD = `
  const { get } = Object.getOwnPropertyDescriptor(GPUAdapter.prototype, "info");
  Object.defineProperty(GPUAdapter.prototype, "info", {
    get() {
      const { subgroupMinSize, subgroupMaxSize } = get.call(this);
      return { vendor: "acme", architecture: "one", device: "", description: "A card", subgroupMinSize, subgroupMaxSize, isFallbackAdapter: false };
    },
  });`;

export const test = base.extend<{ site: Site; strict: void }>({
  site: async ({}, use) => {
    const servers: Server[] = [];
    const serve = async (handler: Handler) => {
      const { server, address } = await listen(handler, 0);
      servers.push(server);
      return address;
    };
    await use({
      start: (fault) => {
        const folder = serveFolder(SITE);
        return serve((request, response) => fault?.(request, response) || folder(request, response));
      },
      bare: (fault) => {
        const folder = serveFolder(WEB);
        return serve((request, response) => {
          if (fault?.(request, response)) return true;
          if (request.url === "/") return sendBytes(request, response, "text/html", Buffer.from("<!doctype html><title>bare</title>"));
          if (request.url === "/model.gguf") return sendBytes(request, response, "application/octet-stream", model);
          return folder(request, response);
        });
      },
    });
    for (const server of servers) {
      server.closeAllConnections();
      server.close();
    }
  },
  // Every test: nothing may be asked of another origin, and nothing may break the
  // Content-Security-Policy.
  strict: [
    async ({ page }, use) => {
      const foreign: string[] = [];
      const violations: string[] = [];
      page.on("request", (request) => {
        const { protocol, hostname } = new URL(request.url());
        if (hostname !== "localhost" && protocol !== "blob:" && protocol !== "data:") foreign.push(request.url());
      });
      page.on("console", (message) => {
        if (/Content.Security.Policy/i.test(message.text())) violations.push(message.text());
      });
      await use();
      expect(foreign, "requests to other origins").toEqual([]);
      expect(violations, "violations of the Content-Security-Policy").toEqual([]);
    },
    { auto: true },
  ],
});
export { expect };

export const answers = (page: Page) => page.locator("article.assistant");
/** Not by its name: the page speaks many languages. */
export const messageBox = (page: Page) => page.locator("#prompt");

/** Opens the page and waits until one can write. */
export async function openReady(page: Page, address: string): Promise<void> {
  await page.goto(address);
  await waitReady(page);
}

/**
 * The page computes on the GPU, also where that is one in software: for tests whose subject it is.
 * A setting, as a person chooses it.
 */
export const onGpu = (page: Page): Promise<unknown> =>
  page.addInitScript(() => localStorage.getItem("peregrine.settings") ?? localStorage.setItem("peregrine.settings", '{"device":"gpu"}'));

/** Waits until the model is there. */
export async function waitReady(page: Page): Promise<void> {
  await expect(page.locator("body.ready, #status.failed")).toBeVisible({ timeout: 120_000 });
  const failed = page.locator("#status.failed");
  if (await failed.isVisible()) throw new Error(`the page could not load the model: ${await failed.innerText()}`);
}

/** What the page has kept in a table of its database. */
export function kept<T>(page: Page, table: "chats" | "messages" | "states" | "drafts" | "adapters"): Promise<T[]> {
  return page.evaluate(async (table) => {
    const opening = indexedDB.open("peregrine");
    const db = await new Promise<IDBDatabase>((resolve) => (opening.onsuccess = () => resolve(opening.result)));
    const reading = db.transaction(table).objectStore(table).getAll();
    const all = await new Promise<unknown[]>((resolve) => (reading.onsuccess = () => resolve(reading.result)));
    db.close();
    return all as T[];
  }, table);
}

/** Sets the temperature to 0, as a person would. */
export async function beGreedy(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Settings" }).click();
  await page.getByRole("slider", { name: "Temperature" }).fill("0");
  await page.getByRole("button", { name: "Close settings" }).click();
}

/** Writes a message and sends it. */
export async function say(page: Page, text: string): Promise<void> {
  // While a dialog closes, what is typed goes nowhere.
  await expect(page.locator("dialog[open]")).toHaveCount(0);
  await messageBox(page).fill(text);
  await messageBox(page).press("Enter");
}

/**
 * Resolves in the moment in which an answer says this, and stops it, or leaves it for a new chat,
 * where that is wanted: a look now and then, or a click from here, may come when it is over.
 */
export const whenWritten = (page: Page, text: string, then: "stop" | "new-chat" | "go on" = "go on"): Promise<void> =>
  page.evaluate(
    ([text, then]) =>
      new Promise<void>((resolve) => {
        const observer = new MutationObserver(() => {
          const last = [...document.querySelectorAll("article.assistant")].at(-1);
          if (!last?.textContent?.includes(text as string)) return;
          observer.disconnect();
          if (then !== "go on") document.getElementById(then!)!.click();
          resolve();
        });
        observer.observe(document.body, { subtree: true, childList: true, characterData: true });
      }),
    [text, then],
  );

/**
 * Resolves when the button "Stop" has been clicked in the moment in which it could be: a click from
 * here may come when the answer is over. Asked for before the answer.
 */
export const whenStoppable = (page: Page): Promise<void> =>
  page.evaluate(
    () =>
      new Promise<void>((resolve) => {
        const stop = [...document.querySelectorAll("button")].find(({ textContent }) => textContent === "Stop")!;
        if (!stop.disabled) throw new Error("something is being answered already");
        const observer = new MutationObserver(() => {
          if (stop.disabled) return;
          observer.disconnect();
          stop.click();
          resolve();
        });
        observer.observe(stop, { attributeFilter: ["disabled"] });
      }),
  );

/** Waits for the answer of that number to be complete, and returns what its copy button copies. */
export async function answerText(page: Page, index: number): Promise<string> {
  const answer = answers(page).nth(index);
  await expect(answer.getByRole("button", { name: "Copy", exact: true })).toBeVisible({ timeout: 180_000 });
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  // The button says for a moment only that it has copied.
  await page.evaluate(() => navigator.clipboard.writeText("not copied"));
  await answer.getByRole("button", { name: "Copy", exact: true }).click();
  const copied = () => page.evaluate(() => navigator.clipboard.readText());
  await expect.poll(copied).not.toBe("not copied");
  const text = await copied();
  await expect(answer.getByRole("button", { name: "Copy", exact: true })).toBeVisible();
  return text;
}

/** Waits for the card that says what went wrong. */
export async function failure(page: Page): Promise<{ title: string; text: string }> {
  const card = page.locator("#status.failed");
  await expect(card).toBeVisible({ timeout: 120_000 });
  return { title: await card.getByRole("heading").innerText(), text: await card.innerText() };
}
