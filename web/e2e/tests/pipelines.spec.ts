/**
 * Pipelines are made all at once while the weights are on their way, and what goes wrong with one
 * is told.
 */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type * as Peregrine from "peregrine";
import type { Page } from "@playwright/test";
import { expect, sendBytes, test, type Site } from "../support.js";

const MODEL = readFileSync(fileURLToPath(new URL("../../../tests/golden/norm1.gguf", import.meta.url)));

interface Seen {
  /** What was called, in order, without what was called just before. */
  calls: string[];
  labels: string[];
  compiled: [number, number][];
  /** Properties of their own that the devices have afterwards. */
  own: string[];
  logits?: number[];
  error?: { code: string; message: string };
}

/**
 * Loads the golden model on the page itself, where `change` has happened to the browser's
 * functions.
 */
async function load(page: Page, site: Site, change = ""): Promise<Seen> {
  await page.goto(
    await site.bare((request, response) => request.url === "/golden.gguf" && sendBytes(request, response, "application/octet-stream", MODEL)),
  );
  return page.evaluate(async (change) => {
    const seen: Seen = { calls: [], labels: [], compiled: [], own: [] };
    const devices = new Set<GPUDevice>();
    const note = (call: string) => void (seen.calls.at(-1) === call || seen.calls.push(call));
    const { createComputePipeline, createComputePipelineAsync } = GPUDevice.prototype;
    GPUDevice.prototype.createComputePipeline = function (descriptor) {
      note("one");
      return createComputePipeline.call(this, descriptor);
    };
    GPUDevice.prototype.createComputePipelineAsync = function (descriptor) {
      note("ask");
      seen.labels.push(descriptor.label!);
      devices.add(this);
      return createComputePipelineAsync.call(this, descriptor);
    };
    const tag = document.createElement("script");
    tag.textContent = change;
    document.head.append(tag);
    const url = "/package/dist/index.js";
    const { createEngine } = (await import(url)) as typeof Peregrine;
    const onProgress = (progress: Peregrine.Progress) => {
      note(progress.phase);
      if (progress.phase === "compile") seen.compiled.push([progress.done, progress.total]);
    };
    try {
      const engine = await createEngine({ model: "/golden.gguf", worker: "here", device: "gpu", cache: false, kvType: "f32", logLevel: "off", onProgress });
      seen.logits = Array.from(await engine.logits([5, 9, 2, 7]));
      seen.own = [...devices].flatMap((device) => Object.getOwnPropertyNames(device));
      await engine.dispose();
    } catch (thrown) {
      const { code, message } = thrown as Peregrine.PeregrineError;
      seen.error = { code, message };
    }
    return seen;
  }, change);
}

test("all are asked for before the weights, wgpu makes none, and without that way it makes all", { tag: "@gpu" }, async ({ page, site }) => {
  const seen = await load(page, site);
  expect(seen.error).toBeUndefined();
  expect(seen.calls.filter((call) => call !== "download")).toEqual(["ask", "upload", "compile", "check", "ready"]);
  expect(seen.labels).toContain("matvec");
  const total = seen.labels.length;
  expect(seen.compiled).toEqual(Array.from({ length: total + 1 }, (_, done) => [done, total]));
  expect(seen.own).toEqual([]);

  for (const change of ["delete GPUDevice.prototype.createComputePipelineAsync;", "GPUDevice.prototype.createComputePipelineAsync = () => { throw new Error('not here'); };"]) {
    const without = await load(page, site, change);
    expect(without.error).toBeUndefined();
    expect(without.labels).toEqual([]);
    expect(without.calls).toContain("one");
    expect(without.compiled).toEqual(seen.compiled);
    expect(without.logits).toEqual(seen.logits);
  }
});

/** Asks for the pipelines of one kernel only, so that no time is spent on the others. */
const only = (label: string, asked: string) => `
  const ask = GPUDevice.prototype.createComputePipelineAsync;
  GPUDevice.prototype.createComputePipelineAsync = function (descriptor) {
    if (descriptor.label !== "${label}") return new Promise(() => {});
    ${asked}
  };`;

test("a shader that is refused, a pipeline that is refused, a device that is lost meanwhile: each is told", { tag: "@gpu" }, async ({ page, site }) => {
  const broken = await load(
    page,
    site,
    `${only("embed", "return ask.call(this, descriptor);")}
    const module = GPUDevice.prototype.createShaderModule;
    GPUDevice.prototype.createShaderModule = function ({ label, code }) {
      return module.call(this, { label, code: label === "embed" ? code.replace("fn main(", "fn main(( ") : code });
    };`,
  );
  expect(broken.error).toMatchObject({ code: "gpu" });
  expect(broken.error!.message).toContain("kernel embed: ");
  // What the compiler says, not only that there is no module.
  expect(broken.error!.message).toContain("main((");

  const refused = await load(page, site, only("embed", `return Promise.reject(new GPUPipelineError("the driver has no room for it", { reason: "internal" }));`));
  expect(refused.error).toMatchObject({ code: "gpu" });
  expect(refused.error!.message).toContain("kernel embed: the driver has no room for it");

  const lost = await load(page, site, only("embed", "const answer = ask.call(this, descriptor); this.destroy(); return answer;"));
  expect(lost.error).toMatchObject({ code: "device-lost" });
});
