/**
 * `engine.fetch`: OpenAI's API over HTTP, without HTTP. What a client library sends goes to the
 * engine.
 */

import { PeregrineError, ServerError, type ApiFields } from "../errors.js";
import { exhausted } from "./remote.js";
import type { Requests } from "./requests.js";
import type { Events } from "./stream.js";

/** Errors that no request is to blame for, as a server would tell them. */
const FIELDS: Partial<Record<PeregrineError["code"], ApiFields>> = {
  busy: { status: 429, type: "rate_limit_error", param: null, code: "queue_full" },
  disposed: { status: 503, type: "server_error", param: null, code: "stopping" },
  "device-lost": { status: 503, type: "server_error", param: null, code: "device_lost" },
  "server-unreachable": { status: 502, type: "server_error", param: null, code: "server_unreachable" },
  "server-failed": { status: 502, type: "server_error", param: null, code: "server_failed" },
  "out-of-memory": { status: 500, type: "server_error", param: null, code: "out_of_memory" },
};
const OTHER: ApiFields = { status: 500, type: "server_error", param: null, code: "internal" };

function fieldsOf(error: unknown): { status: number; body: string } {
  const known = error instanceof PeregrineError ? (error.api ?? FIELDS[error.code]) : undefined;
  const { status, ...fields } = known ?? OTHER;
  return { status, body: JSON.stringify({ error: { message: (error as Error).message, ...fields } }) };
}

const respond = (status: number, body: string, headers?: Record<string, string>) =>
  new Response(body, { status, headers: { "Content-Type": "application/json", ...headers } });

const refuse = (status: number, code: string, message: string, param: string | null = null) =>
  respond(status, JSON.stringify({ error: { message, type: "invalid_request_error", param, code } }));

/** What is said of an error before the first word; a stopped call rejects, as `fetch` does. */
function failed(error: unknown, signal: AbortSignal): Response {
  if (signal.aborted) throw signal.reason;
  const { status, body } = fieldsOf(error);
  // Servers have been asked again and again already, which OpenAI's clients are told so.
  if (error instanceof ServerError || exhausted.has(error as Error)) return respond(status, body, { "x-should-retry": "false" });
  return respond(status, body, status === 429 ? { "Retry-After": "1" } : {});
}

/** Server-sent events. An error ends them without `[DONE]`, and so does the signal. */
function stream(first: string, events: Events, signal: AbortSignal): Response {
  const encoder = new TextEncoder();
  let waiting: string | undefined = first;
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const send = (data: string) => controller.enqueue(encoder.encode(`data: ${data}\n\n`));
        try {
          const event = waiting ?? (await events.next());
          waiting = undefined;
          if (event !== undefined) return send(event);
          send("[DONE]");
          controller.close();
        } catch (error) {
          if (signal.aborted) return controller.error(signal.reason);
          send(fieldsOf(error).body);
          controller.close();
        }
      },
      cancel: () => events.leave(),
    },
    { highWaterMark: 0 },
  );
  return new Response(body, { status: 200, headers: { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" } });
}

async function post(kind: "chat" | "completion", request: Request, requests: Requests): Promise<Response> {
  const { signal } = request;
  try {
    const events = requests.post(kind, await request.text(), signal);
    const first = await events.next();
    return first === undefined ? respond(200, events.result?.whole as string) : stream(first, events, signal);
  } catch (error) {
    return failed(error, signal);
  }
}

async function models(id: string | undefined, request: Request, requests: Requests): Promise<Response> {
  try {
    const { signal } = request;
    const pending = requests.link.call("models", null);
    const stopped = new Promise<never>((_, reject) => {
      const stop = () => (pending.abort(), reject(signal.reason as Error));
      if (signal.aborted) stop();
      else signal.addEventListener("abort", stop, { once: true });
    });
    const list = await Promise.race([pending.result, stopped]);
    if (id === undefined) return respond(200, list);
    const { data } = JSON.parse(list) as { data: { id: string }[] };
    const found = data.find((model) => model.id === id);
    if (found) return respond(200, JSON.stringify(found));
    return refuse(404, "model_not_found", `there is no model ${id.slice(0, 80)}; there is ${data[0]?.id}`, "model");
  } catch (error) {
    return failed(error, request.signal);
  }
}

/** Answers what a client of OpenAI's API sends to any address that ends as theirs do. */
export async function answer(requests: Requests, input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  const isAddress = typeof input === "string" || input instanceof URL;
  const request = isAddress ? new Request(new URL(input, "https://peregrine.invalid"), init) : new Request(input, init);
  const { pathname } = new URL(request.url);
  const [, path, id] = /\/(chat\/completions|completions|models)(?:\/(.+))?\/?$/.exec(pathname) ?? [];
  if (path === undefined || (id !== undefined && path !== "models")) {
    const there = "/v1/chat/completions, /v1/completions, /v1/models";
    return refuse(404, "unknown_url", `${request.method} ${pathname.slice(0, 80)}: there is no such path; there are ${there}`);
  }
  const method = path === "models" ? "GET" : "POST";
  if (request.method !== method) return refuse(405, "method_not_allowed", `${request.method} ${pathname.slice(0, 80)}: use ${method}`);
  if (path === "models") return models(id && decodeURIComponent(id), request, requests);
  return post(path === "completions" ? "completion" : "chat", request, requests);
}
