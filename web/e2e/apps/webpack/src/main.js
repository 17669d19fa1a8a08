import { createEngine } from "peregrine";

try {
  const engine = await createEngine({ model: "/model.gguf", cache: false });
  const reply = await engine.chat.completions.create({
    messages: [{ role: "user", content: "What is the capital of Italy?" }],
    temperature: 0,
  });
  document.querySelector("#answer").textContent = reply.choices[0].message.content;
} catch (error) {
  document.querySelector("#error").textContent = String(error);
}
