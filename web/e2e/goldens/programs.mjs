// Runs script.mjs in Node and in Deno, and accepted.mjs in Node.

import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { withLavapipe, withSwiftShader } from "../vulkan.mjs";

const [SCRIPT, ACCEPTED] = ["script.mjs", "accepted.mjs"].map((name) => fileURLToPath(new URL(name, import.meta.url)));
/** Prints every composed source that a browser may be given. */
const SOURCES = fileURLToPath(new URL("../../../target/release/examples/sources", import.meta.url));

/**
 * What a program prints; its progress is passed on. Rejects with what it printed where it fails.
 */
async function outputOf(program, args, env, input) {
  const folder = await mkdtemp(join(tmpdir(), "peregrine-goldens-"));
  try {
    const file = join(folder, "input.json");
    await writeFile(file, JSON.stringify(input));
    const child = spawn(program, [...args, file], { env, stdio: ["ignore", "pipe", "pipe"] });
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
  return outputOf(process.execPath, [SCRIPT], withSwiftShader(browser), plan);
}

/** In Deno, on wgpu and naga. */
export function deno(plan) {
  const folder = dirname(createRequire(import.meta.url).resolve("deno/package.json"));
  const program = ["deno", "deno.exe"].map((name) => join(folder, name)).find((path) => existsSync(path));
  if (!program) throw new Error("Deno is missing: the npm package `deno` gets it when it is installed (npm ci in web/, with install scripts)");
  const args = ["run", "--unstable-webgpu", "--no-config", "--allow-read", "--allow-env", "--allow-sys", "--allow-ffi", SCRIPT];
  return outputOf(program, args, withLavapipe(), plan);
}

/**
 * What composed sources browsers are given, by the native code that composes them.
 * @returns {Promise<{ name: string, code: string }[]>}
 */
export async function composed() {
  if (!existsSync(SOURCES)) throw new Error("target/release/examples/sources is missing: cargo build --release -p peregrine-tests --example sources");
  const { stdout } = await promisify(execFile)(SOURCES, { maxBuffer: 1 << 28 });
  return JSON.parse(stdout);
}

/**
 * What Dawn says to sources and to what loading asks of it: accepted.mjs.
 * @returns {Promise<{
 *   refused: Record<string, string>, pipelines: number,
 *   errors: Record<string, [code: string, message: string]>,
 * }>}
 */
export async function accepted(input) {
  return JSON.parse(await outputOf(process.execPath, [ACCEPTED], { ...process.env, DAWN: "backend=null" }, input));
}
