/** The wasm module, once a realm: from beside the worker, or from where the app says. */

import init, { type InitOutput } from "../../wasm/peregrine.js";
import { makeError, PeregrineError } from "../errors.js";
import { patientFetch } from "../download/http.js";
import type { LoadRequest } from "../protocol.js";

type Wasm = LoadRequest["wasm"];
type Given = Response | BufferSource | WebAssembly.Module | undefined;

interface Files {
  readFile(path: URL): Promise<BufferSource>;
}

/** Node's file system, without an import that bundlers for browsers would stumble over. */
function nodeFiles(): Files | undefined {
  const { process } = globalThis as { process?: { getBuiltinModule?: (name: string) => unknown } };
  return process?.getBuiltinModule?.("node:fs/promises") as Files | undefined;
}

/** What an address leads to, or what was given. */
async function given(wasm: Wasm): Promise<Given> {
  if (wasm === undefined) {
    // Not a literal: bundlers would take it for one more file. Node's fetch reads no files.
    const here: string = import.meta.url;
    const files = here.startsWith("file:") ? nodeFiles() : undefined;
    return files?.readFile(new URL("../../wasm/peregrine_bg.wasm", here));
  }
  if (typeof wasm !== "string") return wasm;
  if (wasm.startsWith("file:")) {
    const files = nodeFiles();
    if (files) return files.readFile(new URL(wasm));
  }
  try {
    return await patientFetch(wasm, {});
  } catch (error) {
    throw error instanceof PeregrineError ? makeError(error.code, `wasmUrl: ${error.message}`, { cause: error.cause }) : error;
  }
}

/** Why the module could not be used, in words that help. */
function explained(thrown: unknown, wasm: Wasm): PeregrineError {
  if (thrown instanceof PeregrineError) return thrown;
  const { message } = thrown as Error;
  const where = typeof wasm === "string" ? `wasmUrl: ${wasm}` : wasm === undefined ? "peregrine_bg.wasm" : "wasmUrl";
  if (thrown instanceof WebAssembly.LinkError) return makeError("engine-file", `${where}: this is the wasm module of another version of the package: ${message}`, { cause: thrown });
  if (thrown instanceof WebAssembly.RuntimeError) return makeError("internal", `the engine crashed: ${message}`, { cause: thrown });
  if (thrown instanceof WebAssembly.CompileError && /unsafe-eval|Content.Security.Policy|blocked by CSP/i.test(message)) {
    return makeError("no-wasm", `the page's Content-Security-Policy forbids WebAssembly: ${message}`, { cause: thrown });
  }
  if (thrown instanceof WebAssembly.CompileError) return makeError("engine-file", `${where}: this is not a WebAssembly module: ${message}`, { cause: thrown });
  return makeError("engine-file", `${where}: the engine's wasm module could not be loaded: ${message}`, { cause: thrown });
}

async function load(wasm: Wasm): Promise<InitOutput> {
  if (typeof WebAssembly === "undefined") throw makeError("no-wasm", "this browser has no WebAssembly, or it is turned off");
  try {
    const module = await given(wasm);
    return await init(module === undefined ? undefined : { module_or_path: module });
  } catch (thrown) {
    throw explained(thrown, wasm);
  }
}

let begun: Promise<InitOutput> | undefined;

/** The module; where a first attempt fails, the next one may use another address. */
export function begin(wasm: Wasm): Promise<InitOutput> {
  begun ??= load(wasm).catch((error: unknown) => {
    begun = undefined;
    throw error;
  });
  return begun;
}
