/** The page: loads a model, and lets a person talk with it. It uses only the public API of the package `peregrine`. */

import { createEngine, ModelFileError, PeregrineError, type Engine } from "peregrine";
import "peregrine/embedded";
import { currentChat, shown, startAnew, watchChats } from "./chats.js";
import * as conversation from "./conversation.js";
import { announce, byId, make } from "./dom.js";
import { lastChoice, nameOf, rememberChoice, showFacts, watchModels, type Choice } from "./models.js";
import { keepOffline } from "./offline.js";
import { settings, watchSettings } from "./settings.js";
import { bringState, takeState } from "./states.js";
import { clearStatus, showError, showLoading, titleOf, type Way } from "./status.js";

const SUGGESTIONS = ["Who are you?", "What is the capital of Italy?", "Do you know a joke?", "Tell me a short story about a fox."];

const prompt = byId<HTMLTextAreaElement>("prompt");
const send = byId<HTMLButtonElement>("send");
const stop = byId<HTMLButtonElement>("stop");
const newChat = byId<HTMLButtonElement>("new-chat");

let engine: Engine | undefined;
let choice: Choice = lastChoice();
/** Stops the loading that is going on. */
let loading: AbortController | undefined;
/** Stops the answer that is being written. */
let answering: AbortController | undefined;
/** Ends the answer that is being written at once, with what is there of it. */
let cutShort: () => void = () => {};

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

/** What a person may do about a failed model, the likeliest help first. */
function waysOut(error: PeregrineError): Way[] {
  const label = error.code === "cancelled" ? "Go on loading" : choice.kind === "file" ? "Try this file again" : "Try again";
  const again: Way = { label, go: () => void load() };
  const other: Way = { label: "Another model…", go: () => byId("model-chip").click() };
  const open: Way = { label: "Open a GGUF file…", go: () => byId("file").click() };
  const embedded: Way = { label: "Back to the embedded model", go: () => void openModel({ kind: "embedded" }) };
  if (choice.kind === "embedded") return [again, open];
  return error instanceof ModelFileError ? [embedded, open] : [again, embedded, choice.kind === "file" ? open : other];
}

function fail(error: PeregrineError): void {
  engine = undefined;
  showFacts(choice, undefined);
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
  showFacts(choice, undefined);
  update();
  const onProgress = showLoading(nameOf(choice), () => mine.abort());
  conversation.revealStatus();
  // Two models at once may be more than the GPU holds.
  await old?.dispose();
  try {
    const loaded = await createEngine({
      model: choice.kind === "file" ? choice.file : choice.kind === "remote" ? choice.model : "embedded",
      signal: mine.signal,
      onProgress,
      onBroken: (error) => loading === mine && fail(error),
    });
    if (loading !== mine) return await loaded.dispose();
    engine = loaded;
    showFacts(choice, engine.info);
    rememberChoice(choice);
    clearStatus();
    announce(`${engine.info.model.name} is ready`);
    update();
    if (document.activeElement === document.body) prompt.focus();
  } catch (error) {
    if (loading === mine) fail(asOurs(error));
  }
}

/** Another model. The conversation stays: the new one reads it. */
function openModel(next: Choice): Promise<void> {
  byId<HTMLDialogElement>("settings").close();
  choice = next;
  return load();
}

/** A question that got no answer goes back to where it can be changed. */
function giveBack(): void {
  const text = conversation.takeBackQuestion();
  if (prompt.value === "") prompt.value = text;
  resize();
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
  const endWith = (note: string) => shown.end(note, tokens, (1000 * (tokens - 1)) / (performance.now() - began));
  cutShort = () => {
    cutShort = () => {};
    mine.abort();
    if (!shown.isEmpty()) return endWith("Stopped");
    shown.remove();
    giveBack();
  };
  const chat = currentChat();
  const mineEngine = engine;
  try {
    if (chat) await bringState(mineEngine, chat);
    const stream = await mineEngine.chat.completions.create(
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
    const { usage } = stream;
    shown.end(note, usage?.completion_tokens ?? tokens, usage?.timings.tokens_per_second ?? 0);
    if (usage) shown.explain(`${usage.prompt_tokens_details.cached_tokens} of the ${usage.prompt_tokens} tokens before it had been read already`);
    if (chat) void takeState(mineEngine, chat);
  } catch (error) {
    const ours = asOurs(error);
    if (conversation.messages.at(-1) !== question) {
      // Another conversation is on the page.
      shown.remove();
    } else if (!shown.isEmpty()) {
      endWith(ours.code === "cancelled" ? "Stopped" : titleOf(ours));
    } else {
      // Nothing was said: the question goes back to where it can be changed.
      shown.remove();
      giveBack();
    }
    if (ours.code !== "cancelled" && engine) {
      showError(ours, [
        { label: "Close", go: () => (clearStatus(), prompt.focus()) },
        { label: "New chat", go: () => (clearStatus(), startAnew(), prompt.focus()) },
      ]);
      conversation.revealStatus();
    }
  } finally {
    if (answering === mine) {
      answering = undefined;
      cutShort = () => {};
    }
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

async function submit(): Promise<void> {
  // What is sent right after a click on another chat is meant for that one.
  await shown().catch(() => undefined);
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
    void submit();
  }
});
byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  void submit();
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

watchSettings();
watchModels((next) => void openModel(next));
void watchChats(() => cutShort(), regenerate, (text) => {
  prompt.value = text;
  resize();
  prompt.focus();
});
showFacts(choice, undefined);
void load();
// Later than what this visit needs itself.
if (import.meta.env.PROD) {
  const ready = new MutationObserver(() => {
    if (!document.body.classList.contains("ready")) return;
    ready.disconnect();
    void keepOffline();
  });
  ready.observe(document.body, { attributeFilter: ["class"] });
}
