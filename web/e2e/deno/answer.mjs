// The package in Deno, which has a WebGPU and workers of its own. Usage: deno run -A answer.mjs
// MODEL.gguf QUESTION Prints JSON: the answers of an engine in a worker, of one without, and of one
// that read the file by its address; and the device.

import { createEngine } from "peregrine";

const [path, question] = Deno.args;
const answers = [];
let device;
const address = new URL(`file://${path}`);
for (const options of [{ model: await Deno.readFile(path) }, { model: address, worker: "here" }]) {
  const engine = await createEngine(options);
  const reply = await engine.chat.completions.create({ messages: [{ role: "user", content: question }], temperature: 0, max_tokens: 30 });
  answers.push(reply.choices[0].message.content);
  device = engine.info.device;
  await engine.dispose();
}
console.log(JSON.stringify({ answers, device }));
Deno.exit(0);
