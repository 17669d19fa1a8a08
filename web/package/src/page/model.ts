/** What an app may call a model, and where the worker then reads it from. */

import { makeError } from "../errors.js";
import { BESIDE, CONFIG, decoded, filesOf, INDEX, readIndex, WEIGHTS } from "../download/folder.js";
import { HUB, isHubId, partsOf } from "../download/hub.js";
import { filesIn, type Given } from "./given.js";
import { MADE, type RemoteFile, type SourceSpec } from "../protocol.js";

/**
 * A model: its name on the hub (`org/repo`, `org/repo:FILE`, `org/repo:Q4_K_M`), the address of a
 * GGUF file, or of a folder of safetensors (`https://…/folder/`), files the user chose (all parts
 * of one model, or those of such a folder), a folder with them, bytes, the answer to a request, or
 * `"embedded"`: the small model of `import "peregrine/embedded"`. A repository with GGUF files
 * means one of these, unless its `model.safetensors` or the index of them is named.
 */
export type ModelSource = string | URL | Blob | readonly File[] | FileList | ArrayBuffer | ArrayBufferView | Response | FileSystemDirectoryHandle;

/** How the model's bytes are had. */
export interface SourceOptions {
  /**
   * Keep downloads, and what is quantized here, on this device. Default true; files of the user's
   * own are not copied.
   */
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

const lastOf = (url: URL): string => decoded(url.pathname.split("/").pop() || url.href);

/**
 * Whether an address means a folder of safetensors: one that ends with a slash, or with one of its
 * files.
 */
const isOfFolder = (url: URL): boolean => [CONFIG, INDEX, WEIGHTS, ""].includes(url.pathname.split("/").pop()!);

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

async function byFiles(given: Given[], folder?: string): Promise<SourceSpec> {
  const some = given.filter(({ name }) => /\.gguf$/i.test(name));
  if (some.length === 0 && given.some(({ name }) => name === CONFIG || /\.safetensors$/i.test(name))) return byFolder(given, folder);
  const files = (given.length === 1 ? given : some).sort((a, b) => (a.name < b.name ? -1 : 1));
  const [first] = files;
  if (!first) throw makeError("argument", `model: no GGUF file and no folder of safetensors among ${given.map(({ name }) => name).join(", ") || "no files"}`);
  const parts = partsOf(first.name);
  const missing = parts.find((part) => !files.some(({ name }) => name === part));
  if (missing !== undefined && (files.length > 1 || parts.length > 1)) throw makeError("argument", `model: ${missing} is missing; a model in several files needs all of them`);
  if (files.length !== parts.length && files.length > 1) {
    throw makeError("argument", `model: expected the files of one model, found ${files.map(({ name }) => name).join(", ")}`);
  }
  return { kind: "blobs", files: files.map(({ name, blob }) => ({ name, blob })) };
}

/**
 * The files of a folder of safetensors among those that a person gave; `folder` is what it is
 * called where their paths do not say it.
 */
async function byFolder(given: Given[], folder?: string): Promise<SourceSpec> {
  const needs = "a folder of safetensors needs config.json, tokenizer.json and its model.safetensors, or the files that model.safetensors.index.json names";
  const depth = ({ path }: Given) => path.split("/").length;
  const configs = given.filter(({ name }) => name === CONFIG).sort((a, b) => depth(a) - depth(b));
  const [config, other] = configs;
  if (!config) {
    const isAdapter = given.some(({ name }) => name === "adapter_config.json");
    throw makeError("argument", `model: ${isAdapter ? "this is a LoRA adapter, which engine.lora.load() takes beside its base model" : `config.json is missing; ${needs}`}`);
  }
  if (other && depth(other) === depth(config)) {
    throw makeError("argument", `model: expected the folder of one model, found ${config.path} and ${other.path}; choose one of their folders`);
  }
  const inside = config.path.slice(0, -CONFIG.length);
  const byName = new Map(given.filter(({ path }) => path.startsWith(inside)).map(({ path, blob }) => [path.slice(inside.length), blob]));
  const index = byName.get(INDEX);
  const wanted = filesOf([...byName.keys()], index && (await readIndex(index, `model: ${inside}${INDEX}`)));
  const missing = ["tokenizer.json", ...wanted].find((name) => !byName.has(name));
  if (missing !== undefined) throw makeError("argument", `model: ${missing} is missing; ${needs}`);
  const title = inside.split("/").at(-2) || folder || "model";
  return { kind: "blobs", files: wanted.map((name) => ({ name: `${title}/${name}`, blob: byName.get(name)! })) };
}

/** What is used of Node's file system. */
interface NodeFiles {
  openAsBlob?: (path: URL) => Promise<Blob>;
  readdirSync: (path: URL) => string[];
  existsSync: (path: URL) => boolean;
}

/** A file, or a folder, by its address in Node, whose `fetch` reads none. */
async function openFile(url: URL): Promise<SourceSpec | undefined> {
  const { process } = globalThis as { process?: { getBuiltinModule?: (name: string) => unknown } };
  const files = process?.getBuiltinModule?.("node:fs") as NodeFiles | undefined;
  if (!files?.openAsBlob) return undefined;
  const at = (name: string) => new URL(name.split("/").map(encodeURIComponent).join("/"), url);
  const opened = (names: string[]) =>
    Promise.all(
      names.map(async (name) => {
        try {
          return { name: name.split("/").pop()!, path: name, blob: await files.openAsBlob!(at(name)) };
        } catch (cause) {
          throw makeError("io", `model: ${at(name).href} cannot be opened: ${(cause as Error).message}`, { cause });
        }
      }),
    );
  if (!isOfFolder(url)) return byFiles(await opened(partsOf(lastOf(url))));
  let names: string[];
  try {
    // One of the folder's files is not the GGUF file beside it.
    const isModel = url.pathname.endsWith("/") ? /\.(gguf|safetensors)$/i : /\.safetensors$/i;
    names = files.readdirSync(new URL(".", url)).filter((name) => isModel.test(name));
  } catch (cause) {
    throw makeError("io", `model: ${url.href} cannot be opened: ${(cause as Error).message}`, { cause });
  }
  return byFiles(await opened([...[...BESIDE, INDEX].filter((name) => files.existsSync(at(name))), ...names]), decoded(url.pathname.split("/").at(-2)!));
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
  const source = await specOf(model, options);
  return source.kind === "blobs" && options.cache === false ? { ...source, cache: false } : source;
}

async function specOf(model: ModelSource, options: SourceOptions): Promise<SourceSpec> {
  const cache = options.cache ?? true;
  if (model === "embedded") {
    if (!embedded) throw makeError("argument", 'model: "embedded" is there after `import "peregrine/embedded"`');
    // The app serves it itself; what is small and served from near is not kept twice.
    // Next's bundler turns `new URL(…, import.meta.url)` into a URL that is an address without an
    // origin.
    const source = byAddress(addressOf(embedded, "model"), {}, options.cache ?? false);
    return { ...source, why: "the embedded model comes with the app" } as SourceSpec;
  }
  if (typeof model === "string" && model.startsWith(MADE)) return { kind: "stored", model };
  if (typeof model === "string" && isHubId(model)) {
    const base = addressOf(options.hub ?? HUB, "hub");
    return { kind: "hub", model, base: base.href, cache };
  }
  if (typeof model === "string" || model instanceof URL) {
    const url = addressOf(model, "model");
    const opened = url.protocol === "file:" ? await openFile(url) : undefined;
    if (opened) return opened;
    if (!/^https?:$/.test(url.protocol) || !isOfFolder(url)) return byAddress(url, options, cache && url.protocol !== "blob:");
    if (options.sha256 !== undefined) throw makeError("not-supported", "sha256: not supported for a model in several files");
    const folder = new URL(".", url);
    folder.search = url.search;
    return { kind: "folder", model: folder.href, cache };
  }
  if (model instanceof Blob) return { kind: "blobs", files: [{ name: model instanceof File ? model.name : "model", blob: model }] };
  if (model instanceof ArrayBuffer || ArrayBuffer.isView(model)) return { kind: "blobs", files: [{ name: "model", blob: new Blob([model as BlobPart]) }] };
  if (typeof Response !== "undefined" && model instanceof Response) return ofResponse(model);
  if (typeof FileSystemDirectoryHandle !== "undefined" && model instanceof FileSystemDirectoryHandle) {
    // No other folder in it is looked into.
    return byFiles(await filesIn(model, "model", "additional_chat_templates"), model.name);
  }
  if (typeof model === "object" && model !== null && "length" in model) {
    const files = Array.from(model as ArrayLike<unknown>);
    if (files.every((file): file is File => file instanceof File)) return byFiles(files.map((file) => ({ name: file.name, path: file.webkitRelativePath || file.name, blob: file })));
  }
  throw makeError("argument", "model: expected a hub id, an address, files, a folder, bytes, a Blob or a Response");
}
