// The page around the loop of agent.js: what is asked, what is called, what came of it, what is
// answered.

import { answer } from "./agent.js";
import { chosen, load } from "./engine.js";
import { toolsOver } from "./tools.js";

const NOTES = `The bicycle is in the shed; its lock opens with 4127.

Grandmother's pancakes: 3 eggs, 250 g of flour, half a litre of milk, a pinch of salt.

The train to Bergen leaves Oslo at 08:25 and takes 6 hours and 50 minutes.`;

const at = (id) => document.getElementById(id);
const say = (text) => (at("status").textContent = text);
const complain = (text) => (at("error").textContent = text);

const notes = () => at("notes").value.split(/\n\s*\n/).map((note) => note.trim()).filter(Boolean);
const tools = toolsOver(notes);

let engine;
let stop;
let messages = [];

/** Shows a line; what it returns sets the text. */
function show(role, text) {
  const line = document.createElement("p");
  line.className = role;
  line.textContent = text;
  at("messages").append(line);
  return (text) => (line.textContent = text);
}

function enable() {
  at("send").disabled = !engine || Boolean(stop);
  at("stop").disabled = !stop;
}

async function open(model) {
  try {
    engine = await load(model, say);
    say(`${engine.info.model.name} on ${engine.info.device.name || "this device"}`);
  } catch (error) {
    say("");
    complain(error.advice ? `${error.message}. ${error.advice}` : error.message);
  }
  enable();
}

/** What the select says, as the API has it. */
function choice() {
  const { value } = at("choice");
  return tools.some(({ name }) => name === value) ? { type: "function", function: { name: value } } : value;
}

async function ask(question) {
  const stopping = (stop = new AbortController());
  enable();
  complain("");
  show("user", question);
  const lines = new Map();
  let write;
  const on = {
    text: (text) => (write ??= show("assistant", ""))(text),
    call({ id, name, arguments: given }) {
      const title = `${name}(${given})`;
      lines.set(id, { title, write: show("call", title) });
      // What is said after the result is a line of its own.
      write = undefined;
    },
    result(id, result) {
      const line = lines.get(id);
      line.write(`${line.title}\n${result}`);
    },
  };
  const asked = [...messages, { role: "user", content: question }];
  const create = (params, options) => engine.chat.completions.create(params, options);
  try {
    const options = { choice: choice(), signal: stopping.signal, on, temperature: 0, max_tokens: 256, truncation: "auto" };
    const news = await answer(create, tools, asked, options);
    messages = [...asked, ...news];
    if (!news.at(-1).content) on.text("(no answer)");
  } catch (error) {
    if (stopping.signal.aborted) show("assistant", "Stopped.");
    else complain(error.message);
  }
  stop = undefined;
  enable();
  at("question").focus();
}

at("notes").value = localStorage.getItem("notes") ?? NOTES;
at("notes").addEventListener("input", () => localStorage.setItem("notes", at("notes").value));
for (const { name } of tools) at("choice").append(new Option(name, name));
at("model").value = chosen;
at("open").addEventListener("submit", (event) => {
  event.preventDefault();
  location.search = new URLSearchParams({ model: at("model").value });
});
at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = at("question").value.trim();
  if (!question || !engine || stop) return;
  at("question").value = "";
  void ask(question);
});
at("stop").addEventListener("click", () => stop?.abort());
void open(chosen);
