import OpenAI from "openai";

const model = "peregrine";
const usageOf = (usage) => ({ input: usage.prompt_tokens, output: usage.completion_tokens, cached: usage.prompt_tokens_details.cached_tokens });

const city = { type: "object", properties: { city: { enum: ["Paris", "Rome"] } }, required: ["city"], additionalProperties: false };
const weather = { type: "function", function: { name: "weather", description: "The weather", parameters: city } };

export function make(fetch) {
  const client = new OpenAI({ baseURL: "https://peregrine.invalid/v1", apiKey: "none", fetch, dangerouslyAllowBrowser: true });
  const chat = (messages, more, options) => client.chat.completions.create({ model, messages, temperature: 0, ...more }, options);
  const endless = (messages, options) => chat(messages, { stream: true, ignore_eos: true }, options);
  return {
    async whole(messages) {
      const { choices, usage } = await chat(messages);
      return { text: choices[0].message.content, finish: choices[0].finish_reason, usage: usageOf(usage) };
    },
    async stream(messages) {
      const pieces = [];
      let finish, usage;
      for await (const chunk of await chat(messages, { stream: true, stream_options: { include_usage: true } })) {
        const [choice] = chunk.choices;
        if (choice?.delta.content) pieces.push(choice.delta.content);
        finish = choice?.finish_reason ?? finish;
        usage = chunk.usage ?? usage;
      }
      return { pieces, finish, usage: usageOf(usage) };
    },
    /** Stops with the signal once there is a piece; the library ends the loop without an error. */
    async abort(messages) {
      const stop = new AbortController();
      let pieces = 0;
      for await (const chunk of await endless(messages, { signal: stop.signal })) {
        if (chunk.choices[0]?.delta.content && ++pieces === 1) stop.abort();
      }
      return { pieces };
    },
    async leave(messages) {
      for await (const chunk of await endless(messages)) if (chunk.choices[0]?.delta.content) break;
    },
    /** Stops before anything has come. */
    async abortWhole(messages) {
      const stop = new AbortController();
      const answer = chat(messages, { ignore_eos: true }, { signal: stop.signal });
      stop.abort();
      return answer.then(() => "answered", (error) => error instanceof OpenAI.APIUserAbortError && "APIUserAbortError");
    },
    async structured(prompt) {
      const response_format = { type: "json_schema", json_schema: { name: "city", strict: true, schema: city } };
      const { choices } = await chat([{ role: "user", content: prompt }], { response_format });
      return JSON.parse(choices[0].message.content);
    },
    async called(prompt) {
      let [name, input, finish] = ["", "", ""];
      for await (const { choices } of await chat([{ role: "user", content: prompt }], { tools: [weather], tool_choice: "required", stream: true })) {
        for (const call of choices[0]?.delta.tool_calls ?? []) [name, input] = [name + (call.function.name ?? ""), input + call.function.arguments];
        finish = choices[0]?.finish_reason ?? finish;
      }
      return { name, input: JSON.parse(input), finish };
    },
    async refused(more) {
      const { message, status, param, code, type, constructor } = await chat([{ role: "user", content: "Hi" }], more).catch((error) => error);
      return { name: constructor === OpenAI.BadRequestError && "BadRequestError", message, status, param, code, type };
    },
    async models() {
      const listed = [];
      for await (const { id } of client.models.list()) listed.push(id);
      const found = await client.models.retrieve(listed[0]);
      const missing = await client.models.retrieve("no/such").catch((error) => error);
      return { listed, found: found.id, missing: missing instanceof OpenAI.NotFoundError && missing.code };
    },
  };
}
