/** Clients of OpenAI's API, as npm has them, unchanged on `engine.fetch`. */

import type { Server } from "node:http";
import { join } from "node:path";
import type { Page } from "@playwright/test";
import { Packed, serveApp } from "../packed.js";
import { expect, golden, idsOf, test, type Golden } from "../support.js";

interface Usage {
  input: number;
  output: number;
  cached: number;
}
interface Refusal {
  name: string;
  message: string;
  status: number;
  param: string | null;
  code: string | null;
  type: string;
  isRetryable?: boolean;
}
/** What apps/clients makes of each library. */
interface Client {
  whole(messages: Golden["messages"]): Promise<{ text: string; finish: string; usage: Usage }>;
  stream(messages: Golden["messages"]): Promise<{ pieces: string[]; finish: string; usage: Usage }>;
  abort(messages: Golden["messages"]): Promise<{ pieces: number; error?: string }>;
  leave(messages: Golden["messages"]): Promise<void>;
  abortWhole(messages: Golden["messages"]): Promise<string>;
  structured(prompt: string): Promise<{ city: string }>;
  called(prompt: string): Promise<{ name: string; input: { city: string }; finish: string }>;
  refused(more: object): Promise<Refusal>;
  models(): Promise<{ listed: string[]; found: string; missing: string }>;
}
type Window = typeof globalThis & { clients: Record<string, Client>; sent: number[] };

let packed: Packed | undefined;
let server: Server | undefined;
/** One page, and one engine, for all. */
let page: Page;

test.beforeAll(async ({ browser }) => {
  packed = new Packed();
  const listening = await serveApp(join(packed.build(new URL("../apps/clients", import.meta.url)), "dist"));
  server = listening.server;
  page = await browser.newPage();
  const failed = new Promise<never>((_, reject) => page.on("pageerror", reject));
  await page.goto(listening.address);
  await Promise.race([page.waitForFunction(() => "clients" in globalThis), failed]);
});

test.afterAll(async () => {
  await page?.close();
  server?.closeAllConnections();
  server?.close();
  packed?.remove();
});

/** Calls a function of a client. */
function call<F extends keyof Client>(client: string, name: F, ...args: Parameters<Client[F]>) {
  const calling = page.evaluate(
    ([client, name, args]) => {
      const call = (globalThis as Window).clients[client]![name as F] as (...args: unknown[]) => unknown;
      return call(...(args as unknown[]));
    },
    [client, name, args] as [string, string, unknown[]],
  );
  return calling as ReturnType<Client[F]>;
}

/** How what the clients have sent since the last call was answered. */
const sent = () => page.evaluate(() => (globalThis as Window).sent.splice(0));

/**
 * The engine is free: a request is answered, though the answer before it would have gone on for
 * many minutes.
 */
async function expectFree(client: string): Promise<void> {
  const { text } = await call(client, "whole", golden("capital").messages);
  expect(text).toBe(golden("capital").answer);
}

const question = golden("identity");
/** What stands at the end of the context would take long to come. */
const endless = golden("story").messages;
const message = "expected a number from 0 to 2, found 3";

const CLIENTS = [
  { client: "openai", refusal: "BadRequestError", aborted: "APIUserAbortError" },
  { client: "aiSdk", refusal: "APICallError", aborted: "AbortError" },
  { client: "langchain", refusal: "BadRequestError", aborted: "AbortError" },
];

for (const { client, refusal, aborted } of CLIENTS) {
  test.describe(client, () => {
    test("a whole answer, and a second turn that reads only what is new", async () => {
      const first = await call(client, "whole", question.messages);
      expect(first).toMatchObject({ text: question.answer, finish: "stop", usage: { input: question.prompt_ids.length } });
      const answer = { role: "assistant" as const, content: first.text };
      const second = await call(client, "whole", [...question.messages, answer, { role: "user", content: "Hi there!" }]);
      expect(second.usage.cached).toBeGreaterThanOrEqual(question.prompt_ids.length + idsOf(question).length);
      expect(second.usage.input).toBeGreaterThan(second.usage.cached);
    });

    test("a stream", async () => {
      const { pieces, finish, usage } = await call(client, "stream", question.messages);
      expect(pieces.join("")).toBe(question.answer);
      expect(pieces.length).toBeGreaterThan(3);
      expect(finish).toBe("stop");
      expect(usage).toMatchObject({ input: question.prompt_ids.length, output: idsOf(question).length });
    });

    test("stopped by the signal in a stream", async () => {
      const { pieces } = await call(client, "abort", endless);
      expect(pieces).toBeGreaterThan(0);
      await expectFree(client);
    });

    test("stopped by the signal before anything has come", async () => {
      expect(await call(client, "abortWhole", endless)).toBe(aborted);
      await expectFree(client);
    });

    // AI SDK reads a stream on when its reader leaves: there only the signal stops.
    if (client !== "aiSdk") {
      test("stopped by leaving the stream", async () => {
        await call(client, "leave", endless);
        await expectFree(client);
      });
    }

    test("a bad request is the library's own error, and is sent once", async () => {
      await sent();
      const refused = await call(client, "refused", { temperature: 3 });
      expect(refused).toMatchObject({ name: refusal, status: 400, param: "temperature", type: "invalid_request_error" });
      expect(refused.message).toContain(message);
      expect(refused.isRetryable ?? false).toBe(false);
      expect(await sent()).toEqual([400]);
    });

    test("an answer by a schema", async () => {
      const { city, ...rest } = await call(client, "structured", "What is the capital of Italy?");
      expect(["Paris", "Rome"]).toContain(city);
      expect(rest).toEqual({});
    });

    test("a call of a tool", async () => {
      const { name, input, finish } = await call(client, "called", "What is the weather in Rome?");
      expect({ name, finish: finish.replace("-", "_") }).toEqual({ name: "weather", finish: "tool_calls" });
      expect(["Paris", "Rome"]).toContain(input.city);
    });
  });
}

test("openai: /v1/models", async () => {
  const { listed, found, missing } = await call("openai", "models");
  expect(listed).toHaveLength(1);
  expect(found).toBe(listed[0]);
  expect(missing).toBe("model_not_found");
});
