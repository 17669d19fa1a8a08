/** The conversation on the page: what was said, and the answer that is being written. */

import { announce, byId, copyButton, make } from "./dom.js";
import type { Said } from "./library.js";
import { addCopyButtons, render } from "./markdown.js";

const list = byId("messages");
const scroller = byId("scroller");
const jump = byId("jump");

/** What was said so far, as the engine gets it. */
export const messages: Said[] = [];

let following = true;
let changed: () => void = () => {};
let edited: (index: number) => void = () => {};

/** Calls after each change of what was said. */
export function onChange(listener: () => void): void {
  changed = listener;
}

/** Keeps the end in view, unless the reader has scrolled up. */
function follow(): void {
  if (following && messages.length > 0) scroller.scrollTop = scroller.scrollHeight;
  jump.hidden = following;
}

scroller.addEventListener("scroll", () => {
  following = messages.length === 0 || scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 48;
  jump.hidden = following;
});
jump.addEventListener("click", () => {
  following = true;
  follow();
});
new ResizeObserver(follow).observe(scroller);

/** Calls when the person wants to change a question; `index` counts the messages. */
export function onEdit(listener: (index: number) => void): void {
  edited = listener;
}

function article(role: "user" | "assistant"): { frame: HTMLElement; body: HTMLElement } {
  const name = role === "user" ? "You" : "Peregrine";
  const body = make("div", { className: "body" });
  const frame = make("article", { className: role }, make("h2", { className: "hidden-visually", textContent: `${name}:` }), body);
  list.append(frame);
  return { frame, body };
}

/** Shows what the person wrote. */
function question(text: string): void {
  const { frame, body } = article("user");
  body.textContent = text;
  const edit = make("button", { type: "button", className: "small edit", textContent: "Edit" });
  edit.addEventListener("click", () => edited([...list.children].indexOf(frame)));
  frame.prepend(edit);
}

/** Adds what the person wrote. */
export function addQuestion(text: string): void {
  messages.push({ role: "user", content: text });
  question(text);
  byId("welcome").hidden = true;
  following = true;
  follow();
  changed();
}

/** The line under an answer. */
function meta(text: string, facts: string, onRegenerate: () => void): HTMLElement {
  const again = make("button", { type: "button", className: "small regenerate", textContent: "Answer again" });
  again.addEventListener("click", onRegenerate);
  return make("div", { className: "meta" }, copyButton("Copy", () => text), again, make("span", { textContent: facts }));
}

/** Shows a conversation that was kept. */
export function showConversation(said: readonly Said[], onRegenerate: () => void): void {
  clearConversation();
  for (const message of said) {
    messages.push(message);
    if (message.role !== "assistant") {
      question(message.content);
      continue;
    }
    const { frame, body } = article("assistant");
    body.replaceChildren(render(message.content));
    addCopyButtons(body);
    for (const button of list.querySelectorAll(".regenerate")) button.remove();
    frame.append(meta(message.content, message.facts ?? "", onRegenerate));
  }
  byId("welcome").hidden = messages.length > 0;
  following = true;
  follow();
}

/** An answer that is being written. */
export interface Answer {
  /** More text. */
  append: (text: string) => void;
  /** The end: `note` says how it ended where that is not by itself; then how many tokens, and how many a second (0: unknown). */
  end: (note: string, tokens: number, speed: number) => void;
  /** More about the small print, for those who point at it. */
  explain: (text: string) => void;
  /** Takes the answer off the page again. */
  remove: () => void;
  /** Whether any text has come. */
  isEmpty: () => boolean;
}

/** Begins an answer; `onRegenerate` is called if the person wants another one. */
export function beginAnswer(onRegenerate: () => void): Answer {
  for (const button of list.querySelectorAll(".regenerate")) button.remove();
  const { frame, body } = article("assistant");
  frame.classList.add("writing");
  body.append(make("span", { className: "thinking", role: "img", ariaLabel: "Thinking" }, make("i"), make("i"), make("i")));
  let text = "";
  let drawing = 0;
  announce("Peregrine is answering");
  follow();

  // At most once a frame, however fast the tokens come.
  const draw = () => {
    drawing = 0;
    body.replaceChildren(render(text));
    follow();
  };
  return {
    append(more) {
      text += more;
      if (!drawing && text.trim() !== "") drawing = requestAnimationFrame(draw);
    },
    isEmpty: () => text.trim() === "",
    explain(more) {
      const facts = frame.querySelector<HTMLElement>(".meta span");
      if (facts) facts.title = more;
    },
    remove() {
      cancelAnimationFrame(drawing);
      frame.remove();
    },
    end(note, tokens, speed) {
      cancelAnimationFrame(drawing);
      draw();
      addCopyButtons(body);
      frame.classList.remove("writing");
      const parts = [tokens === 1 ? "1 token" : `${tokens} tokens`];
      if (note) parts.unshift(note);
      if (speed > 0) parts.push(`${speed.toFixed(1)} tokens/s`);
      const facts = parts.join(" · ");
      messages.push({ role: "assistant", content: text, facts });
      frame.append(meta(text, facts, onRegenerate));
      announce(`${note} ${body.textContent}`);
      follow();
      changed();
    },
  };
}

/** Takes the last answer back, so that the question can be answered again. */
export function takeBackAnswer(): void {
  if (messages.at(-1)?.role !== "assistant") return;
  messages.pop();
  list.lastElementChild?.remove();
}

/** Takes the last question back and returns it. */
export function takeBackQuestion(): string {
  if (messages.at(-1)?.role !== "user") return "";
  list.lastElementChild?.remove();
  const text = messages.pop()?.content ?? "";
  byId("welcome").hidden = messages.length > 0;
  changed();
  return text;
}

/** An empty page. */
export function clearConversation(): void {
  messages.length = 0;
  list.replaceChildren();
  byId("welcome").hidden = false;
  following = true;
  scroller.scrollTop = 0;
  follow();
}

/** Scrolls to the card under the messages. */
export function revealStatus(): void {
  following = true;
  requestAnimationFrame(() => (messages.length > 0 ? follow() : byId("status").scrollIntoView({ block: "nearest" })));
}
