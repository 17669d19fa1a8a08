import { createEngine } from "peregrine";
import wasmUrl from "peregrine/wasm";

try {
  const worker = new Worker("/worker.js", { type: "module" });
  const engine = await createEngine({ model: "/model.gguf", cache: false, worker, wasmUrl });
  const reply = await engine.chat.completions.create({
    messages: [{ role: "user", content: "What is the capital of Italy?" }],
    temperature: 0,
  });
  document.querySelector("#answer").textContent = reply.choices[0].message.content;
} catch (error) {
  document.querySelector("#error").textContent = String(error);
}
