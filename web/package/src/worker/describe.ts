/** What the page is told of an engine, and what an engine is given that the page did not say. */

import type { WebEngine } from "../../wasm/peregrine.js";
import type { AdapterFacts } from "./device.js";
import { toldGigabytes } from "../device-memory.js";
import type { Place } from "./place.js";
import type { LoadOptions } from "../load-options.js";
import { namesGpu, type EngineInfo, type LoadRequest, type LoraInfo } from "../protocol.js";

/** Where the seconds of loading went, for a line of a log. */
export function inWords({ read, layOut, upload, pipelines }: EngineInfo["loading"]): string {
  const milliseconds = (seconds: number) => Math.round(1000 * seconds);
  return `${milliseconds(read)} for reading, ${milliseconds(layOut)} for laying out, ${milliseconds(upload)} for the device, ${milliseconds(pipelines)} for programs`;
}

/** Of the processor nothing is told. */
const NO_FACTS: AdapterFacts = { name: "", vendor: "", architecture: "", software: true, subgroups: false };

/** What is loaded, and where it runs; `wasm`: bytes of the wasm heap. */
export function describe(engine: WebEngine, place: Place, request: LoadRequest, storage: EngineInfo["storage"], wasm: number, adapters: LoraInfo[] = []): EngineInfo {
  const { baseline, reduction, shapes } = request.gpu;
  const info = engine.info() as Pick<EngineInfo, "model" | "memory" | "loading"> & {
    device: Omit<EngineInfo["device"], "vendor" | "architecture" | "subgroups" | "why">;
    selfCheck: { variant: string; failed?: string; isWrong?: boolean }[];
  };
  const OTHERS_FAIL = "the other way fails its self-check";
  // The first way is the one that was asked for or that suits the adapter, the last one is used.
  const ways = [info.selfCheck[0], info.selfCheck.at(-1)];
  /** Whether that word of theirs differs, as "GPU shapes" or "workgroup sums". */
  const changed = (what: "sums" | "shapes") => new Set(ways.map((way) => way?.variant.split(", ").find((word) => word.endsWith(what)))).size > 1;
  const { vendor, architecture, subgroups } = place.kind === "cpu" ? NO_FACTS : place.way.facts;
  const failed = info.selfCheck.filter((tried) => tried.failed !== undefined);
  const told = (ways: typeof failed) => ways.map((tried) => `${tried.variant} (${tried.failed})`).join("; ");
  const [wrong, others] = [failed.filter(({ isWrong }) => isWrong), failed.filter(({ isWrong }) => !isWrong)];
  const selfCheck =
    failed.length === 0
      ? "results are right, compared with the CPU"
      : [wrong.length > 0 && `not used, since they compute wrong results on this device: ${told(wrong)}`, others.length > 0 && `could not be used: ${told(others)}`]
          .filter(Boolean)
          .join("; ");
  const OWN = "the processor has kernels of its own";
  const ofCpu = (kind: string) => ({ kind, reduction: OWN, shapes: OWN, selfCheck: "not needed: no driver has made these kernels" });
  const ofGpu = () => ({
    kind: namesGpu(request) ? "the app asked for it" : "there is a GPU",
    reduction: changed("sums")
      ? OTHERS_FAIL
      : reduction
      ? "the app asked for it"
      : info.device.reduction === "subgroup"
        ? "the GPU has subgroups of at least 8 lanes"
        : baseline || !subgroups
          ? "there are no subgroups"
          : "subgroups gain nothing on this adapter",
    shapes: changed("shapes") ? OTHERS_FAIL : shapes ? "the app asked for it" : info.device.software ? "the CPU computes" : "a GPU computes",
    selfCheck,
  });
  const why = place.kind === "cpu" ? ofCpu(place.why) : ofGpu();
  const device = { ...info.device, vendor, architecture, subgroups: subgroups && !baseline, why };
  return { where: "device", model: info.model, device, memory: { ...info.memory, wasm }, loading: info.loading, storage, adapters };
}

/**
 * What was asked for, or what fits the device as far as the browser tells (whole gigabytes, at most
 * 8; Firefox and Safari nothing). Where the app has a budget, snapshots get what that leaves, and
 * nothing beside the GPU.
 */
export function snapshotBudgets({ snapshotBytes, snapshotHostBytes, memoryBudget }: LoadOptions, kind: Place["kind"] = "gpu"): Pick<LoadOptions, "snapshotBytes" | "snapshotHostBytes"> {
  // Nor has the CPU other memory than its own.
  if (memoryBudget !== undefined || kind === "cpu") return { ...(snapshotBytes === undefined ? {} : { snapshotBytes }), snapshotHostBytes: snapshotHostBytes ?? 0 };
  const gigabytes = toldGigabytes();
  const small = gigabytes !== undefined && gigabytes <= 4;
  const large = gigabytes !== undefined && gigabytes >= 8;
  return { snapshotBytes: snapshotBytes ?? (small ? 64 : 256) * 2 ** 20, snapshotHostBytes: snapshotHostBytes ?? (large ? 256 : 0) * 2 ** 20 };
}
