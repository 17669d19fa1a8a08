/** The page: loads a model, and lets a person talk with it. It uses only the public API of the package `peregrine`. */

import { createEngine, ModelFileError, PeregrineError, type Engine, type EngineInfo } from "peregrine";
import "peregrine/embedded";
import * as conversation from "./conversation.js";
import { announce, byId, make, megabytes, millions } from "./dom.js";
import { settings, watchSettings } from "./settings.js";
import { clearStatus, showError, showLoading, titleOf, type Way } from "./status.js";

const SUGGESTIONS = ["Who are you?", "What is the capital of Italy?", "Do you know a joke?", "Tell me a short story about a fox."];

const prompt = byId<HTMLTextAreaElement>("prompt");
const send = byId<HTMLButtonElement>("send");
const stop = byId<HTMLButtonElement>("stop");
const newChat = byId<HTMLButtonElement>("new-chat");
const fileInput = byId<HTMLInputElement>("file");

let engine: Engine | undefined;
/** The file the person has opened; the embedded model when there is none. */
let file: File | undefined;
/** Stops the loading that is going on. */
let loading: AbortController | undefined;
/** Stops the answer that is being written. */
let answering: AbortController | undefined;

function asOurs(error: unknown): PeregrineError {
  if (error instanceof PeregrineError) return error;
  return new PeregrineError("internal", error instanceof Error ? `${error.name}: ${error.message}` : String(error));
}

function update(): void {
  const busy = answering !== undefined;
  send.hidden = busy;
  stop.hidden = !busy;
  send.disabled = !engine || prompt.value.trim() === "";
  byId("suggestions").hidden = !engine;
  document.body.classList.toggle("ready", engine !== undefined);
}

function facts(info: EngineInfo | undefined): void {
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
  byId("facts-note").textContent = info?.device.software ? "No graphics card is used here: the processor computes, which works but is slow." : "";
  byId("use-embedded").hidden = !file;
  byId("toy-note").hidden = file !== undefined;
  byId("chip-model").textContent = info ? info.model.name : "No model";
  byId("chip-device").textContent = info ? info.device.name : "";
  byId("hint-model").textContent = file ? "Models make things up. " : "A toy of 31 M parameters, not a Falcon model: it makes things up. ";
}

/** What a person may do about a failed model, the likeliest help first. */
function waysOut(error: PeregrineError): Way[] {
  const again: Way = { label: file ? "Try this file again" : "Try again", go: () => void load() };
  const open: Way = { label: "Open a GGUF file…", go: () => fileInput.click() };
  const embedded: Way = { label: "Back to the embedded model", go: () => void openModel(undefined) };
  if (!file) return [again, open];
  return error instanceof ModelFileError ? [embedded, open] : [again, open, embedded];
}

function fail(error: PeregrineError): void {
  engine = undefined;
  facts(undefined);
  showError(error, waysOut(error));
  conversation.revealStatus();
  update();
}

/** Loads the chosen model, in place of the one that is there. The conversation stays: the new engine reads it again. */
async function load(): Promise<void> {
  loading?.abort();
  answering?.abort();
  const mine = (loading = new AbortController());
  const old = engine;
  engine = undefined;
  facts(undefined);
  update();
  const onProgress = showLoading(file ? file.name : "the embedded model");
  conversation.revealStatus();
  // Two models at once may be more than the GPU holds.
  await old?.dispose();
  try {
    const loaded = await createEngine({
      model: file ?? "embedded",
      signal: mine.signal,
      onProgress,
      onBroken: (error) => loading === mine && fail(error),
    });
    if (loading !== mine) return await loaded.dispose();
    engine = loaded;
    facts(engine.info);
    clearStatus();
    announce(`${engine.info.model.name} is ready`);
    update();
    if (document.activeElement === document.body) prompt.focus();
  } catch (error) {
    if (loading === mine) fail(asOurs(error));
  }
}

function openModel(next: File | undefined): Promise<void> {
  byId<HTMLDialogElement>("settings").close();
  file = next;
  startAnew();
  return load();
}

function startAnew(): void {
  answering?.abort();
  conversation.clearConversation();
}

async function answer(): Promise<void> {
  if (!engine) return;
  const mine = (answering = new AbortController());
  update();
  const question = conversation.messages.at(-1);
  const shown = conversation.beginAnswer(regenerate);
  // Counted here too, for answers that are stopped: then the engine sends no counts.
  let tokens = 0;
  let began = 0;
  try {
    const stream = await engine.chat.completions.create(
      {
        messages: conversation.messages,
        stream: true,
        temperature: settings.temperature,
        max_completion_tokens: settings.maxTokens,
      },
      { signal: mine.signal },
    );
    let finish: string | null = null;
    for await (const chunk of stream) {
      const choice = chunk.choices[0];
      if (choice?.delta.role) continue;
      began ||= performance.now();
      if (!choice?.finish_reason) tokens += 1;
      shown.append(choice?.delta.content ?? "");
      finish = choice?.finish_reason ?? finish;
    }
    const note = finish === "length" ? "Cut at the longest answer that the settings allow" : "";
    shown.end(note, stream.usage?.completion_tokens ?? tokens, stream.usage?.timings.tokens_per_second ?? 0);
  } catch (error) {
    const ours = asOurs(error);
    if (conversation.messages.at(-1) !== question) {
      // The conversation was cleared meanwhile.
      shown.remove();
    } else if (!shown.isEmpty()) {
      shown.end(ours.code === "cancelled" ? "Stopped" : titleOf(ours), tokens, (1000 * (tokens - 1)) / (performance.now() - began));
    } else {
      // Nothing was said: the question goes back to where it can be changed.
      shown.remove();
      const text = conversation.takeBackQuestion();
      if (prompt.value === "") prompt.value = text;
      resize();
    }
    if (ours.code !== "cancelled" && engine) {
      showError(ours, [
        { label: "Close", go: () => (clearStatus(), prompt.focus()) },
        { label: "New chat", go: () => (clearStatus(), startAnew(), prompt.focus()) },
      ]);
      conversation.revealStatus();
    }
  } finally {
    if (answering === mine) answering = undefined;
    update();
  }
}

function ask(text: string): void {
  if (!engine || answering || text.trim() === "") return;
  clearStatus();
  conversation.addQuestion(text.trim());
  void answer();
}

function regenerate(): void {
  if (!engine || answering) return;
  conversation.takeBackAnswer();
  void answer();
}

function resize(): void {
  // The height follows the text; CSS sets the limit.
  prompt.style.height = "auto";
  prompt.style.height = `${prompt.scrollHeight}px`;
  update();
}

function submit(): void {
  if (!engine || answering || prompt.value.trim() === "") return;
  const text = prompt.value;
  prompt.value = "";
  resize();
  ask(text);
}

prompt.addEventListener("input", resize);
prompt.addEventListener("keydown", (event) => {
  // While an input method composes a character, Enter chooses it.
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    submit();
  }
});
byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
stop.addEventListener("click", () => {
  answering?.abort();
  prompt.focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && answering && !byId<HTMLDialogElement>("settings").open) answering.abort();
});
newChat.addEventListener("click", () => {
  startAnew();
  if (engine) clearStatus();
  announce("New chat");
  prompt.focus();
});

byId("suggestions").append(
  ...SUGGESTIONS.map((text) => {
    const button = make("button", { type: "button", textContent: text });
    button.addEventListener("click", () => {
      ask(text);
      prompt.focus();
    });
    return button;
  }),
);

byId("open-file").addEventListener("click", () => fileInput.click());
byId("use-embedded").addEventListener("click", () => void openModel(undefined));
fileInput.addEventListener("change", () => {
  const chosen = fileInput.files?.[0];
  fileInput.value = "";
  if (chosen) void openModel(chosen);
});

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
  const dropped = event.dataTransfer?.files[0];
  if (!dropped) return;
  event.preventDefault();
  void openModel(dropped);
});

watchSettings();
facts(undefined);
void load();
