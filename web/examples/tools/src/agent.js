// The loop: ask, make the calls that the answer has, say what came of them, and ask again, until
// there is a text.

/** One call: what comes of it is a text for the model, also where it fails. */
async function made(tools, { name, arguments: written }, signal) {
  const tool = tools.find((tool) => tool.name === name);
  if (!tool) return `Error: there is no tool ${name}; there are ${tools.map(({ name }) => name).join(", ")}`;
  try {
    let given;
    try {
      given = JSON.parse(written);
    } catch {
      throw new Error("the arguments are not JSON");
    }
    const wrong = tool.wrong(given);
    if (wrong) throw new Error(`the arguments are wrong: ${wrong}`);
    return String(await tool.run(given, signal));
  } catch (error) {
    if (signal?.aborted) throw error;
    return `Error: ${error.message}`;
  }
}

/** An answer as it comes: its text, its calls, and why it ended. */
async function asked(create, params, signal, onText) {
  let content = "";
  const calls = [];
  let finish = null;
  for await (const { choices } of await create({ ...params, stream: true }, { signal })) {
    const { delta, finish_reason } = choices[0] ?? {};
    finish = finish_reason ?? finish;
    if (delta?.content) onText((content += delta.content));
    for (const { index, id, function: piece } of delta?.tool_calls ?? []) {
      const call = (calls[index] ??= { id, type: "function", function: { name: "", arguments: "" } });
      call.function.name += piece?.name ?? "";
      call.function.arguments += piece?.arguments ?? "";
    }
  }
  return { content, calls, finish };
}

/**
 * Answers the last message, and returns the messages that came of it, the answer being the last.
 * `create`: that of `engine.chat.completions`; `tools`: each has `name`, `description`,
 * `parameters` (a JSON schema), `wrong(given)`, which says what is wrong with arguments, and
 * `run(given, signal)`. `choice` is the first round's `tool_choice`; later ones are the model's
 * own, and after `rounds` of them it must answer. `on` hears: `text(soFar)`,
 * `call({ id, name, arguments })`, `result(id, text)`.
 */
export async function answer(create, tools, messages, { choice = "auto", rounds = 4, signal, on, ...params }) {
  const described = tools.map(({ name, description, parameters }) => ({ type: "function", function: { name, description, parameters } }));
  const news = [];
  for (let round = 1; ; round++) {
    const tool_choice = round > rounds ? "none" : round === 1 ? choice : "auto";
    const request = { ...params, messages: [...messages, ...news], tools: described, tool_choice };
    const { content, calls, finish } = await asked(create, request, signal, on.text);
    // A call that was cut off is no call: what it would have asked for is not known.
    if (calls.length === 0 || finish !== "tool_calls") {
      if (calls.length > 0) throw new Error("the answer was cut off in the middle of a call; allow it more tokens");
      return [...news, { role: "assistant", content }];
    }
    news.push({ role: "assistant", content: content || null, tool_calls: calls });
    for (const { id, function: call } of calls) {
      on.call({ id, ...call });
      const result = await made(tools, call, signal);
      signal?.throwIfAborted();
      on.result(id, result);
      news.push({ role: "tool", tool_call_id: id, content: result });
    }
  }
}
