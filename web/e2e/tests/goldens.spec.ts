/**
 * What transformers computes (tests/golden), and what the native program computes of larger and of
 * odd shapes, in every kind of browser: Tint on SwiftShader in Node and in Chromium, naga on
 * lavapipe in Firefox and in Deno. GOLDENS=all reads every golden in every mode in Node and in
 * Deno, all of them in Firefox, and every official shape in Deno; SHAPES=100:200 tries the odd
 * shapes of those seeds in Deno and in Node.
 */

import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { fileURLToPath } from "node:url";
import { test as base } from "@playwright/test";
import { listen, serveFolder } from "../../chat/serve.mjs";
import { inFirefox } from "../firefox.mjs";
import { farthest, verdict } from "../goldens/harness.mjs";
import { make, odd, OFFICIAL, synth } from "../goldens/models.mjs";
import { chosen, everything, GOLDENS, once } from "../goldens/plan.mjs";
import { accepted, composed, deno, node } from "../goldens/programs.mjs";
import { expect } from "../support.js";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const test = base.extend<{ address: string }>({
  address: async ({}, use) => {
    const folder = serveFolder(ROOT);
    const { server, address } = (await listen((request: IncomingMessage, response: ServerResponse) => {
      if (request.url === "/") response.writeHead(200, { "Content-Type": "text/html" }).end("<!doctype html><title>goldens</title>");
      else folder(request, response);
    }, 0)) as { server: Server; address: string };
    await use(address);
    server.closeAllConnections();
    server.close();
  },
});
const browserOf = (info: { project: { use: { launchOptions?: unknown } } }) => (info.project.use.launchOptions as { executablePath: string }).executablePath;
/** Small models that are read at a time where each waits for its compiler, not for a core. */
const LANES = 4;
const isAll = process.env.GOLDENS === "all";
const hardware = (golden: string, reduction: string, kv = "f32") => ({ golden, mode: { shapes: "hardware", reduction, kv } });

/** Programs that no compiler may take, by name. */
const WRONG = {
  "no function": "@compute @workgroup_size(8) fn main(( {}",
  "a barrier for some": "@compute @workgroup_size(8) fn main(@builtin(local_invocation_index) i: u32) { if (i < 4u) { workgroupBarrier(); } }",
};

test("what Dawn takes: every composed source, and all that loading the goldens and the official shapes asks of it", async () => {
  const sources = await composed();
  expect(sources.length).toBeGreaterThan(250);
  const wrong = Object.entries(WRONG).map(([name, code]) => ({ name, code }));
  const goldens = once("subgroup").map(({ golden, mode: { shapes, kv } }) => ({ name: `${golden}, ${shapes}`, model: `tests/golden/${golden}.gguf`, shapes, kv }));
  const official = [];
  for (const shape of OFFICIAL) {
    // Files of its own: another test makes those of these names meanwhile.
    const name = `accepted ${shape.name}`;
    official.push({ name, model: `${await synth({ ...shape, name })}.gguf`, shapes: "hardware", kv: "f16" });
  }
  const models = [...goldens, ...official];
  const { refused, pipelines, errors } = await accepted({ sources: [...sources, ...wrong], models });
  expect(Object.keys(refused), JSON.stringify(refused)).toEqual(Object.keys(WRONG));
  expect(pipelines).toBeGreaterThan(models.length * 50);
  expect(Object.keys(errors)).toEqual(models.map(({ name }) => name));
  // What is wrong with each way to drive it is its first number: nothing was before that.
  const computed = / (?:GPU|software) shapes, \w+ sums(?:, baseline limits)?: embed: the device computes \S+ where the CPU has \S+(?:;|$)/g;
  for (const [name, [code, message]] of Object.entries(errors)) {
    expect(code, `${name}: ${message}`).toBe("self-check");
    expect(new Set(message.match(computed)).size, `${name}: ${message}`).toBe(4);
  }
  // With a pipeline that cannot be, it is another error.
  const broken = await accepted({ sources: [], models: goldens.slice(0, 1), plant: ["fn main(", "fn mein("] });
  expect(Object.values(broken.errors)).toEqual([["gpu", expect.stringContaining("main")]]);
});

test("the goldens in Node, on Dawn", { tag: "@gpu" }, async ({}, info) => {
  test.setTimeout(3_600_000);
  const plan = isAll ? everything(["subgroup", "workgroup"]) : chosen();
  console.log(await node(browserOf(info), { plan, lanes: 2 }));
});

test("the goldens in Deno", { tag: "@gpu" }, async () => {
  test.setTimeout(1_200_000);
  console.log(await deno({ plan: isAll ? everything(["workgroup"]) : once("workgroup"), lanes: LANES }));
});

test("goldens in Chromium", { tag: "@gpu" }, async ({ page, address }) => {
  test.setTimeout(1_200_000);
  page.on("console", (message) => console.log(message.text()));
  await page.goto(address);
  // The shapes of GPUs are those of "a graphics card" in engine.spec.ts.
  const plan = [{ golden: "odd", mode: { shapes: "software", reduction: "workgroup", kv: "f32" } }];
  const { compiler, rows } = await page.evaluate(async (plan) => {
    const module = "/web/e2e/goldens/page.mjs";
    return (await import(module)).runHere(plan);
  }, plan);
  console.log(verdict(rows));
  expect(compiler.wrong).toEqual([]);
});

test("the goldens in Firefox", { tag: "@gpu" }, async ({ address }) => {
  test.setTimeout(1_200_000);
  // Those that differ most in their kernels; Deno, whose compiler is of the same kind, reads all.
  const plan = (isAll ? GOLDENS : ["norm1", "wide", "row80", "quant"]).map((golden) => hardware(golden, "workgroup"));
  const here = `import("/web/e2e/goldens/page.mjs").then(({ runHere }) => runHere(${JSON.stringify(plan)}, ${LANES}))`;
  const { compiler, rows } = await inFirefox(address, here, console.log);
  console.log(verdict(rows));
  expect(compiler.wrong).toEqual([]);
});

/** Reads models that the native program has made and read. */
const made = async (models: Parameters<typeof make>[0][], reduction: string) => {
  const plan: unknown[] = [];
  for (const model of models) plan.push({ native: await make(model), mode: { shapes: "hardware", reduction, kv: "f32" } });
  return { plan, lanes: 2 };
};

test("layers of the official shapes, in Deno", { tag: "@gpu" }, async ({}, info) => {
  test.setTimeout(3_600_000);
  // The larger ones cost minutes together; the layer of 3b is compared natively (tests/model.rs).
  const small = OFFICIAL.filter(({ size }) => ["tiny-90m", "0.5b", "1.5b-deep"].includes(size));
  console.log(await deno(await made(isAll ? OFFICIAL : small, "workgroup")));
  if (isAll) console.log(await node(browserOf(info), await made(small, "subgroup")));
});

test("odd shapes, in Deno", { tag: "@gpu" }, async ({}, info) => {
  test.setTimeout(3_600_000);
  const [first, end] = (process.env.SHAPES ?? "1:7").split(":").map(Number) as [number, number];
  const shapes = Array.from({ length: end - first }, (_, i) => odd(first + i));
  console.log(await deno(await made(shapes, "workgroup")));
  // Half a minute each; "a graphics card" in engine.spec.ts reads one in Chromium.
  if (process.env.SHAPES) console.log(await node(browserOf(info), await made(shapes, "subgroup")));
});

test("a fault in one shader is found", { tag: "@gpu" }, async () => {
  const plan = ["norm1", "wide"].map((golden) => hardware(golden, "workgroup"));
  // As browsers' compilers had it once: rows in front of a border take weights of the part behind.
  const plant = ["let scale = select(0.0, part.scale, covered);", "let scale = part.scale;"];
  await expect(deno({ plan, plant })).rejects.toThrow(/WRONG norm1/);
});

test("the comparison can fail", () => {
  expect(farthest([1, 2], [1, 2])).toBe(0);
  expect(farthest([1, 2.5], [1, 2])).toBe(0.5);
  for (const found of [[1], [1, NaN], [NaN, 2], [Infinity, 2], [1, 2, 3]]) expect(farthest(found, [1, 2])).toBe(Infinity);
  expect(farthest([1], [NaN])).toBe(Infinity);
  expect(farthest([], [])).toBe(Infinity);
  const row = { name: "norm1", mode: "hardware, workgroup, f32", tolerance: 2e-4, differences: {}, seconds: 1, device: "a GPU" };
  expect(verdict([{ ...row, worst: 1e-4, right: true }])).toContain("1 of 1 right on a GPU");
  expect(() => verdict([{ ...row, worst: 1e-4, right: true }, { ...row, name: "odd", worst: 3e-4, right: false }])).toThrow(/1 of 2 right.*WRONG odd/s);
  expect(() => verdict([])).toThrow("0 of 0");
});
