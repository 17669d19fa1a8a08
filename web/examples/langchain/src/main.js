// LangChain.js on the engine of this page: a prompt, a model and a parser, put together as anywhere
// else.

import { StringOutputParser } from "@langchain/core/output_parsers";
import { ChatPromptTemplate, MessagesPlaceholder } from "@langchain/core/prompts";
import { ChatOpenAI } from "@langchain/openai";
import { run } from "./page.js";

run((engine) => {
  const model = new ChatOpenAI({
    model: engine.info.model.name,
    apiKey: "none",
    configuration: { baseURL: "https://peregrine.invalid/v1", dangerouslyAllowBrowser: true, fetch: engine.fetch },
  });
  const chain = ChatPromptTemplate.fromMessages([new MessagesPlaceholder("messages")]).pipe(model).pipe(new StringOutputParser());

  return async (messages, signal, write) => {
    for await (const piece of await chain.stream({ messages }, { signal })) write(piece);
  };
});
