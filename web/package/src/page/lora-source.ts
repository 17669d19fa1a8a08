/** Where an adapter is read from. Loaded with the first one: most pages have none. */

import { decoded } from "../download/folder.js";
import { isHubId } from "../download/hub.js";
import { makeError } from "../errors.js";
import { filesIn, type Given } from "./given.js";
import { addressOf } from "./model.js";
import { wrong } from "../checks.js";
import type { AdapterSpec, RemoteFile } from "../protocol.js";

/**
 * A LoRA adapter: a folder of PEFT (`adapter_config.json` and `adapter_model.safetensors`, and the
 * base model's `config.json` where a GGUF model of no published size needs it) as files, a picked
 * folder, a list of addresses or a name on the hub (`org/repo`); or a GGUF adapter as a file,
 * bytes, an address or `org/repo:FILE.gguf`.
 */
export type LoraSource = string | URL | Blob | ArrayBuffer | ArrayBufferView | readonly File[] | readonly (string | URL)[] | FileList | FileSystemDirectoryHandle;

/** Files of PEFT's folders; others in them are left alone. */
const PEFT = /^(adapter_config\.json|adapter_model\.(safetensors|bin)|config\.json)$/;
const CONFIG = "adapter_config.json";

/** What is read, and what it is called where nobody says. */
export interface Found {
  source: AdapterSpec;
  id: string;
}

const lastOf = (path: string): string => path.split("/").filter(Boolean).at(-1) ?? "";
const stem = (name: string): string => name.replace(/\.\w+$/, "") || "adapter";

/**
 * The adapter's files among those of a folder: training leaves older ones in folders of their own.
 */
function ofFiles(all: Given[], folder: string | undefined): Found {
  const depth = ({ path }: Given) => path.split("/").length;
  const [config] = all.filter(({ name }) => name === CONFIG).sort((a, b) => depth(a) - depth(b));
  if (config) {
    const inside = config.path.slice(0, -CONFIG.length);
    const files = all.filter(({ name, path }) => PEFT.test(name) && path === inside + name);
    return { source: { kind: "blobs", files: files.map(({ name, blob }) => ({ name, blob })) }, id: lastOf(inside) || folder || "adapter" };
  }
  const models = all.filter(({ name }) => /\.gguf$/i.test(name));
  const [first] = models.length > 0 ? models : all;
  if (!first || models.length > 1 || (models.length === 0 && all.length > 1)) {
    const there = all.length === 0 ? "no files" : all.map(({ name }) => name).slice(0, 8).join(", ");
    throw makeError("argument", `source: expected ${CONFIG} and adapter_model.safetensors, or one GGUF adapter, found ${there}`);
  }
  return { source: { kind: "blobs", files: [{ name: first.name, blob: first.blob }] }, id: stem(first.name) };
}

function ofAddresses(given: readonly (string | URL)[]): Found {
  const addresses = given.map((one, i) => addressOf(one, given.length > 1 ? `source[${i}]` : "source"));
  const files = addresses.map((url): RemoteFile => ({ url: url.href, name: decoded(lastOf(url.pathname)) || url.href, key: url.href }));
  const [first] = files as [RemoteFile];
  const isPeft = files.some(({ name }) => name === CONFIG);
  const id = isPeft ? decoded(lastOf(new URL(".", first.url).pathname)) || "adapter" : stem(first.name);
  return { source: { kind: "urls", model: first.url, files, cache: false }, id };
}

/** Reads what the app gave. @throws RequestError */
export async function loraOf(source: LoraSource, hub: string | URL): Promise<Found> {
  if (typeof source === "string" && isHubId(source)) {
    const [repo, file] = source.split(":") as [string, string?];
    return { source: { kind: "hub", model: source, base: addressOf(hub, "hub").href, cache: false }, id: file === undefined ? lastOf(repo) : stem(lastOf(file)) };
  }
  if (typeof source === "string" || source instanceof URL) return ofAddresses([source]);
  if (source instanceof Blob) {
    const name = source instanceof File ? source.name : "adapter";
    return ofFiles([{ name, path: name, blob: source }], undefined);
  }
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return loraOf(new Blob([source as BlobPart]), hub);
  if (typeof FileSystemDirectoryHandle !== "undefined" && source instanceof FileSystemDirectoryHandle) return ofFiles(await filesIn(source, "source"), source.name);
  if (typeof source === "object" && source !== null && "length" in source) {
    const list = Array.from(source as ArrayLike<unknown>);
    const areFiles = list.every((file): file is File => file instanceof File);
    if (areFiles) return ofFiles(list.map((file) => ({ name: file.name, path: file.webkitRelativePath || file.name, blob: file })), undefined);
    if (list.every((one): one is string | URL => typeof one === "string" || one instanceof URL)) return ofAddresses(list);
  }
  throw wrong("source", "files, a folder, bytes, addresses or a hub id of an adapter", source);
}
