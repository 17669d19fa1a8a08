/** Folders of safetensors, as Hugging Face has them: which of their files a model is. */

import { makeError, PeregrineError } from "../errors.js";
import { patientFetch } from "./http.js";
import type { RemoteFile } from "../protocol.js";

export const CONFIG = "config.json";
export const WEIGHTS = "model.safetensors";
/** What names the files of weights where there are several. */
export const INDEX = "model.safetensors.index.json";
/** What else is read of a folder. Only the first two must be there. */
export const BESIDE: readonly string[] = [
  CONFIG,
  "tokenizer.json",
  "tokenizer_config.json",
  "generation_config.json",
  "chat_template.jinja",
  "chat_template.json",
  "additional_chat_templates/default.jinja",
  "special_tokens_map.json",
  "added_tokens.json",
];

/** Whether a model's files are those of a folder. */
export const isFolder = (names: readonly string[]): boolean => names.includes(CONFIG) && (names.includes(WEIGHTS) || names.includes(INDEX));

/**
 * The files of weights that an index names; undefined for what is no index, which the engine then
 * says by its field.
 */
export function shardsOf(index: string): string[] | undefined {
  try {
    const { weight_map: map } = JSON.parse(index) as { weight_map?: unknown };
    const names = typeof map === "object" ? Object.values(map as Record<string, string>) : [];
    return names.length > 0 && names.every((name) => typeof name === "string" && /^[^/\\]+$/.test(name)) ? [...new Set(names)].sort() : undefined;
  } catch {
    return undefined;
  }
}

/** Bytes that an index may have; those of the largest models have a few MB. */
const LARGEST_INDEX = 64 << 20;

/** What stands in an index; `name` is what errors call it. */
export async function readIndex(index: Response | Blob, name: string): Promise<string> {
  const isFile = index instanceof Blob;
  let size = 0;
  const check = (more: number) => {
    if ((size += more) > LARGEST_INDEX) throw makeError("malformed", `${name}: an index of ${LARGEST_INDEX} bytes at most is read, this one has more`);
  };
  try {
    if (isFile) {
      check(index.size);
      return await index.text();
    }
    const decoder = new TextDecoder();
    let text = "";
    for await (const bytes of (index.body ?? []) as AsyncIterable<Uint8Array>) {
      check(bytes.length);
      text += decoder.decode(bytes, { stream: true });
    }
    return text + decoder.decode();
  } catch (cause) {
    if (cause instanceof PeregrineError) throw cause;
    throw makeError(isFile ? "io" : "http", `${name} could not be read: ${(cause as Error).message}`, { cause });
  }
}

/** Without percent signs, where they mean something. */
export function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The files of a folder among `names`; `index` is what stands in its index, where it has one. */
export function filesOf(names: readonly string[], index: string | undefined): string[] {
  const weights = index === undefined ? [WEIGHTS] : [INDEX, ...(shardsOf(index) ?? [])];
  return [...BESIDE.filter((name) => names.includes(name)), ...weights];
}

/** Answers to a request for a file that is not there; and for one that is empty. */
const ABSENT = [403, 404, 410, 416];

/** The files of the folder at an address, which ends with a slash before its query. */
export async function resolveFolder(model: string): Promise<RemoteFile[]> {
  const at = (name: string) => {
    const url = new URL(model);
    url.pathname += name;
    return url.href;
  };
  // Which of these there are only the server knows; many answer with a page where there is nothing.
  const isThere = async (name: string) => {
    const response = await patientFetch(at(name), { headers: { Range: "bytes=0-0" }, cache: "no-store" }, undefined, ...ABSENT);
    void response.body?.cancel();
    return response.ok && !/^text\/html\b/.test(response.headers.get("Content-Type") ?? "");
  };
  const [must, may] = [BESIDE.slice(0, 2), [...BESIDE.slice(2), INDEX]];
  const there = await Promise.all(may.map(isThere));
  const names = [...must, ...may.filter((_, i) => there[i])];
  const index = names.includes(INDEX) ? await readIndex(await patientFetch(at(INDEX), { cache: "no-cache" }), at(INDEX)) : undefined;
  const folder = decoded(new URL(model).pathname.split("/").at(-2) || "model");
  const files = filesOf(names, index);
  return files.map((name) => ({ url: at(name), name: `${folder}/${name}`, key: at(name), of: files.length }));
}
