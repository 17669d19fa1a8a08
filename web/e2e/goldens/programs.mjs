// Runs script.mjs in Node and in Deno.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { withLavapipe, withSwiftShader } from "../vulkan.mjs";

const SCRIPT = fileURLToPath(new URL("script.mjs", import.meta.url));

/**
 * What a program prints; its progress is passed on. Rejects with what it printed where it fails.
 */
async function outputOf(program, args, env, plan) {
  const folder = await mkdtemp(join(tmpdir(), "peregrine-goldens-"));
  try {
    const file = join(folder, "plan.json");
    await writeFile(file, JSON.stringify(plan));
    const child = spawn(program, [...args, SCRIPT, file], { env, stdio: ["ignore", "pipe", "pipe"] });
    let [out, err] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (text) => (out += text));
    child.stderr.setEncoding("utf8").on("data", (text) => {
      err += text;
      process.stderr.write(text);
    });
    const code = await new Promise((resolve, reject) => child.once("error", reject).once("close", resolve));
    if (code !== 0) throw new Error(`${program} ended with ${code}\n${out}\n${err}`);
    return out.trim();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * In Node. Dawn takes any Vulkan driver; where there is no GPU, Chromium brings one that computes
 * on the CPU.
 */
export function node(browser, plan) {
  return outputOf(process.execPath, [], withSwiftShader(browser), plan);
}

/** In Deno, on wgpu and naga. */
export function deno(plan) {
  const folder = dirname(createRequire(import.meta.url).resolve("deno/package.json"));
  const program = ["deno", "deno.exe"].map((name) => join(folder, name)).find((path) => existsSync(path));
  if (!program) throw new Error("Deno is missing: the npm package `deno` gets it when it is installed (npm ci in web/, with install scripts)");
  const args = ["run", "--unstable-webgpu", "--no-config", "--allow-read", "--allow-env", "--allow-sys", "--allow-ffi"];
  return outputOf(program, args, withLavapipe(), plan);
}
