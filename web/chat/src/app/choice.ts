/** Which model, or server, a person has chosen, and remembers. */

import { keptServer } from "./server.js";

/** What a person has chosen. */
export type Choice = { kind: "embedded" } | { kind: "file"; file: File } | { kind: "remote"; model: string } | { kind: "server" };

const KEY = "peregrine.model";
/** What stands there where a server was chosen; no model has this name. */
const SERVER = "server:";

/** What was chosen last; files cannot be opened again without the person. */
export function lastChoice(): Choice {
  try {
    const model = localStorage.getItem(KEY);
    if (model === SERVER) return { kind: keptServer() ? "server" : "embedded" };
    return model ? { kind: "remote", model } : { kind: "embedded" };
  } catch {
    return { kind: "embedded" };
  }
}

export function rememberChoice(choice: Choice): void {
  try {
    if (choice.kind === "remote" || choice.kind === "server") localStorage.setItem(KEY, choice.kind === "remote" ? choice.model : SERVER);
    else localStorage.removeItem(KEY);
  } catch {
    // The next visit begins with the embedded model then.
  }
}

/** Whether two choices are the same model. */
export const isSame = (a: Choice, b: Choice): boolean =>
  a.kind === b.kind && (a.kind !== "remote" || a.model === (b as typeof a).model) && (a.kind !== "file" || a.file === (b as typeof a).file);
