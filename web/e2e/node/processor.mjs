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
const ids = Array.from({ length: 70 }, (_, i) => (i * 37 + 5) % 90);
const [first, rest] = [ids.slice(0, 41), ids.slice(41)];
const moved = {};
for (const [from, to] of [["cpu", "gpu"], ["gpu", "cpu"]]) {
  const [here, there] = [await load(from), await load(to)];
  await here.prefill(first);
  await there.restoreState(await here.saveState());
  const request = { prompt: [...first, ...rest], max_tokens: 12, temperature: 0, ignore_eos: true, return_token_ids: true };
  const [gone, stayed] = [await there.completions.create(request), await here.completions.create(request)];
  moved[from] = {
    kinds: [here.info.device.kind, there.info.device.kind],
    cached: gone.usage.prompt_tokens_details.cached_tokens,
    same: JSON.stringify(gone.choices[0].token_ids) === JSON.stringify(stayed.choices[0].token_ids),
    tokens: gone.choices[0].token_ids.length,
  };
  await here.dispose();
  await there.dispose();
}
console.log(JSON.stringify({ device, answers, named, moved }));
// Dawn keeps the process alive.
process.exit(0);
