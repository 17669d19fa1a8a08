// The processor in Node: the golden conversations without any WebGPU, then with Dawn's states that
// go from one device to the other.
// Usage: node processor.mjs MODEL.gguf GREEDY.json GOLDEN.gguf   Prints JSON.

import { openAsBlob, readFileSync } from "node:fs";
import { createEngine } from "../../package/dist/index.js";

const [, , path, greedy, small] = process.argv;
const { conversations } = JSON.parse(readFileSync(greedy, "utf8"));
const engine = await createEngine({ model: await openAsBlob(path), worker: "here" });
const { device } = engine.info;
const answers = {};
for (const { name, messages, answer_ids } of conversations) {
  const reply = await engine.chat.completions.create({ messages, temperature: 0, max_tokens: answer_ids.length, return_token_ids: true });
  answers[name] = reply.choices[0].token_ids;
}
await engine.dispose();

// Whoever names a GPU gets an error here.
const named = await createEngine({ model: await openAsBlob(path), worker: "here", device: "gpu" }).then(() => "made", (error) => error.code);

await import("../dawn.mjs");
const load = async (device) => createEngine({ model: await openAsBlob(small), worker: "here", kvType: "f32", device });
const all = Array.from({ length: 140 }, (_, i) => (i * 37 + 5) % 90);
const engines = { cpu: await load("cpu"), gpu: await load("gpu") };
const moved = {};
// What is read of the one is nothing that the other has read before.
for (const [from, to, ids] of [["cpu", "gpu", all.slice(0, 70)], ["gpu", "cpu", all.slice(70)]]) {
  const [here, there] = [engines[from], engines[to]];
  await here.prefill(ids.slice(0, 41));
  await there.restoreState(await here.saveState());
  const request = { prompt: ids, max_tokens: 12, temperature: 0, ignore_eos: true, return_token_ids: true };
  const [gone, stayed] = [await there.completions.create(request), await here.completions.create(request)];
  moved[from] = {
    kinds: [here.info.device.kind, there.info.device.kind],
    cached: gone.usage.prompt_tokens_details.cached_tokens,
    same: JSON.stringify(gone.choices[0].token_ids) === JSON.stringify(stayed.choices[0].token_ids),
    tokens: gone.choices[0].token_ids.length,
  };
}
console.log(JSON.stringify({ device, answers, named, moved }));
// Dawn keeps the process alive.
process.exit(0);
