/**
 * Falcon-H1 language models in a browser tab, on WebGPU.
 * @packageDocumentation
 */

export { createEngine, downloadModel } from "./page/create.js";
export type { DownloadOptions, EngineOptions } from "./page/create.js";
export { Engine, Tokenizer } from "./page/engine.js";
export type { OnWhere, ServerInfo, ServerOptions, ServerReason } from "./page/behind.js";
export { LoraAdapters } from "./page/lora.js";
export type { LoraOptions } from "./page/lora.js";
export type { LoraSource } from "./page/lora-source.js";
export type { EngineEvents } from "./page/listeners.js";
export { ChatCompletions, Completions } from "./page/completions.js";
export type { CallOptions, ChatStream, CompletionStream, PrefillOptions } from "./page/completions.js";
export { AnswerStream } from "./page/stream.js";
export type { WorkerChoice } from "./connections.js";
export type { ModelSource, SourceOptions } from "./page/model.js";
export { defaultContext, longestContext, memoryNeeded, readNeeds } from "./page/memory.js";
export type { KvType, ModelNeeds, ModelShape, NeedsOptions } from "./page/memory.js";
export { deleteModel, exportModel, listModels, persist, storageEstimate } from "./download/kept.js";
export type { StoredModel } from "./download/kept.js";
export type {
  AssistantMessage,
  CalledFunction,
  ChatChoice,
  ChatCompletion,
  ChatCompletionChunk,
  ChatCompletionParams,
  ChatMessage,
  ChunkChoice,
  Completion,
  CompletionParams,
  ContentLogprob,
  Delta,
  FinishReason,
  GenerationParams,
  JsonSchemaFormat,
  LogitBias,
  Logprobs,
  LoraChoice,
  Loras,
  PromptTokensDetails,
  ResponseFormat,
  Role,
  Stop,
  StreamOptions,
  TextChoice,
  TextPart,
  Timings,
  TokenLogprob,
  Tool,
  ToolCall,
  ToolCallPiece,
  ToolCallFormat,
  ToolChoice,
  ToolFunction,
  Tools,
  Truncation,
  Usage,
} from "./openai.js";
export type { DeviceKind, GpuPreferences, LoadOptions } from "./load-options.js";
export type { Logger, LogLevel } from "./log.js";
export type { CheckReport, EngineInfo, LoraInfo, ProfileStage, Progress } from "./protocol.js";
export type { QuantizeType } from "./quantize-types.js";
export {
  AbortError,
  DeviceLostError,
  DownloadError,
  EnvironmentError,
  GpuError,
  ModelFileError,
  type MemoryFit,
  NoGpuError,
  OutOfMemoryError,
  PeregrineError,
  RequestError,
  ServerError,
  StorageError,
  TimeoutError,
} from "./errors.js";
export type { ApiFields, ErrorCode } from "./errors.js";
