/**
 * What the page and the worker say to each other. Every message is plain data; the worker never
 * starts a conversation.
 */

import type { WireError } from "./errors.js";
import type { DeviceKind, GpuPreferences, LoadOptions } from "./load-options.js";
import type { LogLevel } from "./log.js";
import type { Loras, Usage } from "./openai.js";
import type { QuantizeType } from "./quantize-types.js";

/** What the names of models begin with that were quantized here. */
export const MADE = "stored:";

/** One file at an address. */
export interface RemoteFile {
  url: string;
  /** As people see it. */
  name: string;
  /** What it is kept under; other addresses of the same file have the same. */
  key: string;
  /** Bytes, where that is known beforehand. */
  size?: number;
  /** SHA-256 in hexadecimal, where it is known; the file is checked against it. */
  sha256?: string;
  /** Another one for other bytes, where the checksum is not known. */
  version?: string;
  /** How many files the model has, where no file's name says it. */
  of?: number;
}

/**
 * Where the worker reads the model from. Several files are the parts of one model, in order, or
 * those of a folder, whose name is in front of theirs. The model of the kind "folder" is its
 * address.
 */
export type SourceSpec =
  | { kind: "blobs"; files: { name: string; blob: Blob }[]; /** Whether what is made of them is kept; true unless said otherwise. */ cache?: boolean }
  | { kind: "urls"; model: string; files: RemoteFile[]; cache: boolean; /** Why it is not kept, where nobody asked for that. */ why?: string }
  | { kind: "hub"; model: string; base: string; cache: boolean }
  | { kind: "folder"; model: string; cache: boolean }
  /** One that was quantized here. */
  | { kind: "stored"; model: string };

/** Where an adapter is read from. */
export type AdapterSpec = Exclude<SourceSpec, { kind: "folder" | "stored" }>;

/** What {@link Calls.load} needs. */
export interface LoadRequest {
  source: SourceSpec;
  /** It is quantized to this type first. */
  quantizeTo?: QuantizeType;
  /** None that is undefined. */
  options: LoadOptions;
  /** Likewise. */
  gpu: GpuPreferences;
  /** Default: "auto". */
  device?: DeviceKind;
  /** peregrine_bg.wasm or its address, when it is not beside the worker. */
  wasm?: string | BufferSource | WebAssembly.Module;
  /** grammar_bg.wasm or its address, likewise. */
  grammarWasm?: string | BufferSource | WebAssembly.Module;
  /** The CPU will not do, neither by kernels of its own nor as an adapter. */
  noSoftware?: boolean;
  /** The page has WebGPU itself. */
  onPage?: boolean;
  /** What the page wants to be told. */
  logLevel?: LogLevel;
}

/**
 * Whether a GPU is asked for by name, or how to drive it is said: then nothing else will do. A
 * power preference only says which.
 */
export const namesGpu = ({ device, gpu }: Pick<LoadRequest, "device" | "gpu">): boolean => device === "gpu" || Object.keys(gpu).some((name) => name !== "powerPreference");

/**
 * What must be equal for two pages to have one engine: all that is asked for but where the modules
 * are and what a page is told.
 */
export function sharedBy({ wasm: _wasm, grammarWasm: _grammarWasm, onPage: _onPage, logLevel: _logLevel, ...shared }: LoadRequest): string {
  return JSON.stringify(shared, (_, value: unknown) => (Object.prototype.toString.call(value) === "[object Object]" ? Object.fromEntries(Object.entries(value as object).sort()) : value));
}

/**
 * Progress of loading. The phases overlap: bytes go on to the GPU and are verified while others
 * still arrive.
 */
export type Progress =
  | {
      phase: "download";
      /** Bytes that are here. */
      loaded: number;
      /** Bytes in all; 0 while the server has not said. */
      total: number;
      /** Bytes a second in the last seconds. */
      rate: number;
      /** Bytes that were here before. */
      resumedFrom: number;
    }
  | { phase: "verify"; /** bytes whose checksum is made */ loaded: number; total: number }
  | { phase: "quantize"; /** bytes of tensors in the new format */ loaded: number; total: number }
  | { phase: "upload"; /** bytes on the device */ loaded: number; /** bytes in all */ total: number; /** bytes a second in the last seconds */ rate: number }
  | { phase: "compile"; /** programs ready */ done: number; total: number }
  | {
      /**
       * One way to drive the GPU has been compared with the CPU, as happens before the first answer
       * on a device.
       */
      phase: "check";
      /** As "GPU shapes, subgroup sums". */
      variant: string;
      /** What it computes wrong: it is not used, and the next way is tried. */
      failed?: string;
      /** What the comparison took; missing where the outcome was known. */
      seconds?: number;
    }
  | { phase: "ready" };

/** What is loaded, and where it runs. */
export interface EngineInfo {
  /** Answers are made on this device. */
  where: "device";
  model: {
    /** From the file. */
    name: string;
    /** Number of weights. */
    parameters: number;
    /** Size of the file, bytes. */
    bytes: number;
    /** Block formats of the matrices and how many of each, as "Q4_0 ×56, Q6_K ×1". */
    formats: string;
    vocabSize: number;
    layers: number;
    /** Tokens that a conversation may have. */
    contextLength: number;
    /**
     * Tokens that it may have once {@link Engine.growContext} has asked for them: what the model
     * was made for, and the device can hold in a piece.
     */
    longestContext: number;
  };
  device: {
    /** What computes. */
    kind: "gpu" | "cpu";
    /** As much of the GPU's name as the browser tells; of the CPU how it is used. */
    name: string;
    vendor: string;
    architecture: string;
    /** The CPU computes, by kernels of its own or as an adapter. */
    software: boolean;
    /** Whether the device has subgroups, and whether sums use them. */
    subgroups: boolean;
    reduction: "workgroup" | "subgroup";
    /** Kernels made for GPUs, or for adapters that compute on the CPU. */
    shapes: "software" | "hardware";
    /**
     * Tokens a second of an answer that a CPU will come to, by the time that the first layer took
     * when the model had been loaded.
     */
    tokensPerSecond?: number;
    /** Why these were chosen, and what the comparison with the CPU said before the first answer. */
    why: { kind: string; reduction: string; shapes: string; selfCheck: string };
  };
  memory: {
    /** Bytes of weights on the device. */
    weights: number;
    /**
     * Bytes on the device in all, once a conversation of `contextLength` tokens and its snapshots
     * are full.
     */
    needed: number;
    /** Most of these that snapshots take: places of the conversation to go back to. */
    snapshots: number;
    /**
     * Most bytes of the browser's own memory that snapshots take for which the GPU has no more
     * room.
     */
    snapshotsHost: number;
    /**
     * Bytes of the wasm heap after loading; with a GPU it hardly grows after that. On the processor
     * the model lies in it, and it grows with conversations, to about `needed`.
     */
    wasm: number;
  };
  /**
   * Seconds of loading, by what the worker did in them: it waited for bytes, laid them out for the
   * device, handed them over or waited for it, and waited for programs. Of a model whose bytes were
   * there `model.bytes / loading.read` is the speed of reading.
   */
  loading: { read: number; layOut: number; upload: number; pipelines: number };
  /** Whether the model's bytes are kept on this device, and why not. */
  storage: {
    kept: boolean;
    why: string;
    /**
     * Of a model that was quantized here and is kept: its `id` among the stored ones, by which it
     * loads without its source.
     */
    id?: string;
  };
  /** Adapters that requests may ask for. */
  adapters: LoraInfo[];
}

/** A LoRA adapter beside the model. */
export interface LoraInfo {
  /** What requests call it. */
  id: string;
  /** A folder of PEFT, or a GGUF file. */
  kind: "peft" | "gguf";
  /** Of its matrices, as the worker has them. */
  bytes: number;
  /** On the device beside the model, where a request uses it alone. */
  deviceBytes: number;
  /** The smallest and the largest. */
  ranks: [number, number];
  /** The linear layers that it changes, and in how many layers of the model. */
  targets: { module: string; layers: number }[];
  /** What was left out of it without a loss. */
  notes: string[];
}

/** A request of OpenAI's API. */
export interface ApiRequest {
  kind: "chat" | "completion";
  /** JSON. */
  body: string;
  /** Read the prompt and answer nothing. */
  onlyRead: boolean;
  /** What the response is called, without a prefix. */
  id: string;
  /** Seconds since 1970. */
  created: number;
  /** The model's name. */
  model: string;
  /** For requests that have none. */
  seed: number;
  /** Fail with `busy` when another answer is being written. */
  refuseWhenBusy: boolean;
}

/** The end of a request that was not refused. */
export interface ApiResult {
  /** The response as JSON, where it was not streamed, or nothing was to be answered. */
  whole?: string;
  /** Missing where a server does not say. */
  usage: Usage | undefined;
  /** It was stopped. */
  cancelled: boolean;
}

/** One stage of a step. */
export interface ProfileStage {
  /** What is computed; "step" is all of it. */
  name: string;
  dispatches: number;
  /** On the GPU. */
  seconds: number;
  /** Bytes of weights that were read. */
  weightBytes: number;
}

/** What {@link Engine.check} found. */
export interface CheckReport {
  /** Nothing differs. */
  ok: boolean;
  comparisons: number;
  /** The first stage that differs, and how. */
  first?: string;
  /** The worst comparison of each kind of stage, in the order of the model. */
  stages: {
    stage: string;
    count: number;
    /** The largest difference, and that as a share of the largest value. */
    difference: number;
    relative: number;
    /** Where it is. */
    worst: string;
    ok: boolean;
  }[];
}

/** The calls the worker answers: what it is given, what it answers, what it reports on the way. */
export interface Calls {
  load: { request: LoadRequest; result: EngineInfo; event: Progress };
  /** Downloads only; a SharedWorker cannot write files. */
  fetch: { request: Pick<LoadRequest, "source" | "quantizeTo" | "wasm">; result: EngineInfo["storage"]; event: Progress };
  /**
   * An event is a chunk of a stream as JSON; the first one is empty: nothing is wrong with the
   * request.
   */
  respond: { request: ApiRequest; result: ApiResult; event: string };
  /** `GET /v1/models`, as JSON. */
  models: { request: null; result: string; event: never };
  encode: { request: { text: string; addBos: boolean }; result: number[]; event: never };
  decode: { request: { ids: number[] }; result: string; event: never };
  /** The conversation's state as a file, and back. */
  save: { request: null; result: Blob; event: never };
  restore: { request: { state: Blob; lora: Loras }; result: null; event: never };
  logits: { request: { ids: number[]; last: number; oneByOne: number; chunk: number; lora: Loras }; result: Float32Array; event: never };
  check: { request: { tokens: number; lora: Loras }; result: CheckReport; event: number };
  profile: { request: { tokens: number; lora: Loras }; result: ProfileStage[]; event: never };
  /** The tokens that a conversation may have now. */
  growContext: { request: { contextLength: number }; result: number; event: never };
  /** Of a hub id the files of an adapter are read, not those of a model. */
  addLora: { request: { source: AdapterSpec; id: string }; result: LoraInfo; event: never };
  listLora: { request: null; result: LoraInfo[]; event: never };
  /** Whether there was one. */
  removeLora: { request: { id: string }; result: boolean; event: never };
  dispose: { request: null; result: null; event: never };
}

/** Name of a call. */
export type CallName = keyof Calls;

/**
 * Page to worker. `abort` stops the call of that id: an answer at its next token. `hello` names a
 * lock that the page holds as long as it lives: a SharedWorker learns so that a tab was closed.
 */
export type ToWorker =
  | { [C in CallName]: { type: "call"; id: number; call: C; request: Calls[C]["request"] } }[CallName]
  | { type: "abort"; id: number }
  | { type: "hello"; lock: string };

/**
 * What happens to the device. `lost`: the model is loaded again when it is next needed; `reloaded`:
 * it has been. `adapters`: one has come, or has gone. `grown`: the context is longer.
 */
export type News =
  | { type: "lost"; error: WireError }
  | { type: "reloaded"; info: EngineInfo }
  | { type: "adapters"; adapters: LoraInfo[] }
  | ({ type: "grown" } & Pick<EngineInfo, "model" | "memory">);

/**
 * Worker to page. `hello` is the answer to the first call: the worker is there. `broken`: the
 * engine cannot go on (lost device, GPU error, crash); every open call fails with it.
 */
export type FromWorker =
  | { type: "hello" }
  | { type: "log"; level: Exclude<LogLevel, "off">; text: string }
  | { type: "event"; id: number; event: unknown }
  | { type: "result"; id: number; result: unknown }
  | { type: "error"; id: number; error: WireError }
  | News
  | { type: "broken"; error: WireError };

/**
 * One side of the line between page and worker: a Worker, a MessagePort, or a worker's global
 * scope.
 */
export interface Port {
  postMessage(message: unknown): void;
  addEventListener(type: "message", listener: (event: MessageEvent) => void): void;
}
