/**
 * How servers differ from this engine in what they are asked: names of fields, and what they do
 * where nothing is said.
 */

import { makeError, type ApiFields, type PeregrineError } from "../errors.js";
import type { ApiRequest } from "../protocol.js";

/** Which program a server is, as far as `/v1/models` tells. */
export type Program = "peregrine" | "vllm" | "llamacpp" | "other";

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);

/** Who owns the model, as the three programs say of theirs. */
export function programOf(list: unknown, model: string): Program {
  const models = isObject(list) && Array.isArray(list["data"]) ? list["data"].filter(isObject) : [];
  const owner = (models.find(({ id }) => id === model) ?? models[0])?.["owned_by"];
  return owner === "peregrine" || owner === "vllm" || owner === "llamacpp" ? owner : "other";
}

/** What is sent, and what is done with the answer. */
export interface Asked {
  body: string;
  isStream: boolean;
  /** The caller wants the counts as a piece of the stream. */
  wantsUsage: boolean;
  /** The caller wants the tokens' ids. */
  wantsIds: boolean;
  /** Fields of which nobody knows whether the server obeys them. */
  warnings: string[];
}

function refuse(code: "argument" | "not-supported", message: string, api: Pick<ApiFields, "param" | "code">): never {
  throw makeError(code, message, { api: { status: 400, type: "invalid_request_error", ...api } });
}

function parsed(request: string): Record<string, unknown> {
  let body: unknown;
  try {
    body = JSON.parse(request);
  } catch (error) {
    refuse("argument", `the body is not JSON: ${(error as Error).message}`, { param: null, code: "invalid_json" });
  }
  if (!isObject(body)) refuse("argument", "the body: expected an object", { param: null, code: "invalid_type" });
  return body;
}

/** Our own fields, and the values that ask for nothing. */
const OWN = { top_k: 0, min_p: 0, repetition_penalty: 1, ignore_eos: false, return_token_ids: false, truncation: "disabled", tool_call_format: "auto" } as const;
/** Those of them that a program does not have. */
const LACKS: Record<Program, readonly (keyof typeof OWN)[]> = {
  peregrine: [],
  vllm: ["truncation", "tool_call_format"],
  llamacpp: ["truncation", "return_token_ids", "tool_call_format"],
  other: ["truncation", "return_token_ids", "tool_call_format"],
};
const TITLES: Record<Program, string> = { peregrine: "peregrine serve", vllm: "vLLM", llamacpp: "llama.cpp's server", other: "a server that is not known" };

/**
 * What to send to a server so that it does what the engine would have done. OpenAI's defaults are
 * written out where the program has others (llama.cpp), or takes the model's (vLLM). What a program
 * is known not to have is refused by name.
 */
export function askedOf({ kind, body: given }: Pick<ApiRequest, "kind" | "body">, program: Program, model: string): Asked {
  const body = parsed(given);
  const { stream = null, stream_options: options = null } = body;
  if (stream !== null && typeof stream !== "boolean") refuse("argument", "stream: expected true or false", { param: "stream", code: "invalid_type" });
  const isStream = stream === true;
  const wantsUsage = isStream && isObject(options) && options["include_usage"] === true;
  const wantsIds = body["return_token_ids"] === true;
  body["model"] = model;
  if (isStream) body["stream_options"] = { ...(isObject(options) ? options : {}), include_usage: true };
  const warnings = program === "peregrine" ? [] : adapt(body, program, kind);
  return { body: JSON.stringify(body), isStream, wantsUsage, wantsIds, warnings };
}

/**
 * Whether a request is only for servers that are known to have its fields.
 * @throws RequestError for what is no request at all
 */
export function needsToKnow(request: Pick<ApiRequest, "kind" | "body">): boolean {
  try {
    askedOf(request, "other", "");
    return false;
  } catch (error) {
    if ((error as PeregrineError).code === "not-supported") return true;
    throw error;
  }
}

/**
 * Whether a request's prompt is token ids: those of the device's model, which mean other words to a
 * server's.
 */
export function isOfIds(request: Pick<ApiRequest, "kind" | "body">): boolean {
  const { prompt } = parsed(request.body);
  return Array.isArray(prompt) && typeof prompt[0] !== "string" && prompt.length > 0;
}

/** A text in llama.cpp's grammars. */
const quoted = (text: string): string => `"${[...text].map((c) => (/[\w .,:;!?'()<>=+*/-]/.test(c) ? c : `\\U${c.codePointAt(0)!.toString(16).padStart(8, "0")}`)).join("")}"`;

/** Formats of an answer beyond OpenAI's, in the words of those that have them. */
function adaptFormat(body: Record<string, unknown>, program: Exclude<Program, "peregrine">): void {
  const format = body["response_format"];
  const kind = isObject(format) ? format["type"] : undefined;
  if (!isObject(format) || (kind !== "regex" && kind !== "choice" && kind !== "grammar")) return;
  const value = format[kind];
  const isTexts = Array.isArray(value) && value.length > 0 && value.every((text) => typeof text === "string");
  if (kind === "choice" ? !isTexts : typeof value !== "string") {
    refuse("argument", `response_format.${kind}: expected ${kind === "choice" ? "a list of at least one text" : "a text"}`, { param: `response_format.${kind}`, code: "invalid_type" });
  }
  if (program === "vllm" && kind !== "grammar") body["structured_outputs"] = { [kind]: value };
  else if (program === "llamacpp" && kind === "choice") body["grammar"] = `root ::= ${(value as string[]).map(quoted).join(" | ")}`;
  else refuse("not-supported", `response_format: ${TITLES[program]} answers, which has no "${kind}" of this kind`, { param: "response_format", code: "unsupported_parameter" });
  delete body["response_format"];
}

/**
 * llama.cpp takes a choice by name for "auto", and one call at a time unless it is told otherwise.
 */
function adaptTools(body: Record<string, unknown>, program: Exclude<Program, "peregrine">): void {
  const { tools, tool_choice: choice } = body;
  if (program !== "llamacpp" || !Array.isArray(tools) || tools.length === 0) return;
  body["parallel_tool_calls"] ??= true;
  const name = isObject(choice) && isObject(choice["function"]) ? choice["function"]["name"] : undefined;
  if (name === undefined) return;
  body["tools"] = tools.filter((tool) => isObject(tool) && isObject(tool["function"]) && tool["function"]["name"] === name);
  if ((body["tools"] as unknown[]).length === 0) refuse("argument", `tool_choice: there is no tool ${JSON.stringify(name)}`, { param: "tool_choice", code: "invalid_value" });
  body["tool_choice"] = "required";
}

/** OpenAI's formats of plain completions, which OpenAI's API does not have there. */
function adaptPlainFormat(body: Record<string, unknown>, program: Exclude<Program, "peregrine">): void {
  const format = body["response_format"];
  if (!isObject(format) || format["type"] === "text") return void delete body["response_format"];
  if (program === "vllm") return;
  const { json_schema: given } = format;
  if (program !== "llamacpp") refuse("not-supported", `response_format: ${TITLES[program]} answers, which may not have it for plain completions; ask for a chat completion`, { param: "response_format", code: "unsupported_parameter" });
  body["json_schema"] = (isObject(given) ? given["schema"] : undefined) ?? { type: "object" };
  delete body["response_format"];
}

function adapt(body: Record<string, unknown>, program: Exclude<Program, "peregrine">, kind: ApiRequest["kind"]): string[] {
  const warnings: string[] = [];
  adaptFormat(body, program);
  adaptTools(body, program);
  if (kind === "completion") adaptPlainFormat(body, program);
  const { lora } = body;
  if (lora !== undefined && lora !== null && !(Array.isArray(lora) && lora.length === 0)) {
    refuse("not-supported", `lora: ${TITLES[program]} answers, which does not have this page's adapters`, { param: "lora", code: "unsupported_parameter" });
  }
  delete body["lora"];
  for (const [field, neutral] of Object.entries(OWN) as [keyof typeof OWN, unknown][]) {
    const value = body[field];
    if (value === undefined || value === null || value === neutral) {
      delete body[field];
      continue;
    }
    if (LACKS[program].includes(field)) {
      refuse("not-supported", `${field}: ${TITLES[program]} answers, which has no such field`, { param: field, code: "unsupported_parameter" });
    }
    if (program === "other") warnings.push(`${field}: sent, but whether the server obeys it is not known`);
  }
  body["temperature"] ??= 1;
  body["top_p"] ??= 1;
  // OpenAI's default; llama.cpp would go on as long as it can.
  if (kind === "completion") body["max_tokens"] ??= 16;
  if (program === "other") return warnings;
  body["top_k"] ??= 0;
  body["min_p"] ??= 0;
  const penalty = body["repetition_penalty"] ?? 1;
  if (program === "vllm") {
    body["repetition_penalty"] = penalty;
  } else {
    delete body["repetition_penalty"];
    // Over the last 64 tokens, as the engine's own.
    body["repeat_penalty"] = penalty;
  }
  // OpenAI's newer word for "system", which templates do not have.
  if (kind === "chat" && Array.isArray(body["messages"])) {
    body["messages"] = body["messages"].map((message: unknown) => (isObject(message) && message["role"] === "developer" ? { ...message, role: "system" } : message));
  }
  return warnings;
}
