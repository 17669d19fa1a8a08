/**
 * The worker's view of the GPU: what the adapter is, the raw device (the wasm module does not give it out), and what
 * happens to it. Must be set up before the wasm module asks for a device.
 */

import { makeError, type PeregrineError } from "./errors.js";
import type { GpuPreferences } from "./protocol.js";

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

/** Looks at the adapter that the engine will use. Rejects with what is missing when there is none. */
export async function examineAdapter(preferences: GpuPreferences): Promise<AdapterFacts> {
  if (!navigator.gpu) {
    const why = globalThis.isSecureContext === false ? "this page is not served over https or from localhost" : "this browser has no WebGPU in workers";
    throw makeError("no-webgpu", `WebGPU is not available: ${why}`);
  }
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: preferences.powerPreference ?? "high-performance" });
  if (!adapter) throw makeError("no-gpu", "the browser has WebGPU, but offers no GPU to it");
  const { vendor = "", architecture = "" } = adapter.info ?? {};
  return { ...describe(adapter.info), vendor, architecture, subgroups: adapter.features.has("subgroups") };
}

let current: GPUDevice | undefined;
let watching = false;

/** What happens to the device from now on is of no interest. */
export function forgetDevice(): void {
  current = undefined;
}

/**
 * Watches the device that is created next, and adds what the wasm module's GPU library does not ask for: the feature
 * `subgroups`, unless `baseline` wants none.
 */
export function watchDevices(baseline: () => boolean, onError: (error: PeregrineError) => void): void {
  if (watching) return;
  watching = true;
  const original = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = async function (this: GPUAdapter, descriptor: GPUDeviceDescriptor = {}) {
    const features = new Set(descriptor.requiredFeatures);
    if (!baseline() && this.features.has("subgroups")) features.add("subgroups");
    const device = await original.call(this, { ...descriptor, requiredFeatures: [...features] });
    current = device;
    const tell = (error: PeregrineError) => current === device && onError(error);
    // Errors that no scope catches leave buffers as they were: the answers after them would be wrong without a word.
    device.addEventListener("uncapturederror", ({ error }) => {
      const memory = error instanceof GPUOutOfMemoryError;
      tell(makeError(memory ? "out-of-memory" : "gpu", memory ? `out of GPU memory: ${error.message}` : `GPU error: ${error.message}`));
    });
    void device.lost.then(({ reason, message }) => tell(makeError("device-lost", `the GPU device was lost: ${message || reason}`)));
    return device;
  };
}
