/** What answers: a model on this device, or a server behind it. */

import type { Engine, EngineInfo, ServerInfo } from "peregrine";

/** Either of them. */
export type Answerer = Engine<EngineInfo | ServerInfo>;

/** Whether the model is on this device: then it has a tokenizer, and states to keep. */
export const isDevice = (engine: Answerer): engine is Engine => engine.info.where !== "server";

/** The server's host, as people know it; undefined where the device answers. */
export function hostOf(info: EngineInfo | ServerInfo | undefined): string | undefined {
  return info?.where === "server" ? new URL(info.address).host : undefined;
}

/** What tells the model on this device from others. */
export function modelOf({ info: { model } }: Answerer): string {
  return JSON.stringify("formats" in model ? [model.name, model.parameters, model.bytes, model.formats] : [model.name]);
}
