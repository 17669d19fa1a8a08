import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import test from "node:test";
import { fits } from "../../scripts/node-version.mjs";

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const json = (path) => JSON.parse(readFileSync(at(path), "utf8"));
const workspace = json("../../package.json").engines.node;
const own = json("../package.json").engines.node;

test("versions of Node", () => {
  const all = ["18.20.8", "20.18.3", "20.19.0", "20.20.2", "21.7.3", "22.11.0", "22.12.0", "22.13.0", "23.11.0", "24.0.0", "26.1.0"];
  assert.deepEqual(all.filter((version) => fits(version, workspace)), ["20.19.0", "20.20.2", "22.13.0", "24.0.0", "26.1.0"]);
  assert.deepEqual(all.filter((version) => fits(version, own)), ["20.19.0", "20.20.2", "22.12.0", "22.13.0", "23.11.0", "24.0.0", "26.1.0"]);
  assert.throws(() => fits("20.0.0", "20.x"), /no range/);
  // No tool that runs in Node wants more; the others are bundled for browsers.
  const { packages } = json("../../package-lock.json");
  for (const tool of ["vite", "rolldown", "playwright", "@playwright/test", "jsdom", "typescript", "publint", "@arethetypeswrong/cli", "fake-indexeddb"]) {
    const { node } = packages[`node_modules/${tool}`].engines;
    for (const version of all.filter((version) => fits(version, workspace))) assert.ok(fits(version, node), `${tool}: ${node}`);
  }
  assert.equal(packages.package.engines.node, own);
});

test("make clean takes away what is built, and make knows what says which packages there are", () => {
  const makefile = readFileSync(at("../../../Makefile"), "utf8");
  const clean = /^clean:\n((?:\t.*\n?)+)/m.exec(makefile)[1].split(/\s+/);
  const ignored = readFileSync(at("../../../.gitignore"), "utf8").split("\n").filter((line) => line !== "" && line !== "/models/tiny/build");
  assert.deepEqual(ignored.filter((line) => !clean.some((word) => word === line.replace(/^\//, "") || word.endsWith(`/${line}`))), []);
  // Every workspace's, and those of the types' own.
  const [, modules] = /^\$\(modules\): (.*)$/m.exec(makefile);
  for (const file of ["web/package.json", "web/package-lock.json", "web/*/package.json", "web/package/test/types/package*.json", "web/scripts/modules.sh"]) assert.ok(modules.includes(file), file);
});

test("a browser that cannot be installed is named, with what to do", { skip: process.platform === "win32" }, () => {
  const folder = mkdtempSync(join(tmpdir(), "peregrine-scripts-"));
  try {
    const tool = (name) => process.env.PATH.split(delimiter).map((path) => join(path, name)).find((path) => spawnSync("test", ["-x", path]).status === 0);
    for (const name of ["sh", "dirname", "env"]) symlinkSync(tool(name), join(folder, name));
    // Ubuntu's: it has no such package.
    for (const [name, script] of [["apt-get", 'echo "E: Unable to locate package" >&2; exit 100'], ["id", "echo 0"]]) {
      writeFileSync(join(folder, name), `#!/bin/sh\n${script}\n`);
      chmodSync(join(folder, name), 0o755);
    }
    const run = (part, env = {}) => spawnSync(join(folder, "sh"), [at("../../scripts/system.sh"), part], { env: { PATH: folder, HOME: folder, ...env }, encoding: "utf8" });
    for (const [part, name] of [["firefox", "Firefox"], ["browser", "Chromium"]]) {
      const variable = name.toUpperCase();
      const { status, stderr } = run(part);
      // On a Mac they may be where they always are.
      if (process.platform !== "darwin") {
        assert.equal(status, 1);
        assert.match(stderr, new RegExp(`error: ${name} is missing: install it .*${variable}=/path\\n$`));
      }
      assert.equal(run(part, { [variable]: "/there" }).status, 0);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
