/** What each option may be that an app gives; nested ones too. */

import { address, boolean, callable, fields, isA, isModule, like, MOST, number, oneOf, show, signal, text, word, wrong, type Check } from "../checks.js";
import { makeError } from "../errors.js";
import { DEVICES, GPU_OPTIONS, LOAD_OPTIONS, type Kind } from "../load-options.js";
import { LEVELS } from "../log.js";
import { QUANTIZE_TYPES } from "../quantize-types.js";

const anything: Check = () => {};

const wasm: Check = (value, field) => {
  // Shared memory is compiled nowhere.
  const bytes = ArrayBuffer.isView(value) ? value.buffer : value;
  if (isModule(value) || isA(bytes, "ArrayBuffer")) return;
  if (typeof value !== "string" && !(value instanceof URL)) throw wrong(field, "an address, bytes or a WebAssembly.Module", value);
};

/** What a header can carry. The value is never shown: not even a wrong one. */
const key: Check = (value, field) => {
  const isKey = typeof value === "string" && /^[\x21-\x7e]+$/.test(value) && !/["\\]/.test(value);
  if (!isKey) throw makeError("argument", `${field}: expected a text of ASCII characters without spaces, quotes and backslashes`);
};

/** The address is not shown: there may be a key in it. */
const base: Check = (value, field) => {
  const expected = `${field}: expected the address of an API, as https://server.example/v1`;
  if (typeof value !== "string" && !(value instanceof URL)) throw makeError("argument", expected);
  if (String(value).includes("#") || value === "") throw makeError("argument", expected);
};

const REASONS = ["no-device", "too-big", "too-slow"];
const when: Check = (value, field) => {
  if (value === "always") return;
  const isList = Array.isArray(value) && value.length > 0 && value.every((reason) => REASONS.includes(reason));
  if (!isList) throw wrong(field, `"always", or a list of ${REASONS.slice(0, -1).map(show).join(", ")} and ${show(REASONS.at(-1))}`, value);
};

const SERVER = fields({ baseURL: base, apiKey: key, model: word, when }, "server");
const server: Check = (value, field) => {
  SERVER(value, field);
  // Neither has a default.
  const { baseURL, model } = value as Record<string, unknown>;
  if (baseURL === undefined) base(baseURL, `${field}.baseURL`);
  if (model === undefined) word(model, `${field}.model`);
};

/** What the generated constants say. */
const checksOf = (options: Record<string, Kind>): Record<string, Check> =>
  Object.fromEntries(Object.entries(options).map(([name, kind]) => [name, kind === "boolean" ? boolean : "min" in kind ? number(kind.min, kind.whole ? MOST : undefined, kind.whole) : oneOf(...kind)]));

/** Those of an object's fields that are options and not undefined. */
export const given = <O extends object>(object: O | undefined, options: Record<keyof O, Kind>): O =>
  Object.fromEntries(Object.entries(object ?? {}).filter(([name, value]) => Object.hasOwn(options, name) && value !== undefined)) as O;

const LOADING: Record<string, Check> = {
  // Looked at by `sourceOf` and `connectionFor`, which know all that it may be.
  model: anything,
  worker: anything,
  cache: boolean,
  hub: address,
  sha256: text,
  quantizeTo: oneOf(...QUANTIZE_TYPES),
  onProgress: callable,
  signal,
  wasmUrl: wasm,
  grammarUrl: wasm,
  logLevel: oneOf(...LEVELS),
  logger: like("an object with the methods error, warn, info and debug", "error", "warn", "info", "debug"),
  ...checksOf(LOAD_OPTIONS),
  device: oneOf(...DEVICES),
  gpu: fields(checksOf(GPU_OPTIONS), "gpu"),
  whenBusy: oneOf("queue", "refuse"),
  onBroken: callable,
  server,
  onWhere: callable,
};

/** Options of `createEngine`, or of `downloadModel`, which looks at fewer of them. */
export const checkLoading = (options: unknown, of: "createEngine" | "downloadModel"): void => fields(LOADING, of)(options, "");

const LORA = fields({ id: word, scale: number(-1000, 1000) }, "an adapter");
/** Adapters beside the model: `[{ id, scale }]`. */
export const loras: Check = (value, field) => {
  if (!Array.isArray(value)) throw wrong(field, "a list of { id, scale }", value);
  value.forEach((one: unknown, i) => {
    const at = `${field}[${i}]`;
    LORA(one, at);
    word((one as { id?: unknown }).id, `${at}.id`);
  });
};

const PREFILL = fields({ signal, lora: loras }, "prefill");
/** Options of `prefill`. */
export const checkPrefill = (options: unknown): void => PREFILL(options, "options");
const CALL = fields({ signal }, "a call");
/** Options of one request. */
export const checkCall = (options: unknown): void => CALL(options, "options");
