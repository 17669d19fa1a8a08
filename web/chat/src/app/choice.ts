/** Which model, or server, a person has chosen, and remembers. */

import type { QuantizeType } from "peregrine";
import { keptServer } from "./server.js";

/** What is made smaller before it is loaded. */
export interface Quantized {
  quantizeTo?: QuantizeType;
}

/** What a person has chosen. */
export type Choice =
  | { kind: "embedded" }
  | { kind: "file"; file: File }
  | ({ kind: "folder"; files: readonly File[] } & Quantized)
  | ({ kind: "remote"; model: string } & Quantized)
  | { kind: "server" };

/**
 * A model on the hub or at an address as a text: its name, and in a second line what it is made
 * smaller to.
 */
export const textOf = ({ model, quantizeTo }: { model: string } & Quantized): string => (quantizeTo ? `${model}\n${quantizeTo}` : model);

/** What such a text means. */
export function remoteOf(text: string): Extract<Choice, { kind: "remote" }> {
  const [model = "", quantizeTo] = text.split("\n");
  return { kind: "remote", model, ...(quantizeTo && { quantizeTo: quantizeTo as QuantizeType }) };
}

const KEY = "peregrine.model";
/** What stands there where a server was chosen; no model has this name. */
const SERVER = "server:";

/** What was chosen last; files cannot be opened again without the person. */
export function lastChoice(): Choice {
  try {
    const model = localStorage.getItem(KEY);
    if (model === SERVER) return { kind: keptServer() ? "server" : "embedded" };
    return model ? remoteOf(model) : { kind: "embedded" };
  } catch {
    return { kind: "embedded" };
  }
}

export function rememberChoice(choice: Choice): void {
  try {
    if (choice.kind === "remote" || choice.kind === "server") localStorage.setItem(KEY, choice.kind === "remote" ? textOf(choice) : SERVER);
    else localStorage.removeItem(KEY);
  } catch {
    // The next visit begins with the embedded model then.
  }
}

/** Whether two names are of one model: addresses are kept in full. */
export function isSameModel(a: string, b: string): boolean {
  const full = (model: string) => (URL.canParse(model, document.baseURI) ? new URL(model, document.baseURI).href : model);
  return a === b || full(a) === full(b);
}

/** Whether two choices are the same model. */
export function isSame(a: Choice, b: Choice): boolean {
  if (a.kind === "remote" && b.kind === "remote") return a.quantizeTo === b.quantizeTo && isSameModel(a.model, b.model);
  if (a.kind === "file" && b.kind === "file") return a.file === b.file;
  if (a.kind === "folder" && b.kind === "folder") return a.files === b.files;
  return a.kind === b.kind;
}
