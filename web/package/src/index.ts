/**
 * Falcon-H1 language models in a browser tab, on WebGPU.
 * @packageDocumentation
 */

export { createEngine, Engine, ChatCompletions, Tokenizer } from "./engine.js";
export type { CallOptions, EngineOptions } from "./engine.js";
export { ChatStream } from "./stream.js";
export type {
  ChatCompletion,
  ChatCompletionChunk,
  ChatCompletionParams,
  ChatMessage,
  FinishReason,
  Usage,
} from "./openai.js";
export type { EngineInfo, GpuPreferences, Progress } from "./protocol.js";
export {
  AbortError,
  DeviceLostError,
  DownloadError,
  GpuError,
  ModelFileError,
  NoGpuError,
  OutOfMemoryError,
  PeregrineError,
  RequestError,
} from "./errors.js";
export type { ErrorCode } from "./errors.js";
