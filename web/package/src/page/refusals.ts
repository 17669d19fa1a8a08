/** What an OpenAI-compatible server says when it does not answer, as this package's errors. */

import { makeError, type ApiFields, type ErrorCode, type PeregrineError } from "../errors.js";

/** Bytes of a refusal that are read, and characters of its message that are told. */
const MOST_BYTES = 1 << 16;
const MOST_TOLD = 500;

/** Who refused, and what must not be told. */
export interface Told {
  /** The server's address, as it may be shown. */
  address: string;
  /** Takes what is secret out of a text. */
  hide: (text: string) => string;
}

const TYPES: Record<number, string> = { 401: "authentication_error", 403: "permission_error", 429: "rate_limit_error" };
const typeOf = (status: number) => TYPES[status] ?? (status >= 500 ? "server_error" : "invalid_request_error");

/**
 * The same code that the engine has for the same fault; what is not the request's fault is the
 * server's.
 */
function codeOf(status: number, type: string, code: string, message: string): ErrorCode {
  // OpenAI's and our own word, llama.cpp's, and vLLM's.
  if (code === "context_length_exceeded" || type === "exceed_context_size_error" || /maximum context length/i.test(message)) return "context-full";
  if (code === "unsupported_parameter" || code === "unknown_parameter") return "not-supported";
  if (status === 429) return "busy";
  return status === 400 || status === 413 || status === 422 ? "argument" : "server-failed";
}

const NAMES: Partial<Record<ErrorCode, string>> = {
  argument: "invalid_value",
  "context-full": "context_length_exceeded",
  busy: "queue_full",
};

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);
const text = (value: unknown): string => (typeof value === "string" ? value : "");

/**
 * OpenAI's error object, as servers write it: whole, without its frame (vLLM once), only a text, or
 * FastAPI's `detail`.
 */
export function refusalOf(said: unknown, status: number, told: Told): PeregrineError {
  const framed = isObject(said) && "error" in said ? said["error"] : said;
  const fields = isObject(framed) ? framed : {};
  const detail = fields["message"] ?? fields["detail"] ?? framed;
  const message = told.hide(typeof detail === "string" ? detail : JSON.stringify(detail ?? null));
  const [type, word, param] = [fields["type"], fields["code"], fields["param"]].map((value) => told.hide(text(value)));
  const code = codeOf(status, type as string, word as string, message);
  const api: ApiFields = {
    status,
    type: type || typeOf(status),
    param: param || null,
    code: word || (NAMES[code] ?? "server_failed"),
  };
  const line = message.replace(/\s+/g, " ").trim();
  const short = line.length <= MOST_TOLD ? line : `${line.slice(0, MOST_TOLD - 1)}…`;
  return makeError(code, `${told.address} answered ${status}: ${short}`, { api });
}

/** A server that answers something else than the API's answers. */
export const failed = (told: Told, what: string, status = 502, cause?: unknown): PeregrineError =>
  makeError("server-failed", `${told.address}: ${what}`, {
    api: { status, type: "server_error", param: null, code: "server_failed" },
    ...(cause === undefined ? {} : { cause }),
  });

/** Beginning of a body: a server that is no API may send anything. */
async function beginningOf(response: Response): Promise<string> {
  const reader = response.body?.getReader();
  if (!reader) return "";
  const decoder = new TextDecoder();
  let [said, bytes] = ["", 0];
  try {
    while (bytes < MOST_BYTES) {
      const { done, value } = await reader.read();
      if (done) break;
      bytes += value.length;
      said += decoder.decode(value, { stream: true });
    }
  } catch {
    // What has come says enough.
  }
  void reader.cancel().catch(() => {});
  return said;
}

/** The media type of a response, without its parameters. */
export const mediaType = (response: Response): string => (response.headers.get("Content-Type") ?? "").split(";")[0]!.trim().toLowerCase();

/** The error for a response that is no answer. */
export async function refused(response: Response, told: Told): Promise<PeregrineError> {
  const { status, statusText } = response;
  if (response.type === "opaqueredirect" || (status >= 300 && status < 400)) {
    void response.body?.cancel().catch(() => {});
    return failed(told, "the server sends requests on to another address, where no conversation is sent unasked; give that address as server.baseURL");
  }
  const said = await beginningOf(response);
  try {
    return refusalOf(JSON.parse(said), status, told);
  } catch {
    const kind = said === "" ? "nothing" : (mediaType(response) || "something") + ", not JSON";
    const about = status === 404 ? "; is server.baseURL the address of its API, as https://server/v1?" : "";
    return failed(told, told.hide(`the server answered ${`${status} ${statusText}`.trimEnd()} with ${kind}${about}`), status);
  }
}
