/**
 * The package in places that are not a plain page: beside the app's own GPU work, from a CDN, in
 * frames, in workers of all kinds.
 */

import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import type * as Peregrine from "peregrine";
import type { Frame, Page } from "@playwright/test";
import { expect, golden, modelIs, sendBytes, SMALL, test } from "../support.js";

declare global {
  var peregrine: typeof Peregrine;
}

const capital = golden("capital");
const QUESTION = capital.messages[0]!.content;

/** Imports the package; from another server when told so. */
const use = (page: Page | Frame, from = "/") =>
  page.evaluate(async (from) => {
    // Not a literal: the compiler would look for the file.
    const url = `${from}package/dist/index.js`;
    globalThis.peregrine = await import(url);
  }, from);

/** The answer of an engine made with these options, and what became of it. */
const answer = (page: Page | Frame, options: Omit<Partial<Peregrine.EngineOptions>, "model"> & { model?: string } = {}) =>
  page.evaluate(
    async ({ question, options }) => {
      try {
        const engine = await peregrine.createEngine({ model: "/model.gguf", cache: false, ...options });
        const reply = await engine.chat.completions.create({ messages: [{ role: "user", content: question }], temperature: 0, max_tokens: 30 });
        await engine.dispose();
        return reply.choices[0]!.message.content;
      } catch (error) {
        return JSON.stringify(error);
      }
    },
    { question: QUESTION, options },
  );

/** Serves some pages and scripts besides; everything may be read by other origins. */
const pages = (bodies: Record<string, [type: string, body: string, headers?: Record<string, string>]>) => (request: IncomingMessage, response: ServerResponse) => {
  response.setHeader("Access-Control-Allow-Origin", "*");
  const found = bodies[request.url ?? ""];
  if (!found) return false;
  const [type, body, headers] = found;
  for (const [name, value] of Object.entries(headers ?? {})) response.setHeader(name, value);
  return sendBytes(request, response, type, Buffer.from(body));
};

test("two engines and the app's own GPU work on one page: each has its own errors, and nothing is left behind", { tag: "@gpu" }, async ({ page, site }) => {
  await page.goto(await site.bare(modelIs(SMALL.bytes)));
  await use(page);
  const seen = await page.evaluate(async (prompt) => {
    // The app looks at all devices, in its own way, which must go on to work.
    const devices: GPUDevice[] = [];
    const original = GPUAdapter.prototype.requestDevice;
    const hooked = async function (this: GPUAdapter, descriptor?: GPUDeviceDescriptor) {
      const device = await original.call(this, descriptor);
      devices.push(device);
      return device;
    };
    GPUAdapter.prototype.requestDevice = hooked;
    const names = () => [Object.getOwnPropertyNames(navigator), Object.getOwnPropertyNames(globalThis).length];
    const before = names();
    const own = async () => (await navigator.gpu.requestAdapter())!.requestDevice();
    const fail = (device: GPUDevice) => {
      const small = device.createBuffer({ size: 16, usage: 12 });
      const encoder = device.createCommandEncoder();
      encoder.copyBufferToBuffer(small, 0, small, 16, 16);
      device.queue.submit([encoder.finish()]);
      return device.queue.onSubmittedWorkDone();
    };
    const broken: string[] = [];
    const model = await (await fetch("/model.gguf")).blob();
    const create = (name: string, gpu: Peregrine.GpuPreferences) =>
      peregrine.createEngine({ model, worker: "here", device: "gpu", kvType: "f32", gpu, logLevel: "off", onBroken: (error) => broken.push(`${name} ${error.code}`) });
    const a = await create("a", { baseline: true });
    const b = await create("b", {});
    const ask = async (engine: Peregrine.Engine) => {
      const reply = await engine.completions.create({ prompt, temperature: 0, max_tokens: 16, ignore_eos: true, return_token_ids: true });
      return reply.choices[0]!.token_ids;
    };
    const app = await own();
    const features = [devices[0]!, devices[1]!, app].map((device) => device.features.has("subgroups"));
    app.addEventListener("uncapturederror", (event) => event.preventDefault());
    await fail(app);
    app.destroy();
    await app.lost;
    const beside = [await ask(a), await ask(b)];
    // The loss of the one's device is not the other's.
    devices[1]!.destroy();
    await devices[1]!.lost;
    const afterLoss = [await ask(a), await ask(b)];
    const made = devices.length;
    const calm = [...broken];
    await fail(devices.at(-1)!);
    const afterError = [await ask(b).catch((error: Peregrine.PeregrineError) => error.code), await ask(a)];
    const onlyB = [...broken];
    await fail(devices[0]!);
    const last = await ask(a).catch((error: Peregrine.PeregrineError) => error.code);
    await a.dispose();
    await b.dispose();
    const after = (await own()).features.has("subgroups");
    return { features, beside, afterLoss, made, calm, afterError, onlyB, last, broken, after, same: GPUAdapter.prototype.requestDevice === hooked, before, now: names() };
  }, SMALL.ids);
  expect(seen.features, "the app's devices and a baseline have no subgroups").toEqual([false, true, false]);
  expect(seen.beside).toEqual([SMALL.greedy, SMALL.greedy]);
  expect(seen.afterLoss).toEqual([SMALL.greedy, SMALL.greedy]);
  expect(seen.made, "only the engine that lost its device made another").toBe(4);
  expect(seen.calm).toEqual([]);
  expect(seen.afterError).toEqual(["gpu", SMALL.greedy]);
  expect(seen.onlyB).toEqual(["b gpu"]);
  expect(seen.last).toBe("gpu");
  expect(seen.broken).toEqual(["b gpu", "a gpu"]);
  expect([seen.after, seen.same]).toEqual([false, true]);
  expect(seen.now).toEqual(seen.before);
});

test("from a CDN, under Trusted Types, in a sandboxed frame", async ({ page, site }) => {
  const empty = "<!doctype html><title>bare</title>";
  const address = await site.bare(
    pages({
      "/typed": ["text/html", empty, { "Content-Security-Policy": "require-trusted-types-for 'script'; trusted-types peregrine" }],
      "/framed": ["text/html", `${empty}<iframe sandbox="allow-scripts" src="/"></iframe>`],
    }),
  );
  await page.goto(await site.bare());
  await use(page, address);
  expect(await answer(page), "a worker of another origin's script").toBe(capital.answer);
  expect(await answer(page, { worker: "shared" })).toContain("no-worker");

  await page.goto(`${address}typed`);
  await use(page);
  expect(await answer(page), "with the policy").toBe(capital.answer);

  await page.goto(`${address}framed`);
  const frame = page.frames()[1]!;
  await use(frame, address);
  expect(await answer(frame, { model: `${address}model.gguf`, cache: true }), "without an origin of its own").toBe(capital.answer);
  expect(await frame.evaluate(async () => [await peregrine.listModels(), (await peregrine.storageEstimate()).usage, await peregrine.persist()])).toEqual([[], 0, false]);
});

test.describe(() => {
  test.use({ serviceWorkers: "allow" });

  test("in a SharedWorker and in a service worker, and what is said where that cannot be", async ({ page, site }) => {
    const ask = `async (options) => {
      try {
        const engine = await createEngine({ model: "/model.gguf", ...options });
        const reply = await engine.chat.completions.create({ messages: [{ role: "user", content: ${JSON.stringify(QUESTION)} }], temperature: 0, max_tokens: 30 });
        await engine.dispose();
        return { text: reply.choices[0].message.content, storage: engine.info.storage };
      } catch (error) { return JSON.parse(JSON.stringify(error)); }
    }`;
    const script = (entry: string) => `import { createEngine } from "/package/dist/${entry}.js"; const ask = ${ask};`;
    const js = "text/javascript";
    await page.goto(
      await site.bare(
        pages({
          "/shared.js": [js, `${script("index")} self.onconnect = ({ ports: [port] }) => { port.onmessage = async ({ data }) => port.postMessage(await ask(data)); };`],
          "/service.js": [js, `${script("service-worker")} self.onmessage = ({ data, ports: [port] }) => port.postMessage("x") ?? ask(data).then((found) => port.postMessage(found));`],
          "/dynamic.js": [js, `${script("index")} self.onmessage = ({ data, ports: [port] }) => port.postMessage("x") ?? ask(data).then((found) => port.postMessage(found));`],
        }),
      ),
    );
    const inShared = (options: object) =>
      page.evaluate(async (options) => {
        const { port } = new SharedWorker("/shared.js", { type: "module" });
        port.postMessage(options);
        return new Promise((resolve) => (port.onmessage = ({ data }) => resolve(data)));
      }, options);
    const kept = { kept: false, why: expect.stringContaining("dedicated workers") };
    expect(await inShared({})).toEqual({ text: capital.answer, storage: kept });
    expect(await inShared({ worker: "dedicated" })).toMatchObject({ name: "EnvironmentError", code: "no-worker" });

    const inService = (address: string, options: object) =>
      page.evaluate(
        async ([address, options]) => {
          const registration = await navigator.serviceWorker.register(address, { type: "module", scope: `${address}/` });
          const worker = (registration.installing ?? registration.waiting ?? registration.active)!;
          await new Promise<void>((resolve) => {
            const check = () => worker.state === "activated" && resolve();
            worker.addEventListener("statechange", check);
            check();
          });
          const { port1, port2 } = new MessageChannel();
          worker.postMessage(options, [port2]);
          return new Promise((resolve) => (port1.onmessage = ({ data }) => data !== "x" && resolve(data)));
        },
        [address, options] as const,
      );
    expect(await inService("/service.js", {})).toEqual({ text: capital.answer, storage: kept });
    expect(await inService("/dynamic.js", {})).toMatchObject({ name: "EnvironmentError", code: "no-worker", message: expect.stringContaining("peregrine/service-worker") });
  });
});

test("bytes and answers as models, the embedded one; what cannot be had is told; an app's Worker that is used twice", async ({ page, site }) => {
  await page.goto(await site.bare(pages({ "/page.wasm": ["text/html", "<!doctype html>"] })));
  await use(page);
  const seen = await page.evaluate(async (question) => {
    const bytes = await (await fetch("/model.gguf")).arrayBuffer();
    const padded = new Uint8Array(bytes.byteLength + 8);
    padded.set(new Uint8Array(bytes), 8);
    const lines: string[] = [];
    const line = (text: string) => lines.push(text);
    const logger = { error: line, warn: line, info: line, debug: line };
    const worker = new Worker("/package/dist/worker.js", { type: "module" });
    const engine = await peregrine.createEngine({ model: padded.subarray(8), worker, logLevel: "debug", logger });
    const ask = async (options: Peregrine.CallOptions = {}) =>
      (await engine.chat.completions.create({ messages: [{ role: "user", content: question }], temperature: 0, max_tokens: 30 }, options)).choices[0]!.message.content;
    const first = await ask();
    const told = async (promise: Promise<unknown>) => promise.then(() => ({}), (error: Peregrine.PeregrineError) => JSON.parse(JSON.stringify(error)) as object);
    const late = await told(ask({ signal: AbortSignal.timeout(0) }));
    const busy = await told(peregrine.createEngine({ model: bytes, worker }));
    await engine.dispose();
    const ended = await told(peregrine.createEngine({ model: bytes, worker }));
    const embedded = "/package/dist/embedded.js";
    await import(embedded);
    const small = await peregrine.createEngine({ model: "embedded" });
    await small.dispose();
    const answered = await peregrine.createEngine({ model: await fetch("/model.gguf") });
    await answered.dispose();
    return {
      first, late, busy, ended, lines,
      embedded: small.info.storage,
      name: answered.info.model.name,
      loading: await told(peregrine.createEngine({ model: "/model.gguf", signal: AbortSignal.timeout(0) })),
      missing: await told(peregrine.createEngine({ model: bytes, wasmUrl: "/nothing.wasm" })),
      odd: await told(peregrine.createEngine({ model: bytes, wasmUrl: "/page.wasm" })),
    };
  }, QUESTION);
  expect(seen.first).toBe(capital.answer);
  expect(seen.late).toMatchObject({ name: "TimeoutError", code: "timeout", message: expect.stringContaining("time") });
  expect(seen.loading).toMatchObject({ name: "TimeoutError", code: "timeout" });
  expect(seen.busy).toMatchObject({ code: "argument", message: expect.stringContaining("has an engine already") });
  expect(seen.ended).toMatchObject({ code: "argument", message: expect.stringContaining("has ended with its engine") });
  expect(seen.embedded).toEqual({ kept: false, why: "the embedded model comes with the app" });
  expect(seen.name).toBe("Peregrine Tiny Chat");
  expect(seen.missing).toMatchObject({ name: "DownloadError", code: "http", message: expect.stringMatching(/^wasmUrl: .*nothing\.wasm: the server answered 404/) });
  expect(seen.odd).toMatchObject({ name: "DownloadError", code: "engine-file", message: expect.stringMatching(/page\.wasm.*not a WebAssembly module/) });
  expect(seen.lines.some((text) => /Peregrine Tiny Chat.*loaded in \d+ ms/.test(text))).toBe(true);
  expect(seen.lines.some((text) => /tokens of prompt/.test(text))).toBe(true);
});

test("many requests stay within the memory that was allowed: every buffer is counted", { tag: "@gpu" }, async ({ page, site }) => {
  const count = `
    let alive = 0;
    let most = 0;
    const sizes = new WeakMap();
    const create = GPUDevice.prototype.createBuffer;
    GPUDevice.prototype.createBuffer = function (descriptor) {
      const buffer = create.call(this, descriptor);
      sizes.set(buffer, descriptor.size);
      most = Math.max(most, (alive += descriptor.size));
      return buffer;
    };
    const destroy = GPUBuffer.prototype.destroy;
    GPUBuffer.prototype.destroy = function () {
      alive -= sizes.get(this) ?? 0;
      sizes.delete(this);
      return destroy.call(this);
    };
    const tell = new BroadcastChannel("memory");
    tell.onmessage = ({ data }) => {
      if (data === "reset") most = alive;
      tell.postMessage({ alive, most });
    };`;
  const own = readFileSync(new URL("../../package/dist/worker.js", import.meta.url), "utf8");
  await page.goto(await site.bare(pages({ "/package/dist/worker.js": ["text/javascript", `${count}\n${own}`] })));
  await use(page);
  const seen = await page.evaluate(async (question) => {
    const channel = new BroadcastChannel("memory");
    const look = (what: string) =>
      new Promise<{ alive: number; most: number }>((resolve) => {
        channel.onmessage = ({ data }) => resolve(data);
        channel.postMessage(what);
      });
    const model = await (await fetch("/model.gguf")).blob();
    const engine = await peregrine.createEngine({ model, device: "gpu", memoryBudget: 26e6, contextLength: 256 });
    const loaded = await look("reset");
    // Each begins in its own way, and the place that it leaves is kept.
    for (let i = 0; i < 10; i++) {
      const messages: Peregrine.ChatMessage[] = [{ role: "user", content: `${i}: ${question}` }];
      await engine.chat.completions.create({ messages, temperature: 0, max_tokens: 1 });
    }
    const { most } = await look("now");
    await engine.dispose();
    return { memory: engine.info.memory, loaded: loaded.alive, most };
  }, QUESTION);
  const { needed, snapshots, snapshotsHost } = seen.memory;
  expect(needed).toBeLessThanOrEqual(26e6);
  expect(snapshots, "there is room for a few").toBeGreaterThan(2e6);
  expect(snapshotsHost).toBe(0);
  expect(seen.most).toBeGreaterThan(seen.loaded);
  // Reading back, for a moment: one row of logits, and four numbers of each token.
  expect(seen.most).toBeLessThanOrEqual(26e6 + 64 * 1024);
});
