/** What an app may call a model, and where the worker then reads it from. */

import { makeError } from "../errors.js";
import { isHubId, partsOf } from "../download/hub.js";
import type { RemoteFile, SourceSpec } from "../protocol.js";

/**
 * A model: its name on the hub (`org/repo`, `org/repo:FILE`, `org/repo:Q4_K_M`), the address of a GGUF file, files the user
 * chose (all parts of one model), a folder with them, bytes, the answer to a request, or `"embedded"`: the small model of
 * `import "peregrine/embedded"`.
 */
export type ModelSource = string | URL | Blob | readonly File[] | FileList | ArrayBuffer | ArrayBufferView | Response | FileSystemDirectoryHandle;

/** How the model's bytes are had. */
export interface SourceOptions {
  /** Keep downloads on this device. Default true; files of the user's own are not copied. */
  cache?: boolean;
  /** Address of the hub. Default https://huggingface.co */
  hub?: string | URL;
  /** SHA-256 of the file in hexadecimal; for models by address (the hub tells it itself). */
  sha256?: string;
}

let embedded: URL | undefined;

/** Says where the embedded model is; `peregrine/embedded` does it. @internal */
export function setEmbedded(url: URL): void {
  embedded = url;
}

/** The address that relative ones are relative to. */
export function baseAddress(): string | undefined {
  return globalThis.document?.baseURI ?? globalThis.location?.href;
}

/** A full address, or an error that names the field. */
export function addressOf(text: string | URL, field: string): URL {
  let url: URL;
  try {
    url = new URL(text, baseAddress());
  } catch (cause) {
    throw makeError("argument", `${field}: expected an address, found "${text}"`, { cause });
  }
  if (!/^(https?|blob|file):$/.test(url.protocol)) throw makeError("not-supported", `${field}: ${url.protocol} addresses are not supported`);
  return url;
}

/** Without percent signs, where they mean something. */
export function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const lastOf = (url: URL): string => decoded(url.pathname.split("/").pop() || url.href);

function byAddress(url: URL, options: SourceOptions, cache: boolean): SourceSpec {
  const name = lastOf(url);
  const files = partsOf(name).map((part): RemoteFile => {
    const address = new URL(url);
    if (part !== name) address.pathname = url.pathname.slice(0, url.pathname.length - url.pathname.split("/").pop()!.length) + encodeURIComponent(part);
    return { url: address.href, name: part, key: address.href };
  });
  if (options.sha256 !== undefined) {
    if (!/^[0-9a-f]{64}$/i.test(options.sha256)) throw makeError("argument", `sha256: expected 64 hexadecimal digits, found "${options.sha256}"`);
    if (files.length > 1) throw makeError("not-supported", "sha256: not supported for a model in several files");
    files[0]!.sha256 = options.sha256.toLowerCase();
  }
  return { kind: "urls", model: url.href, files, cache };
}

function byFiles(given: { name: string; blob: Blob }[]): SourceSpec {
  const files = given.filter(({ name }) => /\.gguf$/i.test(name) || given.length === 1).sort((a, b) => (a.name < b.name ? -1 : 1));
  const [first] = files;
  if (!first) throw makeError("argument", `model: no GGUF file among ${given.map(({ name }) => name).join(", ") || "no files"}`);
  const parts = partsOf(first.name);
  const missing = parts.find((part) => !files.some(({ name }) => name === part));
  if (missing !== undefined && (files.length > 1 || parts.length > 1)) throw makeError("argument", `model: ${missing} is missing; a model in several files needs all of them`);
  if (files.length !== parts.length && files.length > 1) {
    throw makeError("argument", `model: expected the files of one model, found ${files.map(({ name }) => name).join(", ")}`);
  }
  return { kind: "blobs", files };
}

/** A file by its address in Node, whose `fetch` reads none. */
async function openFile(url: URL): Promise<SourceSpec | undefined> {
  const { process } = globalThis as { process?: { getBuiltinModule?: (name: string) => unknown } };
  const files = process?.getBuiltinModule?.("node:fs") as { openAsBlob?: (path: URL) => Promise<Blob> } | undefined;
  if (!files?.openAsBlob) return undefined;
  const parts = partsOf(lastOf(url)).map(async (name) => {
    const address = new URL(encodeURIComponent(name), url);
    try {
      return { name, blob: await files.openAsBlob!(address) };
    } catch (cause) {
      throw makeError("io", `model: ${address.href} cannot be opened: ${(cause as Error).message}`, { cause });
    }
  });
  return byFiles(await Promise.all(parts));
}

/** The body of an answer. */
async function ofResponse(response: Response): Promise<SourceSpec> {
  const from = response.url || "the Response";
  if (!response.ok) throw makeError("http", `model: ${from}: the server answered ${response.status} ${response.statusText}`.trimEnd());
  if (response.bodyUsed) throw makeError("argument", `model: the body of ${from} has been read already`);
  try {
    return { kind: "blobs", files: [{ name: response.url ? lastOf(new URL(response.url)) : "model", blob: await response.blob() }] };
  } catch (cause) {
    throw makeError("http", `model: ${from}: the connection broke: ${(cause as Error).message}`, { cause });
  }
}

/** Reads what the app gave. @throws RequestError */
export async function sourceOf(model: ModelSource, options: SourceOptions): Promise<SourceSpec> {
  const cache = options.cache ?? true;
  if (model === "embedded") {
    if (!embedded) throw makeError("argument", 'model: "embedded" is there after `import "peregrine/embedded"`');
    // The app serves it itself; what is small and served from near is not kept twice.
    // Next's bundler turns `new URL(…, import.meta.url)` into a URL that is an address without an origin.
    const source = byAddress(addressOf(embedded, "model"), {}, options.cache ?? false);
    return { ...source, why: "the embedded model comes with the app" } as SourceSpec;
  }
  if (typeof model === "string" && isHubId(model)) {
    const base = addressOf(options.hub ?? "https://huggingface.co", "hub");
    return { kind: "hub", model, base: base.href, cache };
  }
  if (typeof model === "string" || model instanceof URL) {
    const url = addressOf(model, "model");
    const opened = url.protocol === "file:" ? await openFile(url) : undefined;
    return opened ?? byAddress(url, options, cache && url.protocol !== "blob:");
  }
  if (model instanceof Blob) return { kind: "blobs", files: [{ name: model instanceof File ? model.name : "model", blob: model }] };
  if (model instanceof ArrayBuffer || ArrayBuffer.isView(model)) return { kind: "blobs", files: [{ name: "model", blob: new Blob([model as BlobPart]) }] };
  if (typeof Response !== "undefined" && model instanceof Response) return ofResponse(model);
  if (typeof FileSystemDirectoryHandle !== "undefined" && model instanceof FileSystemDirectoryHandle) {
    const files: { name: string; blob: Blob }[] = [];
    for await (const [name, handle] of model.entries()) {
      if (handle.kind === "file") files.push({ name, blob: await (handle as FileSystemFileHandle).getFile() });
    }
    return byFiles(files);
  }
  if (typeof model === "object" && model !== null && "length" in model) {
    const files = Array.from(model as ArrayLike<unknown>);
    if (files.every((file): file is File => file instanceof File)) return byFiles(files.map((file) => ({ name: file.name, blob: file })));
  }
  throw makeError("argument", "model: expected a hub id, an address, files, a folder, bytes, a Blob or a Response");
}
