/** The card under the conversation: loading, or what went wrong and what to do. */

import type { PeregrineError, Progress } from "peregrine";
import { announce, byId, make, megabytes } from "./dom.js";

/** A way out of an error. */
export interface Way {
  label: string;
  go: () => void;
}

const card = () => byId("status");

/** Takes the card away. */
export function clearStatus(): void {
  card().hidden = true;
  card().replaceChildren();
}

const SPEED = (rate: number) => (rate > 0 ? `, ${megabytes(rate)} a second` : "");

/** Shows a loading bar with a way to stop; returns what moves it. */
export function showLoading(name: string, onStop: () => void): (progress: Progress) => void {
  const bar = make("progress", { max: 1 });
  bar.setAttribute("aria-label", "Loading the model");
  const title = make("h2", { textContent: `Loading ${name}` });
  const detail = make("p", { textContent: "Starting…" });
  const stop = make("button", { type: "button", className: "plain", textContent: "Stop loading" });
  stop.addEventListener("click", onStop);
  card().className = "loading";
  card().replaceChildren(title, bar, detail, make("div", { className: "buttons" }, stop));
  card().hidden = false;
  announce(`Loading ${name}`);
  // A download takes longest, so the bar follows it; a file on the disk is there at once, then it follows the GPU.
  let arriving = false;
  return (progress) => {
    if (progress.phase === "download") {
      const { loaded, total, rate, resumedFrom } = progress;
      arriving = rate > 0 && loaded < total;
      if (total > 0) bar.value = (0.9 * loaded) / total;
      const before = resumedFrom > 0 && resumedFrom < total ? ` (${megabytes(resumedFrom)} were here before)` : "";
      detail.textContent = `${megabytes(loaded)} of ${total > 0 ? megabytes(total) : "an unknown number"} are here${before}${arriving ? SPEED(rate) : ""}`;
    } else if (progress.phase === "upload" && !arriving) {
      bar.value = (0.9 * progress.loaded) / Math.max(progress.total, 1);
      detail.textContent = `Moving it to the GPU: ${megabytes(progress.loaded)} of ${megabytes(progress.total)}`;
    } else if (progress.phase === "compile") {
      bar.value = 0.9 + (0.1 * progress.done) / Math.max(progress.total, 1);
      detail.textContent = `Preparing the GPU: ${progress.done} of ${progress.total} programs`;
    }
  };
}

/** What happened, in one sentence for people; the engine's own words follow in smaller print. */
const TITLES: Partial<Record<PeregrineError["code"], string>> = {
  "no-webgpu": "This browser cannot run the model: it has no WebGPU.",
  "no-gpu": "This browser has WebGPU, but no graphics card for it.",
  "no-worker": "This page may not start the worker that runs the model.",
  "no-wasm": "This page may not run WebAssembly, which the engine is made of.",
  "engine-file": "The engine's own code could not be loaded.",
  "device-lost": "The connection to the graphics card was lost.",
  "out-of-memory": "The graphics card has not enough memory for this.",
  gpu: "The graphics driver reported an error, so the answer cannot be trusted.",
  "not-gguf": "This is not a GGUF file.",
  truncated: "The model file is cut off: a part of it is missing.",
  unsupported: "This model is not one that Peregrine can run.",
  http: "The model could not be downloaded.",
  io: "The file could not be read.",
  integrity: "The download is not what the hub says it is, and was thrown away.",
  quota: "There is no room on this device for the model.",
  cancelled: "Loading was stopped.",
  "context-full": "The conversation is longer than the model can remember.",
  internal: "The engine crashed. That is a bug in Peregrine.",
};
const DAMAGED = "The model file is damaged.";

/** What a person can do, where it depends on the browser or the code. */
function advice(error: PeregrineError): string {
  if (error.code !== "no-webgpu" && error.code !== "no-gpu") return error.advice;
  if (!isSecureContext) return "Open this page over https, or as http://localhost: browsers give WebGPU to no other address.";
  const agent = navigator.userAgent;
  if (/Firefox\//.test(agent)) return "Update Firefox to version 141 or newer, or set dom.webgpu.enabled to true in about:config.";
  if (/Chrome\//.test(agent)) {
    return error.code === "no-webgpu"
      ? "Update this browser to version 113 or newer; on Linux also set chrome://flags/#enable-unsafe-webgpu to Enabled."
      : "Turn on “Use graphics acceleration” in the browser's settings; on Linux also set chrome://flags/#enable-unsafe-webgpu to Enabled. Without a graphics card, start it with --enable-unsafe-webgpu --use-webgpu-adapter=swiftshader.";
  }
  if (/Safari\//.test(agent)) return "Update to Safari 26 or newer, or turn on WebGPU under Settings, Advanced, Feature Flags.";
  return "Open this page in a current Chrome, Edge, Firefox or Safari.";
}

/** The sentence for an error. */
export function titleOf(error: PeregrineError): string {
  return TITLES[error.code] ?? (error.code === "sampling" || error.code === "argument" ? "The settings were not accepted." : DAMAGED);
}

/** Shows an error and the ways out. */
export function showError(error: PeregrineError, ways: Way[]): void {
  const buttons = ways.map(({ label, go }, i) => {
    const button = make("button", { type: "button", className: i === 0 ? "primary" : "plain", textContent: label });
    button.addEventListener("click", go);
    return button;
  });
  const what = make("h2", { textContent: titleOf(error) });
  const todo = make("p", { textContent: advice(error) });
  const detail = make("p", { className: "detail", textContent: error.message, tabIndex: 0 });
  card().className = "failed";
  card().replaceChildren(what, todo, detail, make("div", { className: "buttons" }, ...buttons));
  card().hidden = false;
  announce(`${what.textContent} ${todo.textContent}`);
}
