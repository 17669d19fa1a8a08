/**
 * The worker's view of the GPU: what the adapter is, the raw device (the wasm module does not give
 * it out), and what happens to it. The wasm module's GPU library takes no device from outside, and
 * asks `navigator.gpu` for an adapter: so it is shown one that leads to ours, for the moment in
 * which it looks, and nothing else in the realm is touched.
 */

import { makeError, type PeregrineError } from "../errors.js";
import type { Log } from "../log.js";
import type { GpuPreferences } from "../load-options.js";

/** The adapter as JavaScript sees it. */
export interface AdapterFacts {
  /** As much of a name as the browser tells. */
  name: string;
  vendor: string;
  architecture: string;
  /** The CPU computes. */
  software: boolean;
  /** The adapter has subgroups, so that devices get them. */
  subgroups: boolean;
}

const VENDORS: Record<string, string> = { nvidia: "NVIDIA", amd: "AMD", intel: "Intel", apple: "Apple", arm: "Arm", qualcomm: "Qualcomm" };

function describe(info: GPUAdapterInfo | undefined): Pick<AdapterFacts, "name" | "software"> {
  const words = [info?.description, info?.device, info?.architecture, info?.vendor].join(" ").toLowerCase();
  if (words.includes("swiftshader")) return { name: "SwiftShader (software)", software: true };
  const software = Boolean(info?.isFallbackAdapter) || /llvmpipe|lavapipe|basic render|warp/.test(words);
  const short = [VENDORS[info?.vendor ?? ""] ?? info?.vendor, info?.architecture].filter(Boolean).join(" ");
  return { name: info?.description || short || "GPU (the browser does not say which)", software };
}

/** Where the engine runs, as far as that explains why there is no WebGPU. */
function whyNone(onPage: boolean): string {
  if (globalThis.isSecureContext === false) return "this page is not served over https or from localhost";
  if (!("Window" in globalThis) && !("WorkerGlobalScope" in globalThis)) {
    return "there is no navigator.gpu; where the system has none of its own, as Node, put one there: the npm package `webgpu` has it";
  }
  return onPage ? 'this browser has it on pages, but not in workers; worker: "here" runs the engine on the page' : "this browser has none, or it is turned off";
}

/**
 * Milliseconds after which an adapter is asked for again: the process that has the GPU may just be
 * starting, or starting anew.
 */
const WAITS = [100, 300, 900, 1800];
/** The same where there is another device. */
const FEW_WAITS = WAITS.slice(0, 2);

/** Asks for an adapter, patiently. */
async function ask(preferences: GpuPreferences, log: Log, waits = WAITS): Promise<GPUAdapter> {
  for (let attempt = 0; ; attempt++) {
    let cause: unknown;
    const found = await navigator.gpu.requestAdapter({ powerPreference: preferences.powerPreference ?? "high-performance" }).catch((error: unknown) => {
      cause = error;
      return null;
    });
    if (found) return found;
    const wait = waits[attempt];
    if (wait === undefined) {
      const why = cause === undefined ? "" : `: ${(cause as Error).message}`;
      throw makeError("no-gpu", `the browser has WebGPU, but offers no GPU to it (asked ${waits.length + 1} times)${why}`, { cause });
    }
    log("info", `no adapter yet; asking again in ${wait} ms`);
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

/** One adapter, and the devices that are made of it. */
export class GpuWay {
  readonly facts: AdapterFacts;
  readonly #preferences: GpuPreferences;
  readonly #onError: (error: PeregrineError) => void;
  readonly #log: Log;
  #adapter: GPUAdapter;
  /** The adapter has made a device: it makes no other. */
  #isUsed = false;
  /** The device whose errors are told. */
  #current: GPUDevice | undefined;

  private constructor(adapter: GPUAdapter, preferences: GpuPreferences, onError: (error: PeregrineError) => void, log: Log) {
    const { vendor = "", architecture = "" } = adapter.info ?? {};
    this.facts = { ...describe(adapter.info), vendor, architecture, subgroups: adapter.features.has("subgroups") };
    this.#adapter = adapter;
    this.#preferences = preferences;
    this.#onError = onError;
    this.#log = log;
  }

  /**
   * Finds the adapter that the engine will use. `onPage`: the page that wants the engine has WebGPU
   * itself. `onError` hears of the devices that are made of it. `isPatient`: nothing else will do.
   * @throws NoGpuError that says what is missing
   */
  static async find(preferences: GpuPreferences, onPage: boolean, onError: (error: PeregrineError) => void, log: Log, isPatient = true): Promise<GpuWay> {
    if (!globalThis.navigator?.gpu) throw makeError("no-webgpu", `WebGPU is not available: ${whyNone(onPage)}`);
    return new GpuWay(await ask(preferences, log, isPatient ? WAITS : FEW_WAITS), preferences, onError, log);
  }

  /** What happens to the device that there is now is of no interest any more. */
  forget(): void {
    this.#current = undefined;
  }

  /** Runs `make`, which must not pause, so that what it sees as `navigator.gpu` leads here. */
  within<T>(make: () => T): T {
    const gpu = { requestAdapter: () => this.#stand() };
    const undo = [shadow(navigator, "gpu", gpu) ?? shadow(globalThis, "navigator", { gpu })];
    // The wasm module's GPU library asks only pages and workers for a GPU; in Node neither is
    // there.
    if (!("Window" in globalThis) && !("WorkerGlobalScope" in globalThis)) undo.push(shadow(globalThis, "WorkerGlobalScope", class {}));
    try {
      return make();
    } finally {
      for (const back of undo) back?.();
    }
  }

  /** The adapter, whose devices get what the library does not ask for, and are watched. */
  async #stand(): Promise<Pick<GPUAdapter, "features" | "limits" | "info" | "requestDevice">> {
    if (this.#isUsed) this.#adapter = await ask(this.#preferences, this.#log);
    this.#isUsed = false;
    const { features, limits, info } = this.#adapter;
    return { features, limits, info, requestDevice: (descriptor) => this.#device(descriptor) };
  }

  async #device(descriptor: GPUDeviceDescriptor = {}): Promise<GPUDevice> {
    const wanted = (adapter: GPUAdapter): GPUDeviceDescriptor => {
      const requiredFeatures = new Set(descriptor.requiredFeatures);
      if (!this.#preferences.baseline && adapter.features.has("subgroups")) requiredFeatures.add("subgroups");
      return { ...descriptor, requiredFeatures: [...requiredFeatures] };
    };
    const device = await this.#adapter.requestDevice(wanted(this.#adapter)).catch(async (error: unknown) => {
      // What the adapter cannot do, another one of the same machine cannot either.
      if (error instanceof TypeError) throw error;
      this.#log("warn", `the adapter gave no device (${(error as Error).message}); asking for another`);
      this.#adapter = await ask(this.#preferences, this.#log);
      return this.#adapter.requestDevice(wanted(this.#adapter));
    });
    this.#isUsed = true;
    this.#watch(device);
    return device;
  }

  #watch(device: GPUDevice): void {
    this.#current = device;
    const tell = (error: PeregrineError) => void (this.#current === device && this.#onError(error));
    // Errors that no scope catches leave buffers as they were: the answers after them would be
    // wrong without a word.
    device.addEventListener("uncapturederror", ({ error }) => {
      const memory = error.constructor.name === "GPUOutOfMemoryError";
      tell(makeError(memory ? "out-of-memory" : "gpu", memory ? `out of GPU memory: ${error.message}` : `GPU error: ${error.message}`));
    });
    void device.lost.then(({ reason, message }) => tell(makeError("device-lost", `the GPU device was lost: ${message || reason}`)));
  }
}

/**
 * Puts a value before a property; the result takes it away again. Nothing where the object allows
 * no such thing.
 */
function shadow(object: object, name: string, value: unknown): (() => void) | undefined {
  const own = Object.getOwnPropertyDescriptor(object, name);
  if (!Reflect.defineProperty(object, name, { value, configurable: true, enumerable: own?.enumerable ?? false })) return undefined;
  return () => void (own ? Reflect.defineProperty(object, name, own) : Reflect.deleteProperty(object, name));
}
