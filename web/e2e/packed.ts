/**
 * The package as it is published, in fresh apps: packed, installed from the tarball, built by each
 * app's own bundler.
 */

import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { listen, serveFolder } from "../chat/serve.mjs";
import { MODEL_FILE, sendBytes } from "./support.js";

const PACKAGE = fileURLToPath(new URL("../package", import.meta.url));

const QUIET = ["--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"];

/** What a person who tries an app in place leaves there stays there. */
const isSource = (path: string) => !/[\\/](node_modules|dist|\.next)$/.test(path);

/** Runs a command quietly; its output is in the error, should it fail. */
export function run(cwd: string, command: string, ...args: string[]): void {
  // npm hands its own settings to what it starts: without them the apps' npm is one that a person
  // starts.
  const settings = Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name));
  const env = { ...Object.fromEntries(settings), NEXT_TELEMETRY_DISABLED: "1", CI: "1", NO_COLOR: "1", FORCE_COLOR: undefined };
  try {
    execFileSync(command, args, { cwd, env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], timeout: 500_000 });
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`${command} ${args.join(" ")}\n${stdout}\n${stderr}`, { cause: error });
  }
}

/**
 * The packed package, and a folder outside the repository, so that no app finds the repository's
 * packages.
 */
export class Packed {
  readonly folder = mkdtempSync(join(tmpdir(), "peregrine-apps-"));
  readonly tarball: string;

  constructor() {
    run(PACKAGE, "npm", "pack", "--pack-destination", this.folder);
    this.tarball = join(this.folder, readdirSync(this.folder)[0]!);
  }

  /** A fresh copy of an app. */
  copy(app: URL): string {
    const folder = join(this.folder, basename(fileURLToPath(app)));
    cpSync(fileURLToPath(app), folder, { recursive: true, filter: isSource });
    return folder;
  }

  /** Installs and builds an app. */
  build(app: URL): string {
    const folder = this.copy(app);
    run(folder, "npm", "ci", ...QUIET);
    run(folder, "npm", "install", "--no-save", "--no-package-lock", ...QUIET, this.tarball);
    run(folder, "npm", "run", "build");
    return folder;
  }

  /** The same of an example, which finds the package beside it as in the repository. */
  buildExample(example: URL): string {
    const folder = join(this.folder, "web", "examples", basename(fileURLToPath(example)));
    const unpacked = join(this.folder, "web", "package");
    if (!existsSync(unpacked)) {
      mkdirSync(unpacked, { recursive: true });
      run(unpacked, "tar", "-xzf", this.tarball, "--strip-components=1");
    }
    cpSync(fileURLToPath(example), folder, { recursive: true, filter: isSource });
    run(folder, "npm", "ci", ...QUIET);
    run(folder, "npm", "run", "build");
    return folder;
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Serves a built app; the tests' model is at /model.gguf. */
export function serveApp(folder: string): Promise<{ server: Server; address: string }> {
  const files = serveFolder(folder);
  const model = readFileSync(MODEL_FILE);
  return listen((request: IncomingMessage, response: ServerResponse) => {
    if (request.url === "/model.gguf") return sendBytes(request, response, "application/octet-stream", model);
    return files(request, response);
  }, 0);
}
