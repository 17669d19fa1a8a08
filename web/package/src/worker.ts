/** The worker: owns the wasm module and the GPU, answers the page's calls in the order in which they come. */

import init, { WebEngine } from "../wasm/peregrine.js";
import { examineAdapter, watchDevices } from "./device.js";
import { makeError, toWire, type PeregrineError } from "./errors.js";
import type { Calls, ChatRequest, EngineInfo, FromWorker, LoadRequest, Piece, Progress, ToWorker } from "./protocol.js";
import { openSource } from "./source.js";

let engine: WebEngine | undefined;
let broken: PeregrineError | undefined;
let baseline = false;
let disposing = false;
/** The end of everything that was asked so far. */
let queue: Promise<unknown> = Promise.resolve();
/** Chats that were asked for and are to stop. */
const aborted = new Set<number>();

const post = (message: FromWorker) => self.postMessage(message);

function breakDown(error: PeregrineError): void {
  // A device that is destroyed on purpose is lost, too. The first report is the cause of the others.
  if (broken || disposing) return;
  broken = error;
  post({ type: "broken", error: toWire(error) });
}

async function load(id: number, request: LoadRequest): Promise<EngineInfo> {
  const report = (event: Progress) => post({ type: "event", id, event });
  baseline = request.gpu.baseline ?? false;
  const facts = await examineAdapter(request.gpu);
  watchDevices(() => baseline, breakDown);
  await init(request.wasmUrl === undefined ? undefined : { module_or_path: request.wasmUrl });
  const source = await openSource(request.source, (loaded, total) => report({ phase: "download", loaded, total }));
  const read = (offset: number, length: number) => source.read(offset, length);
  const options = { ...request.gpu, contextLength: request.contextLength, ...facts };
  engine = await WebEngine.load(source.name, source.size, read, options, report);
  report({ phase: "ready" });
  const { vendor, architecture, subgroups } = facts;
  const info = engine.info() as { model: EngineInfo["model"]; device: Pick<EngineInfo["device"], "name" | "software" | "reduction"> };
  return { model: info.model, device: { ...info.device, vendor, architecture, subgroups: subgroups && !baseline } };
}

function loaded(): WebEngine {
  if (!engine) throw makeError("internal", "no model is loaded");
  return engine;
}

async function chat(id: number, request: ChatRequest): Promise<Calls["chat"]["result"]> {
  const onPiece = (token: number, text: string) => post({ type: "event", id, event: { token, text } satisfies Piece });
  return (await loaded().chat(request, onPiece, () => aborted.has(id))) as Calls["chat"]["result"];
}

async function answer(message: Extract<ToWorker, { type: "call" }>): Promise<unknown> {
  switch (message.call) {
    case "load":
      return load(message.id, message.request);
    case "chat":
      return aborted.has(message.id) ? Promise.reject(makeError("cancelled", "stopped")) : chat(message.id, message.request);
    case "encode":
      return Array.from(loaded().encode(message.request.text, message.request.addBos));
    case "decode":
      return loaded().decode(Uint32Array.from(message.request.ids));
    case "dispose":
      disposing = true;
      engine?.free();
      engine = undefined;
      return null;
  }
}

self.addEventListener("message", ({ data: message }: MessageEvent<ToWorker>) => {
  if (message.type === "abort") {
    aborted.add(message.id);
    return;
  }
  queue = queue.then(async () => {
    const { id } = message;
    try {
      if (broken && message.call !== "dispose") throw broken;
      const result = await answer(message);
      // A GPU error shows after the work that it spoils.
      if (broken) throw broken;
      post({ type: "result", id, result });
    } catch (thrown) {
      const error = toWire(broken ?? thrown);
      // A trap in wasm leaves its memory in an unknown state.
      if (!broken && thrown instanceof WebAssembly.RuntimeError) breakDown(makeError("internal", `the engine crashed: ${thrown.message}`));
      post({ type: "error", id, error });
    }
    aborted.delete(id);
  });
});
