// The page around a client: what is asked, what is answered, and a button that stops.

import { chosen, load } from "./engine.js";

const at = (id) => document.getElementById(id);
const say = (text) => (at("status").textContent = text);
const complain = (text) => (at("error").textContent = text);

/** Shows a message; what it returns sets the text. */
function show(role, text) {
  const line = document.createElement("p");
  line.className = role;
  line.textContent = text;
  at("messages").append(line);
  return (text) => (line.textContent = text);
}

/**
 * Runs the page. `connect(engine)` gives `answer(messages, signal, write)`, which hands `write` the
 * answer's pieces, and throws what the client throws.
 */
export function run(connect) {
  let answer;
  let stop;
  let messages = [];

  function enable() {
    at("send").disabled = !answer || Boolean(stop);
    at("stop").disabled = !stop;
  }

  async function open(model) {
    try {
      const engine = await load(model, say);
      answer = connect(engine);
      say(`${engine.info.model.name} on ${engine.info.device.name || "this device"}`);
    } catch (error) {
      say("");
      complain(error.advice ? `${error.message}. ${error.advice}` : error.message);
    }
    enable();
  }

  async function ask(question) {
    const stopping = (stop = new AbortController());
    enable();
    complain("");
    show("user", question);
    const write = show("assistant", "…");
    let text = "";
    const asked = [...messages, { role: "user", content: question }];
    try {
      await answer(asked, stopping.signal, (piece) => write((text += piece)));
    } catch (error) {
      if (!stopping.signal.aborted) complain(error.message);
    }
    // What was stopped is part of the conversation, too.
    if (text) messages = [...asked, { role: "assistant", content: text }];
    else write("Stopped.");
    stop = undefined;
    enable();
    at("question").focus();
  }

  at("model").value = chosen;
  at("open").addEventListener("submit", (event) => {
    event.preventDefault();
    location.search = new URLSearchParams({ model: at("model").value });
  });
  at("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const question = at("question").value.trim();
    if (!question || !answer || stop) return;
    at("question").value = "";
    void ask(question);
  });
  at("stop").addEventListener("click", () => stop?.abort());
  void open(chosen);
}
