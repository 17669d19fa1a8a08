// The package in Node: the GPU comes from the npm package `webgpu` (Dawn), the engine runs here,
// without a worker.
// Usage: node answer.mjs MODEL.gguf QUESTION [TOKENS] Prints JSON: the answer, the device, how fast
// it was.

import { openAsBlob } from "node:fs";
import { readFile } from "node:fs/promises";
import "../dawn.mjs";

const { createEngine } = await import("peregrine");
const wasm = await readFile(new URL(import.meta.resolve("peregrine/wasm")));
const [, , path, question, tokens = "60"] = process.argv;
const engine = await createEngine({ model: await openAsBlob(path), worker: "here", wasmUrl: wasm });
const messages = [{ role: "user", content: question }];
const reply = await engine.chat.completions.create({ messages, temperature: 0, max_tokens: Number(tokens) });
console.log(JSON.stringify({ answer: reply.choices[0].message.content, usage: reply.usage, device: engine.info.device }));
await engine.dispose();
// Dawn keeps the process alive.
process.exit(0);
