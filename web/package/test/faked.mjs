/**
 * An engine without a GPU: what the worker does around the runtime, with a session that the test
 * makes.
 */

import "fake-indexeddb/auto";
import { createEngine } from "../dist/index.js";
import { WebEngine } from "../wasm/peregrine.js";

const quiet = { error() {}, warn() {}, info() {}, debug() {} };

/** A token for each byte; the first one ends an answer. */
const bytes = Uint8Array.from({ length: 256 }, (_, byte) => byte);

/**
 * `respond` is what its sessions do with a request:
 * `{ request, head, tell, isCancelled, grammars }`.
 */
export class FakeEngine {
  /** How often it was asked for its vocabulary. */
  vocabularies = 0;
  constructor(respond) {
    this.respond = respond;
  }
  free() {}
  info() {
    const device = { software: false, reduction: "workgroup", shapes: "hardware" };
    return { model: { name: "m", formats: "", contextLength: 1 }, device, memory: {}, loading: {}, selfCheck: [{ variant: "GPU shapes, workgroup sums" }] };
  }
  vocabulary() {
    this.vocabularies++;
    return { bytes, lengths: new Uint32Array(256).fill(1), controls: new Uint32Array(), ends: Uint32Array.of(0), free() {} };
  }
  encodePlain(text) {
    return Uint32Array.from(new TextEncoder().encode(text));
  }
  session() {
    const respond = async (request, head, tell, isCancelled, grammars) => this.respond({ request, head, tell, isCancelled, grammars });
    return { respond, free() {} };
  }
}

/** What the runtime says at the end of an answer. */
export const done = (content = "Yes.") => ({
  whole: JSON.stringify({ choices: [{ message: { role: "assistant", content } }] }),
  usage: { prompt_tokens: 1, completion_tokens: 1, prompt_tokens_details: { cached_tokens: 0 }, timings: { prefill_ms: 0, decode_ms: 0 } },
  cancelled: false,
});

/** Makes the package's engine of that one, on the page, while `use` does something with it. */
export async function faking(engine, options, use) {
  const [own, real] = [Object.getOwnPropertyDescriptor(globalThis, "navigator"), WebEngine.load];
  const gpu = { requestAdapter: async () => ({ info: {}, features: new Set(), limits: {} }) };
  Object.defineProperty(globalThis, "navigator", { value: { gpu, userAgent: "test" }, configurable: true });
  WebEngine.load = async () => engine;
  try {
    const made = await createEngine({ model: new Blob(["no model"]), worker: "here", logger: quiet, ...options });
    try {
      return await use(made);
    } finally {
      await made.dispose();
    }
  } finally {
    WebEngine.load = real;
    if (own) Object.defineProperty(globalThis, "navigator", own);
    else delete globalThis.navigator;
  }
}
