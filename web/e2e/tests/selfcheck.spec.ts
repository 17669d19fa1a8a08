/**
 * Results that are wrong never reach anybody: the comparison with the CPU before the first answer,
 * and the one that can be asked for.
 */

import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { fileURLToPath } from "node:url";
import type * as Peregrine from "peregrine";
import type { Page } from "@playwright/test";
import { CARD, expect, HOLLOW, modelIs, onGpu, openReady, sendBytes, test, type Site } from "../support.js";

declare global {
  var peregrine: typeof Peregrine;
}

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
const MODEL = readFileSync(path("../../../tests/golden/norm1.gguf"));
const WORKER = path("../../package/dist/worker.js");

/** The golden model; and a worker that begins with something else. */
const begun = (change: string) => (request: IncomingMessage, response: ServerResponse) => {
  if (request.url === "/golden.gguf") return sendBytes(request, response, "application/octet-stream", MODEL);
  if (request.url !== "/package/dist/worker.js") return false;
  return sendBytes(request, response, "text/javascript", Buffer.from(`${change}\n${readFileSync(WORKER, "utf8")}`));
};

interface Fault {
  kernel: string;
  from: string;
  to: string;
  /** Kernels that come after it. They do nothing: what is not reached need not be compiled. */
  hollow: string[];
}

/** The kernels that a fault changes, in the order in which they are told. */
const changedBy = ({ kernel, hollow }: Fault) => [kernel, ...hollow].sort();

/** The golden model; and a worker that makes something else of the source of some kernels. */
const planted = (fault?: Fault, before = "") =>
  begun(
    !fault
      ? before
      : `${before}${HOLLOW}
    const fault = ${JSON.stringify(fault)};
    const original = GPUDevice.prototype.createShaderModule;
    GPUDevice.prototype.createShaderModule = function (descriptor) {
      const { label, code } = descriptor;
      let changed = code;
      if (label === fault.kernel) changed = code.replace(fault.from, fault.to);
      else if (fault.hollow.includes(label)) changed = hollow(code);
      else return original.call(this, descriptor);
      if (changed === code) throw new Error("nothing was planted");
      self.postMessage({ type: "log", level: "error", text: label });
      return original.call(this, { ...descriptor, code: changed });
    };
  `,
  );

async function open(page: Page, address: string): Promise<void> {
  await page.goto(address);
  await page.evaluate(async () => {
    const url = "/package/dist/index.js";
    globalThis.peregrine = await import(url);
  });
}

interface Seen {
  checks: { variant: string; failed?: string; seconds?: number }[];
  /** Kernels whose source was changed. */
  changed: string[];
  device?: Peregrine.EngineInfo["device"];
  logits?: number[];
  report?: Peregrine.CheckReport;
  error?: { code: string; message: string; advice: string; kind: string };
}

/** Two ways are left to drive a device: the shapes that fit it, and the others. */
const BASELINE = { baseline: true } as const;
/** For what does not depend on the shapes: SwiftShader compiles them sooner. */
const SOFTWARE = { shapes: "software" } as const;

/** Loads the golden model, driven like this, and reads a few tokens at once. */
const load = (page: Page, gpu: Peregrine.EngineOptions["gpu"], { check = false } = {}): Promise<Seen> =>
  page.evaluate(async ({ gpu, check }) => {
    const seen: Seen = { checks: [], changed: [] };
    // What is planted is told as a line for the log.
    const changed = new Set<string>();
    const logger = { ...console, error: (line: string) => void changed.add(line.replace("peregrine: ", "")) };
    const onProgress = (progress: Peregrine.Progress) => {
      if (progress.phase === "check") seen.checks.push(progress);
    };
    try {
      const engine = await peregrine.createEngine({ model: "/golden.gguf", cache: false, kvType: "f32", gpu, logger, onProgress });
      seen.device = engine.info.device;
      seen.logits = Array.from(await engine.logits([5, 9, 2, 7, 11, 3, 1, 8]));
      if (check) seen.report = await engine.check({ tokens: 10 });
      await engine.dispose();
    } catch (thrown) {
      const { code, message, advice, name } = thrown as Peregrine.PeregrineError;
      seen.error = { code, message, advice, kind: name };
    }
    seen.changed = [...changed].sort();
    return seen;
  }, { gpu, check });

const far = (found: number[], expected: number[]) => Math.max(...found.map((value, i) => Math.abs(value - expected[i]!)));
let right: number[] | undefined;

/** What comes out where nothing is planted. */
async function rightLogits(page: Page, site: Site): Promise<number[]> {
  if (!right) {
    await open(page, await site.bare(planted()));
    right = (await load(page, SOFTWARE)).logits!;
  }
  return right;
}

test("what is right passes, and is not looked at again", { tag: "@gpu" }, async ({ page, site }) => {
  await open(page, await site.bare(planted()));
  const first = await load(page, SOFTWARE, { check: true });
  expect(first.error).toBeUndefined();
  expect(first.checks).toHaveLength(1);
  expect(first.checks[0]).toMatchObject({ variant: "software shapes, workgroup sums", seconds: expect.any(Number) });
  expect(first.checks[0]).not.toHaveProperty("failed");
  console.log(`the self-check took ${first.checks[0]!.seconds} s`);
  expect(first.device!.why.selfCheck).toBe("results are right, compared with the CPU");
  // Every stage, both ways of reading, and the states.
  const report = first.report!;
  console.log(JSON.stringify(report.stages.map(({ stage, relative }) => [stage, relative])));
  expect(report).toMatchObject({ ok: true });
  expect(report.comparisons).toBeGreaterThan(100);
  const names = report.stages.map(({ stage }) => stage);
  for (const name of ["embed", "project_in (q)", "prepare (delta)", "attention (attention)", "ssm (SSM)", "mlp_out", "keys", "SSM state", "lm_head"]) expect(names).toContain(name);

  const again = await load(page, SOFTWARE);
  expect(again.checks).toHaveLength(1);
  expect(again.checks[0]).not.toHaveProperty("seconds");
  expect(again.logits).toEqual(first.logits);
  right = first.logits!;
});

// As browsers' compilers had it once: rows in front of a border take weights of the part behind.
const border = {
  kernel: "matmul_tile", from: "let scale = select(0.0, part.scale, covered);", to: "let scale = part.scale;",
  hollow: ["mixer_step", "attention_tile", "ssd_states", "ssd_pass", "ssd_output", "matvec_team", "histogram", "threshold", "multinomial"],
};

test("a kernel that computes wrong results is not used, and the app hears of it", { tag: "@gpu" }, async ({ page, site }) => {
  const right = await rightLogits(page, site);
  await open(page, await site.bare(planted(border, CARD)));
  const seen = await load(page, BASELINE);
  expect(seen.error).toBeUndefined();
  expect(seen.changed, "each is a kernel that is asked for").toEqual(changedBy(border));
  expect(seen.checks.map(({ variant }) => variant)).toEqual(["GPU shapes, workgroup sums, baseline limits", "software shapes, workgroup sums, baseline limits"]);
  expect(seen.checks[0]!.failed).toMatch(/^layer 0, project_in \(\w\): the device computes/);
  expect(seen.checks[1]).not.toHaveProperty("failed");
  expect(seen.device).toMatchObject({ shapes: "software" });
  expect(seen.device!.why.shapes).toBe("the other way fails its self-check");
  expect(seen.device!.why.selfCheck).toContain("not used, since they compute wrong results on this device: GPU shapes, workgroup sums, baseline limits (layer 0, project_in");
  expect(seen.logits!.length).toBe(right.length);
  expect(far(seen.logits!, right)).toBeLessThan(2e-4);

  // The next visit knows.
  const again = await load(page, BASELINE);
  expect(again.checks.every(({ seconds }) => seconds === undefined)).toBe(true);
  expect(again.device).toMatchObject({ shapes: "software" });
});

test("where nothing computes right results there is an error and no text", { tag: "@gpu" }, async ({ page, site }) => {
  const hollow = [...border.hollow, border.kernel, "rmsnorm", "gated_norm", "prepare", "attention", "selective_scan", "matvec", "matmul", "merge", "sample", "candidates"];
  const fault = { kernel: "embed", from: "h[y + 7u] = w.h;", to: "", hollow };
  await open(page, await site.bare(planted(fault, CARD)));
  const { error, changed } = await load(page, BASELINE);
  expect(changed, "each is a kernel that is asked for").toEqual(changedBy(fault));
  expect(error).toMatchObject({ code: "self-check", kind: "GpuError" });
  expect(error!.message).toContain("this device computes wrong results: GPU shapes, workgroup sums, baseline limits: embed: the device computes");
  expect(error!.advice).toContain("another browser");
  // The next visit knows that, too, and looks again: the driver may be another one.
  const again = await load(page, BASELINE);
  expect(again.error).toMatchObject({ code: "self-check" });
  expect(again.checks).toHaveLength(4);
  const half = again.checks.length / 2;
  expect(again.checks.map(({ failed, seconds }) => [typeof failed, typeof seconds])).toEqual(again.checks.map((_, i) => ["string", i < half ? "undefined" : "number"]));
});

test("a person can ask for the whole comparison", { tag: "@gpu" }, async ({ page, site }) => {
  await onGpu(page);
  await openReady(page, await site.start(modelIs(MODEL)));
  await page.locator("#model-chip").click();
  await page.getByRole("button", { name: "Check this device" }).click();
  await expect(page.locator("#check-help")).toContainText("comparisons");
  await expect(page.locator("#check-help")).toHaveText("This device computes right results.", { timeout: 200_000 });
});

test("a driver that falls over one way is asked for the next, and that is not kept", { tag: "@gpu" }, async ({ page, site }) => {
  // The first device is gone as soon as something is read back from it.
  const falls = `
    let fallen = false;
    const original = GPUBuffer.prototype.mapAsync;
    const request = GPUAdapter.prototype.requestDevice;
    let device;
    GPUAdapter.prototype.requestDevice = async function (...args) {
      return (device = await request.apply(this, args));
    };
    GPUBuffer.prototype.mapAsync = function (...args) {
      if (!fallen) device.destroy();
      fallen = true;
      return original.apply(this, args);
    };
  `;
  await open(page, await site.bare(begun(falls)));
  const seen = await load(page, SOFTWARE);
  expect(seen.error).toBeUndefined();
  expect(seen.checks.map(({ variant }) => variant)).toEqual(["software shapes, workgroup sums", "software shapes, workgroup sums, baseline limits"]);
  expect(seen.checks[0]!.failed).toContain("lost");
  expect(seen.checks[0]).not.toHaveProperty("seconds");
  expect(seen.checks[1]).not.toHaveProperty("failed");
  expect(seen.logits!.length).toBeGreaterThan(0);
});
