/** The wasm modules, each once a realm: from beside the worker, or from where the app says. */

import initGrammar, { type InitOutput as GrammarOutput } from "../../wasm/grammar.js";
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

/** One of the package's modules. */
interface Module<T> {
  /** Its file beside the glue. */
  file: string;
  /** The option that says where it is instead. */
  option: "wasmUrl" | "grammarUrl";
  /** What it is, for a message. */
  title: string;
  init: (input?: { module_or_path: Exclude<Given, undefined> }) => Promise<T>;
}

/** What an address leads to, or what was given. */
async function given(wasm: Wasm, { file, option }: Module<unknown>): Promise<Given> {
  if (wasm === undefined) {
    // Not a literal: bundlers would take it for one more file. Node's fetch reads no files.
    const here: string = import.meta.url;
    const files = here.startsWith("file:") ? nodeFiles() : undefined;
    return files?.readFile(new URL(`../../wasm/${file}`, here));
  }
  if (typeof wasm !== "string") return wasm;
  if (wasm.startsWith("file:")) {
    const files = nodeFiles();
    if (files) return files.readFile(new URL(wasm));
  }
  try {
    return await patientFetch(wasm, {});
  } catch (error) {
    throw error instanceof PeregrineError ? makeError(error.code, `${option}: ${error.message}`, { cause: error.cause }) : error;
  }
}

/** Why the module could not be used, in words that help. */
function explained(thrown: unknown, wasm: Wasm, { file, option, title }: Module<unknown>): PeregrineError {
  if (thrown instanceof PeregrineError) return thrown;
  const { message } = thrown as Error;
  const where = typeof wasm === "string" ? `${option}: ${wasm}` : wasm === undefined ? file : option;
  if (thrown instanceof WebAssembly.LinkError) return makeError("engine-file", `${where}: this is the wasm module of another version of the package: ${message}`, { cause: thrown });
  if (thrown instanceof WebAssembly.RuntimeError) return makeError("internal", `the engine crashed: ${message}`, { cause: thrown });
  if (thrown instanceof WebAssembly.CompileError && /unsafe-eval|Content.Security.Policy|blocked by CSP/i.test(message)) {
    return makeError("no-wasm", `the page's Content-Security-Policy forbids WebAssembly: ${message}`, { cause: thrown });
  }
  if (thrown instanceof WebAssembly.CompileError) return makeError("engine-file", `${where}: this is not a WebAssembly module: ${message}`, { cause: thrown });
  return makeError("engine-file", `${where}: the ${title} could not be loaded: ${message}`, { cause: thrown });
}

/**
 * A module has stopped, or the stack was too small for it: what is in its memory is not to be
 * relied on.
 */
export function isTrap(thrown: unknown): boolean {
  if (typeof WebAssembly !== "undefined" && thrown instanceof WebAssembly.RuntimeError) return true;
  // V8's and WebKit's words, and Firefox's.
  const isRange = thrown instanceof RangeError || (thrown instanceof Error && thrown.name === "InternalError");
  return isRange && /maximum call stack|too much recursion/i.test(thrown.message);
}

/** A module of one function with one instruction of SIMD128. */
const SIMD = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11);

/** Loads a module; where a first attempt fails, the next one may use another address. */
function once<T>(module: Module<T>): (wasm: Wasm) => Promise<T> {
  let begun: Promise<T> | undefined;
  const load = async (wasm: Wasm): Promise<T> => {
    if (typeof WebAssembly === "undefined") throw makeError("no-wasm", "this browser has no WebAssembly, or it is turned off");
    if (!WebAssembly.validate(SIMD)) throw makeError("no-wasm", "this browser's WebAssembly has no SIMD instructions (SIMD128)");
    try {
      const found = await given(wasm, module);
      return await module.init(found === undefined ? undefined : { module_or_path: found });
    } catch (thrown) {
      throw explained(thrown, wasm, module);
    }
  };
  return (wasm) =>
    (begun ??= load(wasm).catch((error: unknown) => {
      begun = undefined;
      throw error;
    }));
}

/** The engine's. */
export const begin = once<InitOutput>({ file: "peregrine_bg.wasm", option: "wasmUrl", title: "engine's wasm module", init });

/** That of grammars, which is not loaded before an answer by one is asked for. */
export const beginGrammar = once<GrammarOutput>({ file: "grammar_bg.wasm", option: "grammarUrl", title: "wasm module of grammars", init: initGrammar });
