/** Where an engine computes: on the GPU, or on the processor, and why. */

import { GpuWay } from "./device.js";
import { isOfGpu, makeError, type PeregrineError } from "../errors.js";
import type { Log } from "../log.js";
import { namesGpu, type LoadRequest } from "../protocol.js";

/** The GPU with the way to it, or the processor with the reason for it. */
export type Place = { kind: "gpu"; way: GpuWay } | { kind: "cpu"; why: string };

/** Whether the processor will do: nobody has named a GPU, and nobody wants a server instead. */
export const takesProcessor = (request: LoadRequest): boolean => request.device !== "cpu" && !namesGpu(request) && !request.noSoftware;

/**
 * Finds the device: a GPU; else, where that will do, the processor, which is faster than any
 * adapter in software. `onError` hears of the GPU's devices. `isPatient`: there was an adapter a
 * moment ago.
 * @throws NoGpuError that says what is missing
 */
export async function findPlace(request: LoadRequest, onError: (error: PeregrineError) => void, log: Log, isPatient: boolean): Promise<Place> {
  const { device, gpu, noSoftware, onPage } = request;
  if (device === "cpu") return { kind: "cpu", why: "the app asked for it" };
  const insists = namesGpu(request);
  let why: string;
  try {
    const way = await GpuWay.find(gpu, onPage ?? false, onError, log, isPatient || insists);
    if (!way.facts.software || (insists && !noSoftware)) return { kind: "gpu", way };
    why = `the only adapter computes on the CPU (${way.facts.name})`;
  } catch (error) {
    if (insists || !isOfGpu(error as PeregrineError)) throw error;
    why = (error as PeregrineError).message;
  }
  if (noSoftware) throw makeError("too-slow", `there is no GPU for it: ${why}`);
  return { kind: "cpu", why };
}
