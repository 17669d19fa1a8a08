// Environments in which Vulkan's loader finds a driver that computes on the CPU: what needs a GPU
// runs without one.

import { existsSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

/** With one driver only, where there is one. Mesa's drivers complain without the folder. */
const withDriver = (file) => ({ ...process.env, XDG_RUNTIME_DIR: process.env.XDG_RUNTIME_DIR ?? tmpdir(), ...(file ? { VK_ICD_FILENAMES: file } : {}) });

/** Mesa's. */
export function withLavapipe() {
  const folder = "/usr/share/vulkan/icd.d";
  const file = existsSync(folder) && readdirSync(folder).find((name) => /^lvp_icd.*\.json$/.test(name));
  return withDriver(file && join(folder, file));
}

/** The one that Chromium brings; `browser` is its path. */
export function withSwiftShader(browser) {
  const folders = [dirname(browser), "/usr/lib/chromium", "/opt/google/chrome"];
  return withDriver(folders.map((folder) => join(folder, "vk_swiftshader_icd.json")).find((file) => existsSync(file)));
}
