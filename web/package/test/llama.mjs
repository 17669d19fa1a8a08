/** llama.cpp's server with the embedded model. */

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
export const MODEL_FILE = at("../../../models/tiny/peregrine-tiny-chat-Q4_0.gguf");

/** Starts it; `end` ends it without a farewell. */
export async function llama() {
  const folder = at("../../../.tools/llama");
  if (!existsSync(folder)) throw new Error("llama.cpp's server is missing: sh web/scripts/system.sh llama");
  const process = spawn("python3", [at("llama.py"), folder, MODEL_FILE], { stdio: ["pipe", "pipe", "pipe"] });
  let told = "";
  process.stderr.on("data", (text) => (told = (told + text).slice(-2000)));
  const ended = new Promise((resolve) => process.once("close", resolve));
  const end = () => (process.kill("SIGKILL"), ended);
  const lines = createInterface({ input: process.stdout });
  const address = await Promise.race([
    (async () => {
      for await (const line of lines) if (line.startsWith("http://")) return line;
    })(),
    ended.then(() => undefined),
  ]);
  if (!address) throw new Error(`llama.cpp's server did not start: ${told}`);
  // Nobody reads on: what it says later must not stop it.
  process.stdout.resume();
  return { baseURL: `${address}/v1`, end };
}
