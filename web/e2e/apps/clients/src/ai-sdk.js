import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateText, isStepCount, jsonSchema, Output, streamText, tool } from "ai";

const usageOf = (usage) => ({ input: usage.inputTokens, output: usage.outputTokens, cached: usage.inputTokenDetails.cacheReadTokens });
const EXTRA = { peregrine: { ignore_eos: true } };
const city = jsonSchema({ type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false });
const WANTED = {
  tools: { tools: { weather: tool({ description: "The weather", inputSchema: city, execute: () => "sunny" }) }, stopWhen: isStepCount(2) },
  schema: { output: Output.object({ schema: city }) },
};

export function make(fetch) {
  const provider = createOpenAICompatible({
    name: "peregrine",
    baseURL: "https://peregrine.invalid/v1",
    fetch,
    includeUsage: true,
    supportsStructuredOutputs: true,
  });
  const model = provider("peregrine");
  const endless = (messages, more) =>
    streamText({ model, messages, temperature: 0, providerOptions: EXTRA, onError: () => {}, ...more });
  return {
    async whole(messages) {
      const { text, finishReason, usage } = await generateText({ model, messages, temperature: 0, allowSystemInMessages: true });
      return { text, finish: finishReason, usage: usageOf(usage) };
    },
    async stream(messages) {
      const pieces = [];
      const result = streamText({ model, messages, temperature: 0, allowSystemInMessages: true });
      for await (const piece of result.textStream) pieces.push(piece);
      return { pieces, finish: await result.finishReason, usage: usageOf(await result.usage) };
    },
    async abort(messages) {
      const stop = new AbortController();
      let pieces = 0;
      for await (const _ of endless(messages, { abortSignal: stop.signal }).textStream) if (++pieces === 1) stop.abort();
      return { pieces };
    },
    async abortWhole(messages) {
      const stop = new AbortController();
      const answer = generateText({ model, messages, temperature: 0, providerOptions: EXTRA, abortSignal: stop.signal });
      stop.abort();
      return answer.then(() => "answered", (error) => error.name);
    },
    /** `more` goes into the body as it is; `wanted` is asked for in the library's own way. */
    async refused(more, wanted) {
      const error = await generateText({
        model,
        prompt: "Hi",
        providerOptions: { peregrine: more ?? {} },
        ...WANTED[wanted],
      }).catch((error) => error);
      const { message, statusCode, isRetryable, data } = error;
      return { name: APICallError.isInstance(error) && "APICallError", message, status: statusCode, isRetryable, ...data?.error };
    },
  };
}
