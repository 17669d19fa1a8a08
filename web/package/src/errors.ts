/**
 * Errors. Each has a stable `code` for programs, a `message` that says what happened, and an
 * `advice` that says what a person can do about it. The classes group the codes by what an app
 * would do.
 */

/** Every error that this package throws on purpose. */
export class PeregrineError extends Error {
  override name = "PeregrineError";
  /** Stable, kebab-case; the list is {@link ErrorCode}. */
  readonly code: ErrorCode;
  /** One sentence: what to do. */
  readonly advice: string;
  /** Of a request that was refused, or failed: what OpenAI's API says of it. */
  readonly api?: ApiFields;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions & { api?: ApiFields }) {
    super(message, options);
    this.code = code;
    this.advice = ADVICE[code];
    if (options?.api) this.api = options.api;
  }

  /** What `JSON.stringify` tells; of an error it would leave out the message. */
  toJSON(): { name: string; code: ErrorCode; message: string; advice: string; fit?: MemoryFit } {
    const { name, code, message, advice, fit } = this as PeregrineError & { fit?: MemoryFit };
    return fit ? { name, code, message, advice, fit } : { name, code, message, advice };
  }
}

/** Fields of OpenAI's error object, and the HTTP status that goes with it. */
export interface ApiFields {
  status: number;
  type: string;
  /** The field that is to blame, as a path: `messages[2].content`. */
  param: string | null;
  code: string;
}

/**
 * The place where the code runs lacks something that the engine needs, or forbids it: workers, or
 * WebAssembly.
 */
export class EnvironmentError extends PeregrineError {
  override name = "EnvironmentError";
}

/** There is no WebGPU here, or no adapter that can run the engine. */
export class NoGpuError extends PeregrineError {
  override name = "NoGpuError";
}
/** The server behind the device cannot be reached, or does not answer as OpenAI's API does. */
export class ServerError extends PeregrineError {
  override name = "ServerError";
}
/**
 * The device went away (driver reset, sleep, another page crashed the GPU process). Create a new
 * engine.
 */
export class DeviceLostError extends PeregrineError {
  override name = "DeviceLostError";
}
/**
 * The GPU has not enough memory for the model or the context, or the app allows less than they
 * need.
 */
export class OutOfMemoryError extends PeregrineError {
  override name = "OutOfMemoryError";
  /** Where `memoryBudget` was too small: by how much, and what would fit. */
  readonly fit?: MemoryFit;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions & { fit?: MemoryFit; api?: ApiFields }) {
    super(code, message, options);
    if (options?.fit) this.fit = options.fit;
  }
}
/** What a model needs on the GPU, and what it was allowed. */
export interface MemoryFit {
  /**
   * Bytes for weights, activations, and states and caches of a conversation of `contextLength`
   * tokens.
   */
  needed: number;
  /** Bytes that were allowed. */
  budget: number;
  contextLength: number;
  /** The largest `contextLength` that would fit; missing where none would. */
  largestContext?: number;
}
/** The GPU or its driver reported an error: nothing that was computed since can be trusted. */
export class GpuError extends PeregrineError {
  override name = "GpuError";
}
/** The model file is damaged, or not one that this engine runs. */
export class ModelFileError extends PeregrineError {
  override name = "ModelFileError";
}
/** The bytes of the model, or of the engine itself, could not be had. */
export class DownloadError extends PeregrineError {
  override name = "DownloadError";
}
/** The browser cannot keep the model's bytes. */
export class StorageError extends PeregrineError {
  override name = "StorageError";
}
/**
 * The request is wrong, or asks for something that is not supported; the message names the field.
 */
export class RequestError extends PeregrineError {
  override name = "RequestError";
}
/** The work was stopped by its AbortSignal. */
export class AbortError extends PeregrineError {
  override name = "AbortError";
}
/** The work was stopped by an `AbortSignal.timeout`. */
export class TimeoutError extends PeregrineError {
  override name = "TimeoutError";
}

const RELOAD = "Reload the page; if it happens again, update the browser and the graphics driver.";
const OTHER_FILE = "Download the file again, or open another one.";
const SUPPORTED = "Open a Falcon-H1 GGUF file.";
const FIX_REQUEST = "Change the request.";
const WORKERS =
  'Serve the package from the app\'s own address and allow its worker (worker-src, or the policy "peregrine" under Trusted Types), or give the option `worker`: one that the app made, or "here".';

const ADVICE = {
  "no-webgpu": "Use a browser with WebGPU, over https or on localhost.",
  "no-worker": WORKERS,
  "no-wasm": "Allow 'wasm-unsafe-eval' in script-src of the Content-Security-Policy, or use a browser with WebAssembly and its SIMD (Chrome 91, Firefox 89, Safari 16.4, or newer).",
  "no-gpu": "Turn on hardware acceleration in the browser's settings and update the graphics driver.",
  "too-slow": "Use a browser that has a GPU to itself, or allow the CPU: leave \"too-slow\" out of `server.when`.",
  "server-unreachable": "Check the connection and `server.baseURL`, and that the server runs and allows this page's origin.",
  "server-failed": "Try again; if it happens again, look at the server, and at `server.baseURL`, `server.apiKey` and `server.model`.",
  "device-lost": "Load the model again; close other programs that use the GPU if it happens often.",
  "out-of-memory": "Use a smaller model or a shorter context, and close other tabs and programs that use the GPU.",
  gpu: RELOAD,
  "not-finite": "Ask again; if it happens again, check the device (engine.check()), and update the browser and the graphics driver.",
  "self-check": "Update the browser and the graphics driver, or use another browser or device: this one would give wrong answers.",
  "not-gguf": SUPPORTED,
  truncated: OTHER_FILE,
  malformed: OTHER_FILE,
  unsupported: SUPPORTED,
  "missing-tensor": OTHER_FILE,
  "missing-field": OTHER_FILE,
  "tensor-shape": OTHER_FILE,
  tokenizer: OTHER_FILE,
  template: OTHER_FILE,
  http: "Check the connection and the address, then try again.",
  "engine-file": "Reload the page; if it happens again, serve the .wasm files of this version of the package, and name their addresses with the options `wasmUrl` and `grammarUrl`.",
  io: "Choose the file again: it may have been moved or changed.",
  integrity: "Load the model again: the damaged copy was deleted.",
  quota: "Delete stored models or make room on this device; what has been downloaded is kept. Or load with cache: false.",
  busy: "Wait until the other answer, load or tab is done.",
  "token-out-of-range": FIX_REQUEST,
  "context-full": "Start a new chat, or make the message shorter.",
  sampling: FIX_REQUEST,
  grammar: FIX_REQUEST,
  argument: FIX_REQUEST,
  "not-supported": FIX_REQUEST,
  cancelled: "Nothing: the work was stopped as asked.",
  timeout: "Try again, or allow more time.",
  disposed: "Create a new engine.",
  internal: RELOAD,
} as const;

/** Codes of {@link PeregrineError}. */
export type ErrorCode = keyof typeof ADVICE;

const CLASSES: Partial<Record<ErrorCode, typeof PeregrineError>> = {
  "no-webgpu": NoGpuError,
  "no-gpu": NoGpuError,
  "too-slow": NoGpuError,
  "server-unreachable": ServerError,
  "server-failed": ServerError,
  "no-worker": EnvironmentError,
  "no-wasm": EnvironmentError,
  "device-lost": DeviceLostError,
  "out-of-memory": OutOfMemoryError,
  gpu: GpuError,
  "not-finite": GpuError,
  "self-check": GpuError,
  "not-gguf": ModelFileError,
  truncated: ModelFileError,
  malformed: ModelFileError,
  unsupported: ModelFileError,
  "missing-tensor": ModelFileError,
  "missing-field": ModelFileError,
  "tensor-shape": ModelFileError,
  tokenizer: ModelFileError,
  template: ModelFileError,
  http: DownloadError,
  "engine-file": DownloadError,
  io: DownloadError,
  integrity: DownloadError,
  quota: StorageError,
  busy: RequestError,
  "token-out-of-range": RequestError,
  "context-full": RequestError,
  sampling: RequestError,
  grammar: RequestError,
  argument: RequestError,
  "not-supported": RequestError,
  cancelled: AbortError,
  timeout: TimeoutError,
};

/** What of an error crosses between the worker and the page. */
export interface WireError {
  code: string;
  message: string;
  fit?: MemoryFit;
  api?: ApiFields;
}

/**
 * The error of the right class for a code; a code this version does not know becomes `internal`.
 */
export function makeError(code: string, message: string, options?: ErrorOptions & { fit?: MemoryFit; api?: ApiFields }): PeregrineError {
  const known: ErrorCode = Object.hasOwn(ADVICE, code) ? (code as ErrorCode) : "internal";
  return new (CLASSES[known] ?? PeregrineError)(known, message, options);
}

/** Anything thrown, as a code and a message. What has no code of ours is a bug, and says so. */
export function toWire(thrown: unknown): WireError {
  if (typeof thrown === "object" && thrown !== null) {
    const { code, message, name, fit, api } = thrown as { code?: unknown; message?: unknown; name?: unknown; fit?: MemoryFit; api?: ApiFields };
    const text = typeof message === "string" ? message : String(thrown);
    if (typeof code === "string") return { code, message: text, ...(fit && { fit }), ...(api && { api }) };
    return { code: "internal", message: typeof name === "string" ? `${name}: ${text}` : text };
  }
  return { code: "internal", message: String(thrown) };
}

/** An AbortSignal's reason as our error, keeping the reason as the cause. */
export function abortError(signal?: AbortSignal): AbortError | TimeoutError {
  const cause: unknown = signal?.reason;
  const isTimeout = (cause as { name?: unknown } | undefined)?.name === "TimeoutError";
  return isTimeout ? makeError("timeout", "the time that was allowed is over", { cause }) : makeError("cancelled", "stopped", { cause });
}

/** Whether it says what is wrong with a GPU: another device may do. */
export const isOfGpu = ({ code }: PeregrineError): boolean => ["no-webgpu", "no-gpu", "gpu", "device-lost", "self-check"].includes(code);
