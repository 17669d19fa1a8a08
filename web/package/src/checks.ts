/**
 * What values may be that an app gives: a check names the field that is wrong; of names that are
 * not known the one that is near.
 */

import { makeError, type PeregrineError } from "./errors.js";

/** Throws, naming the field, unless the value fits. */
export type Check = (value: unknown, field: string) => void;

/** The largest number that the engine takes as a count. */
export const MOST = 0xffffffff;

/** A value in a message: not all of a long one. */
export function show(value: unknown): string {
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

/** An address. */
export const address: Check = (value, field) => {
  if (typeof value !== "string" && !(value instanceof URL)) throw wrong(field, "an address", value);
};

/** Has these methods: what comes from another frame is no instance of this one's classes. */
export const like =
  (expected: string, ...methods: string[]): Check =>
  (value, field) => {
    const has = (method: string) => typeof (value as Record<string, unknown> | null | undefined)?.[method] === "function";
    if (!methods.every(has)) throw wrong(field, expected, value);
  };

/** An AbortSignal. */
export const signal: Check = like("an AbortSignal", "addEventListener", "removeEventListener");

/** The kind of object, also of another frame's. */
export const isA = (value: unknown, kind: string): boolean => Object.prototype.toString.call(value) === `[object ${kind}]`;

/** A WebAssembly.Module. */
export const isModule = (value: unknown): boolean => isA(value, "WebAssembly.Module");

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
