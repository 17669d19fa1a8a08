import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateText, jsonSchema, Output, streamText, tool } from "ai";

const usageOf = (usage) => ({ input: usage.inputTokens, output: usage.outputTokens, cached: usage.inputTokenDetails.cacheReadTokens });
const EXTRA = { peregrine: { ignore_eos: true } };
const city = jsonSchema({ type: "object", properties: { city: { enum: ["Paris", "Rome"] } }, required: ["city"], additionalProperties: false });
const weather = tool({ description: "The weather", inputSchema: city });

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
    async structured(prompt) {
      const { output } = await generateText({ model, prompt, temperature: 0, output: Output.object({ schema: city }) });
      return output;
    },
    async called(prompt) {
      const { toolCalls, finishReason } = await generateText({ model, prompt, temperature: 0, tools: { weather }, toolChoice: "required" });
      return { name: toolCalls[0].toolName, input: toolCalls[0].input, finish: finishReason };
    },
    /** `more` goes into the body as it is. */
    async refused(more) {
      const error = await generateText({ model, prompt: "Hi", providerOptions: { peregrine: more } }).catch((error) => error);
      const { message, statusCode, isRetryable, data } = error;
      return { name: APICallError.isInstance(error) && "APICallError", message, status: statusCode, isRetryable, ...data?.error };
    },
  };
}
