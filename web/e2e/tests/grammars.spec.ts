/**
 * The module of grammars in a browser: done without where it cannot be had, and begun anew after
 * what it cannot bear.
 */

import { readFileSync } from "node:fs";
import type * as Peregrine from "peregrine";
import { expect, test } from "../support.js";

interface BySchema {
  prompt: string;
  schema: Record<string, unknown>;
  ids: number[];
}
const bySchema = JSON.parse(readFileSync(new URL("../../../tests/golden/by-schema.json", import.meta.url), "utf8")) as BySchema;

test("a missing module, hostile schemas: each a typed error, and the engine answers on, by schemas too", async ({ page, site }) => {
  let isMissing = true;
  let attempts = 0;
  const address = await site.bare((request, response) => {
    if (!isMissing || !request.url?.includes("grammar_bg.wasm")) return false;
    // Not there, and then not to be reached.
    if (attempts++ === 0) response.writeHead(404).end();
    else response.destroy();
    return true;
  });
  await page.goto(address);
  const without = await page.evaluate(async () => {
    // Not a literal: the compiler would look for the file.
    const url = "/package/dist/index.js";
    const { createEngine }: typeof Peregrine = await import(url);
    const engine = await createEngine({ model: "/model.gguf", cache: false, logLevel: "error" });
    Object.assign(globalThis, { engine });
    const messages = [{ role: "user" as const, content: "What is the capital of Italy?" }];
    const tools = [{ type: "function" as const, function: { name: "now" } }];
    const ask = (more: object) => engine.chat.completions.create({ messages, tools, max_tokens: 4, temperature: 0, ...more } as Peregrine.ChatCompletionParams & { stream?: false });
    const required = await ask({ tool_choice: "required" }).then(() => undefined, ({ code, message }: Peregrine.PeregrineError) => ({ code, message }));
    const { warnings, choices } = await ask({});
    return { required, warnings, finish: choices[0]!.finish_reason };
  });
  expect(without.required).toEqual({ code: "engine-file", message: expect.stringMatching(/^grammar_bg\.wasm: .*404.*\/package\/wasm\/grammar_bg\.wasm/) });
  expect(without.warnings).toEqual([expect.stringMatching(/^tools: calls are not enforced, since the module of grammars is not there: .*grammar_bg\.wasm/)]);
  expect(without.finish).toBe("length");

  isMissing = false;
  const after = await page.evaluate(async ({ prompt, schema }) => {
    const { engine } = globalThis as unknown as { engine: Peregrine.Engine };
    const nest = (times: number, around: (inner: object) => object) => Array.from({ length: times }).reduce<object>(around, { type: "string" });
    // Without JSON.stringify's own recursion, which might not come so deep.
    const deep = (open: string, close: string) => `${open.repeat(10_000)}{}${close.repeat(10_000)}`;
    const chain = (rule: (next: string) => object) => {
      const $defs = Object.fromEntries(Array.from({ length: 900 }, (_, i) => [`a${i}`, i === 899 ? { type: "string" } : rule(`#/$defs/a${i + 1}`)]));
      return { $ref: "#/$defs/a0", $defs };
    };
    const json = (schema: unknown) => ({ type: "json_schema", json_schema: { name: "x", schema } });
    const format = {
      deepAllOf: `{"type":"json_schema","json_schema":{"name":"x","schema":${deep('{"allOf":[', "]}")}}}`,
      deepObjects: `{"type":"json_schema","json_schema":{"name":"x","schema":${deep('{"properties":{"a":', "}}")}}}`,
      nested: json(nest(60, (inner) => ({ allOf: [inner] }))),
      chainOfObjects: json(chain(($ref) => ({ type: "object", properties: { x: { $ref } }, required: ["x"] }))),
      chainOfAllOf: json(chain(($ref) => ({ allOf: [{ $ref }], type: "string" }))),
      itself: json({ allOf: [{ $ref: "#" }] }),
      regex: { type: "regex", regex: "(a{1000}){1000}" },
      pattern: json({ type: "string", pattern: "(a{1000}){1000}" }),
      enum: json({ enum: Array.from({ length: 30_000 }, (_, i) => `value ${i}`) }),
      rules: { type: "grammar", grammar: `start: a0\n${Array.from({ length: 7000 }, (_, i) => `a${i}: a${i + 1}`).join("\n")}\na7000: "x"` },
    };
    const post = async (path: string, body: string) => {
      const response = await engine.fetch(`/v1/${path}`, { method: "POST", body });
      return { status: response.status, said: await response.json() };
    };
    const followed = async () => {
      const asked = { prompt, response_format: { ...json(schema) }, temperature: 0, max_tokens: 60, return_token_ids: true };
      const { said } = await post("completions", JSON.stringify(asked));
      return said.choices?.[0].token_ids ?? said;
    };
    const found: Record<string, unknown> = {};
    for (const [name, value] of Object.entries(format)) {
      const { status, said } = await post("completions", `{"prompt":"x","max_tokens":1,"response_format":${typeof value === "string" ? value : JSON.stringify(value)}}`);
      found[name] = { status, type: said.error?.type, message: String(said.error?.message), param: said.error?.param };
    }
    const parameters = JSON.stringify(chain(($ref) => ({ type: "object", properties: { x: { $ref } }, required: ["x"] })));
    const tool = `{"type":"function","function":{"name":"f","parameters":${parameters},"strict":true}}`;
    const strict = await post("chat/completions", `{"messages":[{"role":"user","content":"x"}],"max_tokens":2,"tools":[${tool}]}`);
    const plain = await engine.completions.create({ prompt: "The capital of Italy is", max_tokens: 4, ignore_eos: true });
    return { found, strict, plain: plain.choices[0]!.finish_reason, followed: [await followed(), await followed()] };
  }, bySchema);
  const refused = { status: 400, type: "invalid_request_error" };
  for (const [name, error] of Object.entries(after.found)) expect(error, name).toMatchObject(refused);
  const tooDeep = expect.stringMatching(/: this is too deep or too complicated \(.*\): make it simpler$/);
  expect(after.found).toMatchObject({ chainOfObjects: { message: tooDeep, param: "response_format.json_schema.schema" }, rules: { message: expect.stringContaining("at most 4096 rules and alternatives"), param: "response_format.grammar" } });
  expect(after.strict).toMatchObject({ status: 400, said: { error: { param: "tools[0].function.parameters" } } });
  expect(after.plain).toBe("length");
  expect(after.followed).toEqual([bySchema.ids, bySchema.ids]);
});
