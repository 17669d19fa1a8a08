/** An OpenAI-compatible server that does what the test says. */

import { createServer } from "node:http";
import { Remote } from "../dist/page/remote.js";
import { Requests } from "../dist/page/requests.js";

export const KEY = "sk-geheim-123";
export const usage = { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 };
export const whole = { id: "1", object: "chat.completion", created: 1, model: "big", choices: [{ index: 0, message: { role: "assistant", content: "Yes." }, finish_reason: "stop" }], usage };
/** A piece of a stream. */
export const piece = (delta, finish_reason = null, more = {}) => ({ id: "1", object: "chat.completion.chunk", created: 1, model: "big", choices: [{ index: 0, delta, finish_reason }], ...more });

/** An answer with a status, a type, and headers. */
export const says = (status, body, headers = {}) => (_, response) =>
  response.writeHead(status, { "Content-Type": "application/json", ...headers }).end(typeof body === "string" ? body : JSON.stringify(body));
/** Events; then `end` does what it wants with the connection. */
export const streams = (events, end = (response) => response.end("data: [DONE]\n\n")) => (_, response) => {
  response.writeHead(200, { "Content-Type": "text/event-stream; charset=utf-8" });
  for (const event of events) response.write(`data: ${JSON.stringify(event)}\n\n`);
  end(response);
};
/** The connection is cut once all that was written has gone. */
export const cut = (response) => response.write(": \n\n", () => setImmediate(() => response.destroy()));

/**
 * Answers each POST with the next of `answers`, the last one again and again. `posts` are the
 * bodies that came, `waits` what was waited for between attempts: not at all here. `models` answers
 * GET in the same way, or, undefined, as a server does; `introduction`: milliseconds that it may
 * take for that.
 */
export async function faulty(t, answers, { owner = "peregrine", apiKey = KEY, query = "", models = [undefined], introduction = Infinity } = {}) {
  const [posts, heads, waits, lines] = [[], [], [], []];
  const left = [...answers];
  const server = createServer(async (request, response) => {
    heads.push({ method: request.method, url: request.url, ...request.headers });
    let body = "";
    for await (const part of request) body += part;
    if (request.method === "GET") {
      const list = says(200, { object: "list", data: [{ id: "big", object: "model", owned_by: owner }] });
      return ((models.length > 1 ? models.shift() : models[0]) ?? list)(request, response);
    }
    posts.push(JSON.parse(body));
    (left.length > 1 ? left.shift() : left[0])(request, response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => (server.closeAllConnections(), server.close()));
  const baseURL = `http://127.0.0.1:${server.address().port}/v1`;
  const remote = new Remote({
    base: new URL(`${baseURL}${query}`),
    apiKey: apiKey ?? undefined,
    model: "big",
    log: (level, text) => lines.push(`${level}: ${text}`),
    wait: async (attempt, response) => void waits.push([attempt, response?.headers.get("Retry-After") ?? null]),
    introduction,
  });
  return { baseURL, remote, requests: new Requests(remote, "big", false), posts, heads, waits, lines, server };
}
