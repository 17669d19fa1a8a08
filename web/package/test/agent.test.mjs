/** The loop of web/examples/tools, with a model that says what the test wants. */

import assert from "node:assert/strict";
import test from "node:test";
import { answer } from "../../examples/tools/src/agent.js";

const messages = [{ role: "user", content: "Well?" }];
const call = (index, id, name, args) => ({ index, id, type: "function", function: { name, arguments: args } });

/**
 * Each answer is a list of deltas and why it ended; the last one comes again and again. `asked` are
 * the requests.
 */
function scripted(...answers) {
  const asked = [];
  const create = async (params, options) => {
    asked.push({ ...params, signal: options.signal });
    const [deltas, finish] = answers.length > 1 ? answers.shift() : answers[0];
    return (async function* () {
      for (const delta of deltas) yield { choices: [{ delta, finish_reason: null }] };
      yield { choices: [{ delta: {}, finish_reason: finish }] };
      yield { choices: [] };
    })();
  };
  return { asked, create };
}

const double = {
  name: "double",
  description: "Twice as much.",
  parameters: { type: "object" },
  wrong: ({ of }) => (typeof of === "number" ? undefined : "of is no number"),
  run: async ({ of }) => {
    if (of < 0) throw new Error("too little");
    return 2 * of;
  },
};

/** What came of it, and what the page heard. */
async function ran({ create }, options = {}) {
  const heard = [];
  const on = { text: (text) => heard.push(text), call: ({ id, name }) => heard.push(`${id} ${name}`), result: (id, text) => heard.push(`${id} = ${text}`) };
  return { news: await answer(create, [double], messages, { on, ...options }), heard };
}

test("a text is the answer", async () => {
  const model = scripted([[{ role: "assistant" }, { content: "Ye" }, { content: "s." }], "stop"]);
  const { news, heard } = await ran(model, { temperature: 0 });
  assert.deepEqual([news, heard], [[{ role: "assistant", content: "Yes." }], ["Ye", "Yes."]]);
  const [{ tools, tool_choice, temperature, stream }] = model.asked;
  assert.deepEqual(tools, [{ type: "function", function: { name: "double", description: "Twice as much.", parameters: { type: "object" } } }]);
  assert.deepEqual([tool_choice, temperature, stream], ["auto", 0, true]);
});

test("calls are made, also several, and their results go back; the choice is the first round's", async () => {
  const two = [[{ content: "Let me see." }, { tool_calls: [call(0, "a", "double", "")] }, { tool_calls: [{ index: 0, function: { arguments: '{"of":' } }] }, { tool_calls: [{ index: 0, function: { arguments: "4}" } }] }, { tool_calls: [call(1, "b", "double", '{"of":5}')] }], "tool_calls"];
  const model = scripted(two, [[{ content: "8 and 10" }], "stop"]);
  const { news, heard } = await ran(model, { choice: "required" });
  const made = (id, of) => ({ id, type: "function", function: { name: "double", arguments: `{"of":${of}}` } });
  assert.deepEqual(news, [
    { role: "assistant", content: "Let me see.", tool_calls: [made("a", 4), made("b", 5)] },
    { role: "tool", tool_call_id: "a", content: "8" },
    { role: "tool", tool_call_id: "b", content: "10" },
    { role: "assistant", content: "8 and 10" },
  ]);
  assert.deepEqual(heard, ["Let me see.", "a double", "a = 8", "b double", "b = 10", "8 and 10"]);
  assert.deepEqual(model.asked.map(({ tool_choice, messages: { length } }) => [tool_choice, length]), [["required", 1], ["auto", 4]]);
});

test("what goes wrong with a call is its result", async () => {
  const calls = [["double", '{"of":"x"}', /^Error: the arguments are wrong: of is no number$/], ["double", '{"of":-1}', /^Error: too little$/], ["double", '{"of"', /^Error: the arguments are not JSON$/], ["halve", "{}", /^Error: there is no tool halve; there are double$/]];
  for (const [name, args, expected] of calls) {
    const model = scripted([[{ tool_calls: [call(0, "a", name, args)] }], "tool_calls"], [[{ content: "Oh." }], "stop"]);
    const { news } = await ran(model);
    assert.match(news[1].content, expected);
    assert.equal(news[0].content, null);
    assert.equal(news.at(-1).content, "Oh.");
  }
});

test("after so many rounds it must answer", async () => {
  const forever = [[{ tool_calls: [call(0, "a", "double", '{"of":1}')] }], "tool_calls"];
  const model = scripted(forever, forever, forever, [[{ content: "2" }], "stop"]);
  const { news } = await ran(model, { rounds: 3, choice: "required" });
  assert.deepEqual(model.asked.map(({ tool_choice }) => tool_choice), ["required", "auto", "auto", "none"]);
  assert.equal(news.length, 7);
});

test("a call that was cut off is not made", async () => {
  const model = scripted([[{ tool_calls: [call(0, "a", "double", '{"of":1')] }], "length"]);
  await assert.rejects(ran(model), { message: /cut off/ });
});

test("stopped in a tool: nothing more is asked, and nothing is told", async () => {
  const stop = new AbortController();
  const model = scripted([[{ tool_calls: [call(0, "a", "double", '{"of":1}')] }], "tool_calls"]);
  const slow = { ...double, run: (_, signal) => new Promise((_, reject) => (signal.addEventListener("abort", () => reject(signal.reason)), stop.abort())) };
  const deaf = { ...double, run: async () => (stop.abort(), 2) };
  for (const tool of [slow, deaf]) {
    const on = { text() {}, call() {}, result: () => assert.fail("told") };
    await assert.rejects(answer(model.create, [tool], messages, { signal: stop.signal, on }), { name: "AbortError" });
  }
  assert.equal(model.asked.length, 2);
});
