/**
 * Checks what an app gives: every field by its name, nested ones too; a name that is not known is
 * refused, with the one that is near.
 */

import { makeError, type PeregrineError } from "../errors.js";
import { GPU_OPTIONS, LOAD_OPTIONS, type Kind } from "../load-options.js";
import { LEVELS } from "../log.js";
import { DEVICES, QUANTIZE_TYPES } from "../protocol.js";

/** Throws, naming the field, unless the value fits. */
export type Check = (value: unknown, field: string) => void;

/** The largest number that the engine takes as a count. */
const MOST = 0xffffffff;

function show(value: unknown): string {
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "function") return "a function";
  if (typeof value === "number") return String(value);
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    // It refers to itself, or has a number that JSON has not.
  }
  text ??= String(value);
  return text.length <= 80 ? text : `${text.slice(0, 77)}…`;
}

/** The error for a wrong value. */
export const wrong = (field: string, expected: string, found: unknown): PeregrineError => makeError("argument", `${field}: expected ${expected}, found ${show(found)}`);

/** How many letters must be put in, taken out or changed. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] as number) + Number(a[i - 1] !== b[j - 1]);
      next.push(Math.min(change, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}

/** `; did you mean X?` for a name that is nearly X, or nothing. */
export function suggestion(name: string, known: Iterable<string>): string {
  const plain = (text: string) => text.toLowerCase().replace(/[_-]/g, "");
  const ranked = [...known].map((other) => ({ other, far: distance(plain(name), plain(other)) })).sort((a, b) => a.far - b.far);
  const [best] = ranked;
  return best && best.far <= Math.max(1, Math.floor(best.other.length / 3)) ? `; did you mean ${best.other}?` : "";
}

/** A number from `min` to `max`. */
export const number =
  (min: number, max: number = Number.MAX_SAFE_INTEGER, whole = false): Check =>
  (value, field) => {
    if (typeof value === "number" && value >= min && value <= max && (!whole || Number.isInteger(value))) return;
    const kind = whole ? "a whole number" : "a number";
    // Where the engine's counts end is no news to who gives none.
    const range = max < MOST ? `from ${min} to ${max}` : (value as number) > max ? `of at most ${max}` : `of at least ${min}`;
    throw wrong(field, `${kind} ${range}`, value);
  };

/** A count from `min` on. */
export const count = (min: number): Check => number(min, MOST, true);

/** One of these words. */
export const oneOf =
  (...words: readonly string[]): Check =>
  (value, field) => {
    if (words.includes(value as string)) return;
    throw wrong(field, `${words.slice(0, -1).map(show).join(", ")} or ${show(words.at(-1))}`, value);
  };

const typed =
  (type: string, expected: string): Check =>
  (value, field) => {
    if (typeof value !== type) throw wrong(field, expected, value);
  };
/** true or false */
export const boolean: Check = typed("boolean", "true or false");
/** A text. */
export const text: Check = typed("string", "a text");
/** A function. */
export const callable: Check = typed("function", "a function");
const anything: Check = () => {};

/** An address. */
export const address: Check = (value, field) => {
  if (typeof value !== "string" && !(value instanceof URL)) throw wrong(field, "an address", value);
};

/** Has these methods: what comes from another frame is no instance of this one's classes. */
const like =
  (expected: string, ...methods: string[]): Check =>
  (value, field) => {
    const has = (method: string) => typeof (value as Record<string, unknown> | null | undefined)?.[method] === "function";
    if (!methods.every(has)) throw wrong(field, expected, value);
  };

/** An AbortSignal. */
export const signal: Check = like("an AbortSignal", "addEventListener", "removeEventListener");

/** The kind of object, also of another frame's. */
const isA = (value: unknown, kind: string): boolean => Object.prototype.toString.call(value) === `[object ${kind}]`;

/** A WebAssembly.Module. */
export const isModule = (value: unknown): boolean => isA(value, "WebAssembly.Module");

const wasm: Check = (value, field) => {
  // Shared memory is compiled nowhere.
  const bytes = ArrayBuffer.isView(value) ? value.buffer : value;
  if (isModule(value) || isA(bytes, "ArrayBuffer")) return;
  if (typeof value !== "string" && !(value instanceof URL)) throw wrong(field, "an address, bytes or a WebAssembly.Module", value);
};

/** Token ids. */
export const ids: Check = (value, field) => {
  const list = Array.isArray(value) || (ArrayBuffer.isView(value) && "length" in value) ? Array.from(value as ArrayLike<unknown>) : undefined;
  if (!list) throw wrong(field, "a list of token ids", value);
  const odd = list.find((id) => typeof id !== "number" || !Number.isInteger(id) || id < 0 || id > MOST);
  if (odd !== undefined || list.includes(undefined)) throw wrong(field, "whole numbers of at least 0", odd);
};

/** An object with no other fields than these; those that are undefined are not there. */
export const fields =
  (known: Record<string, Check>, of: string): Check =>
  (value, field) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong(field || of, "an object", value);
    for (const [name, given] of Object.entries(value)) {
      if (given === undefined) continue;
      const at = field ? `${field}.${name}` : name;
      if (!Object.hasOwn(known, name)) throw makeError("argument", `${at}: not an option of ${of}${suggestion(name, Object.keys(known))}`);
      (known[name] as Check)(given, at);
    }
  };

/** A text that is not empty. */
export const word: Check = (value, field) => {
  if (typeof value !== "string" || value === "") throw wrong(field, "a text that is not empty", value);
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
