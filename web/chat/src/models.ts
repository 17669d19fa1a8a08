/** The dialog for models: which one runs, which others there are, and what is stored on this device. */

import { deleteModel, listModels, PeregrineError, persist, storageEstimate, type EngineInfo, type StoredModel } from "peregrine";
import { byId, make, megabytes, millions } from "./dom.js";

/** What a person has chosen. */
export type Choice = { kind: "embedded" } | { kind: "file"; file: File } | { kind: "remote"; model: string };

/** An official checkpoint. */
interface Offer {
  model: string;
  name: string;
  about: string;
  /** Bytes of the file; the weights take as much of the GPU's memory. */
  bytes: number;
}

const OFFERS: Offer[] = [
  { model: "tiiuae/Falcon-H1-0.5B-Instruct-GGUF:Q4_K_M", name: "Falcon-H1 0.5B Instruct", about: "Small and fast", bytes: 0.34e9 },
  { model: "tiiuae/Falcon-H1-1.5B-Instruct-GGUF:Q4_K_M", name: "Falcon-H1 1.5B Instruct", about: "Knows more", bytes: 0.95e9 },
  { model: "tiiuae/Falcon-H1-1.5B-Deep-Instruct-GGUF:Q4_K_M", name: "Falcon-H1 1.5B Deep Instruct", about: "66 layers: reasons best, slower", bytes: 0.94e9 },
];

const KEY = "peregrine.model";

/** What was chosen last; files cannot be opened again without the person. */
export function lastChoice(): Choice {
  try {
    const model = localStorage.getItem(KEY);
    return model ? { kind: "remote", model } : { kind: "embedded" };
  } catch {
    return { kind: "embedded" };
  }
}

/** Remembers a choice for the next visit. */
export function rememberChoice(choice: Choice): void {
  try {
    if (choice.kind === "remote") localStorage.setItem(KEY, choice.model);
    else localStorage.removeItem(KEY);
  } catch {
    // The next visit begins with the embedded model then.
  }
}

/** The name of a choice for people. */
export function nameOf(choice: Choice): string {
  if (choice.kind === "file") return choice.file.name;
  if (choice.kind === "embedded") return "the embedded model";
  return OFFERS.find(({ model }) => model === choice.model)?.name ?? choice.model;
}

const dialog = byId<HTMLDialogElement>("models");
let choose: (choice: Choice) => void = () => {};
let chosen: Choice = { kind: "embedded" };

/** Whether a model is likely to run here, as far as a page can know. */
function outlook(bytes: number): string {
  const memory = (navigator as { deviceMemory?: number }).deviceMemory;
  // Browsers tell at most 8 GB, and nothing of the GPU's own memory.
  if (memory !== undefined && memory < 8 && memory * 1e9 < 2.5 * bytes) return `may be too large for this device (${memory} GB of memory)`;
  return "";
}

function offerRow(offer: Offer, stored: readonly StoredModel[]): HTMLElement {
  const here = stored.find(({ model }) => model === offer.model);
  const state = here?.complete ? "on this device" : here ? `${megabytes(here.stored)} of ${megabytes(here.size)} are here` : `${megabytes(offer.bytes)} to download`;
  const facts = [offer.about, state, here?.complete ? "" : outlook(offer.bytes)].filter(Boolean).join(" · ");
  return modelRow(offer.name, facts, { kind: "remote", model: offer.model }, here && !here.complete ? "Go on" : "Use");
}

function modelRow(name: string, facts: string, choice: Choice, verb = "Use"): HTMLElement {
  const running = choice.kind === chosen.kind && (choice.kind !== "remote" || (chosen as { model: string }).model === choice.model);
  const button = make("button", { type: "button", className: "plain", textContent: running ? "In use" : verb, disabled: running });
  button.setAttribute("aria-label", `${button.textContent}: ${name}`);
  button.addEventListener("click", () => {
    dialog.close();
    choose(choice);
  });
  return make("li", {}, make("div", {}, make("strong", { textContent: name }), make("span", { textContent: facts })), button);
}

function storedRow(model: StoredModel): HTMLElement {
  const facts = model.complete ? megabytes(model.size) : `${megabytes(model.stored)} of ${megabytes(model.size)}, goes on when used`;
  const button = make("button", { type: "button", className: "plain", textContent: "Delete" });
  button.setAttribute("aria-label", `Delete: ${model.model}`);
  button.addEventListener("click", async () => {
    try {
      await deleteModel(model.id);
      await refresh();
      byId("storage-note").textContent = `${model.model} was deleted.`;
    } catch (error) {
      byId("storage-note").textContent = error instanceof PeregrineError ? `${error.message}. ${error.advice}` : String(error);
    }
    byId("models-title").focus();
  });
  return make("li", {}, make("div", {}, make("strong", { textContent: model.model }), make("span", { textContent: facts })), button);
}

/** Draws what changes: offers, stored models, storage. */
async function refresh(): Promise<void> {
  const stored = await listModels().catch(() => []);
  const rows = OFFERS.map((offer) => offerRow(offer, stored));
  byId("offers").replaceChildren(modelRow("Embedded toy", "31 M parameters · comes with the page", { kind: "embedded" }), ...rows);
  byId("stored").replaceChildren(...stored.map(storedRow));
  byId("stored-part").hidden = stored.length === 0;
  const { usage, persisted } = await storageEstimate().catch(() => ({ usage: 0, persisted: false }));
  byId("storage").textContent = `${megabytes(usage)} are used by this page. ${persisted ? "The browser keeps them until you delete them." : "The browser may clear them when room gets short."}`;
  byId("keep").hidden = persisted;
}

/** Shows the model that runs. */
export function showFacts(choice: Choice, info: EngineInfo | undefined): void {
  chosen = choice;
  const rows: [string, string][] = info
    ? [
        ["Name", info.model.name],
        ["Size", `${millions(info.model.parameters)} parameters, ${megabytes(info.model.bytes)}`],
        ["Formats", info.model.formats],
        ["Remembers", `${info.model.contextLength.toLocaleString("en")} tokens`],
        ["Runs on", info.device.name],
      ]
    : [["Name", "none loaded"]];
  byId("facts").replaceChildren(...rows.flatMap(([key, value]) => [make("dt", { textContent: key }), make("dd", { textContent: value })]));
  const notes: string[] = [];
  if (info?.device.software) notes.push("No graphics card is used here: the processor computes, which works but is slow.");
  if (choice.kind === "remote" && info && !info.storage.kept) notes.push(`The model is not kept on this device: ${info.storage.why}.`);
  byId("facts-note").textContent = notes.join(" ");
  const toy = choice.kind === "embedded";
  byId("toy-note").hidden = !toy;
  byId("chip-model").textContent = info ? info.model.name : "No model";
  byId("chip-device").textContent = info ? info.device.name : "";
  byId("hint-model").textContent = toy ? "A toy of 31 M parameters, not a Falcon model: it makes things up. " : "Models make things up. ";
}

/** Connects the dialog; `onChoose` loads what was chosen. */
export function watchModels(onChoose: (choice: Choice) => void): void {
  choose = onChoose;
  const open = () => {
    byId("storage-note").textContent = "";
    dialog.showModal();
    void refresh();
  };
  byId("model-chip").addEventListener("click", open);
  byId("open-models").addEventListener("click", open);
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  const field = byId<HTMLInputElement>("any-model");
  byId("any").addEventListener("submit", (event) => {
    event.preventDefault();
    const model = field.value.trim();
    if (model === "") return field.focus();
    dialog.close();
    field.value = "";
    choose({ kind: "remote", model });
  });
  const chooser = byId<HTMLInputElement>("file");
  byId("open-file").addEventListener("click", () => chooser.click());
  chooser.addEventListener("change", () => {
    const file = chooser.files?.[0];
    chooser.value = "";
    if (!file) return;
    dialog.close();
    choose({ kind: "file", file });
  });
  byId("keep").addEventListener("click", async () => {
    const granted = await persist();
    await refresh();
    byId("storage-note").textContent = granted ? "The browser keeps them now." : "The browser did not promise it; it may after the page is used more often.";
  });
  watchDrop();
}

function watchDrop(): void {
  const drop = byId("drop");
  document.addEventListener("dragover", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    drop.hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) drop.hidden = true;
  });
  document.addEventListener("drop", (event) => {
    drop.hidden = true;
    const file = event.dataTransfer?.files[0];
    if (!file) return;
    event.preventDefault();
    choose({ kind: "file", file });
  });
}
