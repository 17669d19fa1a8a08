/** What went wrong, in words that help. */

import { PeregrineError } from "peregrine";
import { t, type Key } from "../i18n/index.js";

/** A way out of an error. */
export interface Way {
  label: string;
  go: () => void;
}

/** An error as the page shows it. */
export interface Fault {
  title: string;
  advice: string;
  /** The engine's own words, where they say more. */
  detail: string;
  ways: Way[];
}

/** Whatever was thrown, as an error of the package. */
export function asOurs(error: unknown): PeregrineError {
  if (error instanceof PeregrineError) return error;
  return new PeregrineError("internal", error instanceof Error ? `${error.name}: ${error.message}` : String(error));
}

type Code = PeregrineError["code"];

const TITLES = new Set<Code>([
  "no-webgpu", "no-gpu", "no-worker", "no-wasm", "engine-file", "not-finite", "self-check", "timeout", "device-lost", "out-of-memory", "gpu", "not-gguf", "truncated", "unsupported", "http", "io", "integrity", "quota", "busy",
  "cancelled", "context-full", "internal", "server-unreachable", "server-failed",
]);

/** Advice of the codes that do not have one of their own. */
const ADVICE: Partial<Record<Code, Key>> = {
  gpu: "advice.reload",
  "engine-file": "advice.reload",
  "not-finite": "advice.reload",
  "no-wasm": "advice.no-worker",
  internal: "advice.reload",
  disposed: "advice.reload",
  "not-gguf": "advice.not-gguf",
  unsupported: "advice.not-gguf",
};
const OWN = new Set<Code>(["no-worker", "self-check", "timeout", "device-lost", "out-of-memory", "http", "io", "integrity", "quota", "busy", "cancelled", "context-full", "server-unreachable", "server-failed"]);

function gpuAdvice(code: Code): Key {
  if (!isSecureContext) return "advice.https";
  const agent = navigator.userAgent;
  if (/Firefox\//.test(agent)) return "advice.firefox";
  if (/Chrome\//.test(agent)) return code === "no-webgpu" ? "advice.chrome-webgpu" : "advice.chrome-gpu";
  return /Safari\//.test(agent) ? "advice.safari" : "advice.browser";
}

/** Whether a request was not accepted, rather than failing. */
const isRefused = (code: Code) => code === "argument" || code === "not-supported" || code === "sampling" || code === "token-out-of-range";

/** The sentence for an error; `what` was being done. */
export function titleOf({ code }: PeregrineError, what: "load" | "answer"): string {
  if (TITLES.has(code)) return t(`error.${code}` as Key);
  if (isRefused(code)) return t(what === "load" ? "error.address" : "error.settings");
  return t("error.damaged");
}

/** What a person can do about it. */
function adviceOf({ code }: PeregrineError, what: "load" | "answer"): string {
  if (code === "no-webgpu" || code === "no-gpu") return t(gpuAdvice(code));
  if (isRefused(code)) return t(what === "load" ? "advice.address" : "advice.settings");
  return t(ADVICE[code] ?? (OWN.has(code) ? (`advice.${code}` as Key) : "advice.otherFile"));
}

/** An error with its ways out. */
export function faultOf(error: PeregrineError, what: "load" | "answer", ways: Way[]): Fault {
  // "stopped" says nothing that the title does not.
  const detail = error.code === "cancelled" ? "" : error.message;
  return { title: titleOf(error, what), advice: adviceOf(error, what), detail, ways };
}

/** A context that is full, with `longer` as its first way out where it can grow. */
export function fullOf(error: PeregrineError, longer: Way | undefined, others: readonly Way[]): Fault {
  const fault = faultOf(error, "answer", longer ? [longer, ...others] : [...others]);
  return longer && error.code === "context-full" ? { ...fault, advice: t("advice.context-longer") } : fault;
}

const SERVED = new Set<Code>(["no-webgpu", "no-gpu", "no-worker", "no-wasm", "self-check", "gpu", "device-lost", "out-of-memory"]);
/** Whether it is what a device cannot, and a server might. */
export const mayBeServed = ({ code }: PeregrineError): boolean => SERVED.has(code);
