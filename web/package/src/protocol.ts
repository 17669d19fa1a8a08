/** What the page and the worker say to each other. Every message is plain data; the worker never starts a conversation. */

import type { WireError } from "./errors.js";

/** Where the worker reads the model from. */
export type SourceSpec = { kind: "url"; url: string } | { kind: "blob"; blob: Blob; name: string };

/** What the engine may use of the GPU. Everything is chosen by adapter when left out. */
export interface GpuPreferences {
  /** On machines with two GPUs: the fast one (default) or the thrifty one. */
  powerPreference?: "high-performance" | "low-power";
  /** Only WebGPU's default limits and no optional feature, as on the poorest device. */
  baseline?: boolean;
  /** How sums over lanes are made: "subgroup" fails where the adapter has no subgroups. */
  reduction?: "workgroup" | "subgroup";
  /** Kernel shapes made for software adapters or for GPUs. */
  shapes?: "software" | "hardware";
}

/** What {@link Calls.load} needs. */
export interface LoadRequest {
  source: SourceSpec;
  gpu: GpuPreferences;
  /** Tokens that a conversation may have; the engine's default when left out. */
  contextLength?: number;
  /** Address of peregrine_bg.wasm, when it is not beside the worker. */
  wasmUrl?: string;
}

/** Progress of loading, in the order of the phases; `upload` and `download` alternate, as bytes go on to the GPU in pieces. */
export type Progress =
  | { phase: "download"; /** bytes so far */ loaded: number; /** bytes in all */ total: number }
  | { phase: "upload"; /** bytes on the GPU */ loaded: number; /** bytes in all */ total: number }
  | { phase: "compile"; /** GPU programs ready */ done: number; total: number }
  | { phase: "ready" };

/** What is loaded, and where it runs. */
export interface EngineInfo {
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
  };
  device: {
    /** As much of the GPU's name as the browser tells. */
    name: string;
    vendor: string;
    architecture: string;
    /** The CPU computes: slow. */
    software: boolean;
    /** Whether the device has subgroups, and whether sums use them. */
    subgroups: boolean;
    reduction: "workgroup" | "subgroup";
  };
}

/** One message of a conversation. */
export interface WireMessage {
  role: string;
  content: string;
}

/** What {@link Calls.chat} needs; numbers are checked. */
export interface ChatRequest {
  messages: WireMessage[];
  maxTokens: number;
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  seed: number;
}

/** A piece of an answer: one token, and the text that became complete with it (maybe none). */
export interface Piece {
  token: number;
  text: string;
}

/** The end of an answer. */
export interface ChatResult {
  /** Text after the last piece (half a character that will not be completed). */
  text: string;
  ids: number[];
  finish: "stop" | "length" | "context" | "cancelled";
  promptTokens: number;
  cachedTokens: number;
  /** Until the first token. */
  prefillSeconds: number;
  /** From the first token to the last. */
  decodeSeconds: number;
}

/** The calls the worker answers: what it is given, what it answers, what it reports on the way. */
export interface Calls {
  load: { request: LoadRequest; result: EngineInfo; event: Progress };
  chat: { request: ChatRequest; result: ChatResult; event: Piece };
  encode: { request: { text: string; addBos: boolean }; result: number[]; event: never };
  decode: { request: { ids: number[] }; result: string; event: never };
  dispose: { request: null; result: null; event: never };
}

/** Name of a call. */
export type CallName = keyof Calls;

/** Page to worker. `abort` stops the chat of that id at its next token. */
export type ToWorker =
  | { [C in CallName]: { type: "call"; id: number; call: C; request: Calls[C]["request"] } }[CallName]
  | { type: "abort"; id: number };

/** Worker to page. `broken`: the engine cannot go on (lost device, GPU error, crash); every open call fails with it. */
export type FromWorker =
  | { type: "event"; id: number; event: unknown }
  | { type: "result"; id: number; result: unknown }
  | { type: "error"; id: number; error: WireError }
  | { type: "broken"; error: WireError };
