// The client of OpenAI's own library, on the engine of this page: one line differs from an app that
// talks to a server.

import OpenAI from "openai";
import { run } from "./page.js";

run((engine) => {
  const client = new OpenAI({ baseURL: "https://peregrine.invalid/v1", apiKey: "none", dangerouslyAllowBrowser: true, fetch: engine.fetch });

  return async (messages, signal, write) => {
    const stream = await client.chat.completions.create({ model: engine.info.model.name, messages, stream: true }, { signal });
    for await (const { choices } of stream) write(choices[0]?.delta.content ?? "");
  };
});
