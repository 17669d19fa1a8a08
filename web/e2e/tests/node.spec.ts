/** The package in Node, on Dawn's WebGPU: the browser's without a browser. */

import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, golden, MODEL_FILE, test } from "../support.js";

test("an answer in Node", async ({}, info) => {
  const { executablePath } = info.project.use.launchOptions as { executablePath: string };
  // Dawn takes any Vulkan driver; where there is no GPU, Chromium brings one that computes on the CPU.
  const beside = [dirname(executablePath), "/usr/lib/chromium", "/opt/google/chrome"].map((folder) => join(folder, "vk_swiftshader_icd.json"));
  const software = beside.find((file) => existsSync(file));
  const env = { ...process.env, ...(software ? { VK_ICD_FILENAMES: software } : {}) };
  const script = fileURLToPath(new URL("../node/answer.mjs", import.meta.url));
  const capital = golden("capital");
  const { stdout } = await promisify(execFile)("node", [script, MODEL_FILE, capital.messages[0]!.content], { env, timeout: 200_000 });
  const { answer, device } = JSON.parse(stdout) as { answer: string; device: { name: string } };
  expect(answer).toBe(capital.answer);
  expect(device.name).not.toBe("");
});
