/** What a model is loaded with. Made from the types of the crate peregrine by `make types`. */

/** What an option may be: one of some words, true or false, a number of at least `min`. */
export type Kind = readonly string[] | "boolean" | { min: number; whole: boolean };

/** What a model is loaded with. */
export interface LoadOptions {
  /**
   * Most tokens of a conversation. Default: what the model was made for, or what fits.
   *
   * With a memory budget it is what fits that. Without one, in a browser, what fits half of the
   * memory that it says the device has (4 GB where it says nothing), and 4096 tokens at least.
   * It can grow later.
   */
  contextLength?: number;
  /**
   * How keys and values are kept: f16 (default), f32 as they were computed, in twice the memory,
   * or q8 in little more than half.
   */
  kvType?: "f16" | "f32" | "q8";
  /**
   * Bytes on the GPU that each conversation may spend on places to go back to when it is edited;
   * 0 keeps none.
   *
   * Default: 256 MiB, or twice its recurrent states where that is more, or what a
   * memory budget leaves; 64 MiB where a browser says that the device has at most 4 GB of
   * memory. Answers on a fast GPU take room for one of them: for the copy with which tokens that
   * were computed ahead are undone when the answer is stopped.
   */
  snapshotBytes?: number;
  /**
   * Bytes of other memory for those places that the GPU has no more room for. Default: 1 GiB; in
   * a browser 256 MiB where it says that the device has at least 8 GB of memory, else 0.
   */
  snapshotHostBytes?: number;
  /**
   * Bytes that the model and one conversation may take on the GPU; a context that nobody asked
   * for gets what the model leaves.
   *
   * Its snapshots are included: they get what is left, unless it is said how many. What all need
   * is known before the first weight is read: a context that was asked for and does not fit is
   * an error that says what would. WebGPU does not tell how much memory a GPU has: who runs the
   * model decides.
   */
  memoryBudget?: number;
}

/** What they may be. */
export const LOAD_OPTIONS = {
  contextLength: { min: 1, whole: true },
  kvType: ["f16", "f32", "q8"],
  snapshotBytes: { min: 0, whole: false },
  snapshotHostBytes: { min: 0, whole: false },
  memoryBudget: { min: 1, whole: false },
} as const satisfies Record<keyof LoadOptions, Kind>;

/** What may be used of the GPU. Everything is chosen by adapter when left out. */
export interface GpuPreferences {
  /** On machines with two GPUs: the fast one (default) or the thrifty one. */
  powerPreference?: "high-performance" | "low-power";
  /** Only WebGPU's default limits and no optional feature, as on the poorest device. */
  baseline?: boolean;
  /** How sums over lanes are made: "subgroup" fails where the adapter has no subgroups. */
  reduction?: "workgroup" | "subgroup";
  /** Kernel shapes made for software adapters (few barriers, small workgroups) or for GPUs. */
  shapes?: "software" | "hardware";
}

/** What they may be. */
export const GPU_OPTIONS = {
  powerPreference: ["high-performance", "low-power"],
  baseline: "boolean",
  reduction: ["workgroup", "subgroup"],
  shapes: ["software", "hardware"],
} as const satisfies Record<keyof GpuPreferences, Kind>;

/** What computes: a GPU where there is one and the processor otherwise, a GPU, or the processor. */
export const DEVICES = ["auto", "gpu", "cpu"] as const;

/** One of them. */
export type DeviceKind = (typeof DEVICES)[number];
