/**
 * What transformers computes (tests/golden), and what the native program computes of larger and of odd shapes, in every kind of browser: Tint
 * on SwiftShader in Node and in Chromium, naga on lavapipe in Firefox and in Deno. GOLDENS=all reads every golden in every mode in Node, too.
 */

import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { fileURLToPath } from "node:url";
import { test as base } from "@playwright/test";
import { listen, serveFolder } from "../../chat/serve.mjs";
import { inFirefox } from "../firefox.mjs";
import { verdict } from "../goldens/harness.mjs";
import { deno, node } from "../goldens/programs.mjs";
import { chosen, everything, GOLDENS } from "../goldens/plan.mjs";
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
const hardware = (golden: string, reduction: string, kv = "f32") => ({ golden, mode: { shapes: "hardware", reduction, kv } });

test("the goldens in Node, on Dawn", async ({}, info) => {
  test.setTimeout(3_600_000);
  const plan = process.env.GOLDENS === "all" ? everything(["subgroup", "workgroup"]) : chosen();
  console.log(await node(browserOf(info), { plan }));
});

test("the goldens in Deno", async () => {
  test.setTimeout(1_200_000);
  console.log(await deno({ plan: everything(["workgroup"]) }));
});

test("goldens in Chromium", async ({ page, address }) => {
  page.on("console", (message) => console.log(message.text()));
  await page.goto(address);
  const plan = [hardware("odd", "subgroup"), hardware("gate2", "workgroup")];
  const rows = await page.evaluate(async (plan) => {
    const module = "/web/e2e/goldens/page.mjs";
    return (await import(module)).runHere(plan);
  }, plan);
  console.log(verdict(rows));
});

test("the goldens in Firefox", async ({ address }) => {
  const plan = GOLDENS.map((golden: string) => hardware(golden, "workgroup"));
  const rows = await inFirefox(address, `import("/web/e2e/goldens/page.mjs").then(({ runHere }) => runHere(${JSON.stringify(plan)}))`, console.log);
  console.log(verdict(rows));
});

test("a fault in one shader is found", async () => {
  const plan = ["norm1", "wide"].map((golden) => hardware(golden, "workgroup"));
  // What was wrong once: naga and Tint do not set a variable without an initialiser to zero again each time a loop comes by.
  const plant = ["var w = Strip();", "var w: Strip;"];
  await expect(deno({ plan, plant })).rejects.toThrow(/norm1 .*WRONG/s);
});
