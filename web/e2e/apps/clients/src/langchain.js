import { AIMessageChunk } from "@langchain/core/messages";
import { ChatOpenAI } from "@langchain/openai";
import { BadRequestError } from "openai";

const usageOf = (usage) => ({ input: usage.input_tokens, output: usage.output_tokens, cached: usage.input_token_details.cache_read });
const city = {
  title: "city",
  description: "A city",
  type: "object",
  properties: { city: { enum: ["Paris", "Rome"] } },
  required: ["city"],
  additionalProperties: false,
};
const weather = { type: "function", function: { name: "weather", description: "The weather", parameters: city } };

export function make(fetch) {
  const make = (modelKwargs) =>
    new ChatOpenAI({
      model: "peregrine",
      apiKey: "none",
      temperature: 0,
      modelKwargs,
      configuration: { baseURL: "https://peregrine.invalid/v1", fetch, dangerouslyAllowBrowser: true },
    });
  const model = make();
  const endless = make({ ignore_eos: true });
  return {
    async whole(messages) {
      const reply = await model.invoke(messages);
      return { text: reply.content, finish: reply.response_metadata.finish_reason, usage: usageOf(reply.usage_metadata) };
    },
    async stream(messages) {
      const pieces = [];
      let all = new AIMessageChunk("");
      for await (const chunk of await model.stream(messages)) {
        if (chunk.content) pieces.push(chunk.content);
        all = all.concat(chunk);
      }
      return { pieces, finish: all.response_metadata.finish_reason, usage: usageOf(all.usage_metadata) };
    },
    async abort(messages) {
      const stop = new AbortController();
      let pieces = 0;
      try {
        for await (const chunk of await endless.stream(messages, { signal: stop.signal })) {
          if (chunk.content && ++pieces === 1) stop.abort();
        }
      } catch (error) {
        return { pieces, error: error.name };
      }
      return { pieces };
    },
    async leave(messages) {
      for await (const chunk of await endless.stream(messages)) if (chunk.content) break;
    },
    async abortWhole(messages) {
      const stop = new AbortController();
      const answer = endless.invoke(messages, { signal: stop.signal });
      stop.abort();
      return answer.then(() => "answered", (error) => error.name);
    },
    structured: (prompt) => model.withStructuredOutput(city, { method: "jsonSchema" }).invoke(prompt),
    async called(prompt) {
      const reply = await model.bindTools([weather], { tool_choice: "required" }).invoke(prompt);
      return { name: reply.tool_calls[0].name, input: reply.tool_calls[0].args, finish: reply.response_metadata.finish_reason };
    },
    async refused(more) {
      const error = await make(more).invoke("Hi").catch((error) => error);
      const { message, status, param, code, type } = error;
      return { name: error instanceof BadRequestError && "BadRequestError", message, status, param, code, type };
    },
  };
}
