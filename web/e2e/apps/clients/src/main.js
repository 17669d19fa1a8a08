// Real clients of OpenAI's API on one engine, each with the same functions, which the tests call.

import { createEngine } from "peregrine";
import * as aiSdk from "./ai-sdk.js";
import * as langchain from "./langchain.js";
import * as openai from "./openai.js";

// An answer that goes on to the end of so long a context takes longer than any test may.
const engine = await createEngine({ model: "/model.gguf", cache: false, contextLength: 32768 });

/** What the clients have asked for, and how it was answered. */
const sent = [];
async function fetch(input, init) {
  const response = await engine.fetch(input, init);
  sent.push(response.status);
  return response;
}

globalThis.clients = { openai: openai.make(fetch), aiSdk: aiSdk.make(fetch), langchain: langchain.make(fetch) };
globalThis.sent = sent;
