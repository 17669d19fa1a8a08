/**
 * Models by their names on the Hugging Face hub, or on a server that speaks its layout:
 * `GET /api/models/ORG/REPO/revision/main?blobs=true` lists the files,
 * `/ORG/REPO/resolve/COMMIT/FILE` are their bytes.
 */

import { makeError } from "../errors.js";
import { filesOf, INDEX, isFolder, readIndex, WEIGHTS } from "./folder.js";
import { patientFetch } from "./http.js";
import type { RemoteFile } from "../protocol.js";

/** Where models are that an app names without a hub of its own. */
export const HUB = "https://huggingface.co/";

/** The address of a hub, to which paths are added. */
export const rootOf = (base: string): string => `${base.replace(/\/+$/, "")}/`;

/** The type that is taken when a name says none. */
const DEFAULT_TYPE = "Q4_K_M";

/** Whether a text is `org/repo` or `org/repo:FILE`, and not an address. */
export function isHubId(text: string): boolean {
  const found = /^[\w-][\w.-]*\/[\w-][\w.-]*(?<file>:.+)?$/.exec(text);
  return found !== null && (found.groups?.file !== undefined || !/\.(gguf|safetensors|json)$/i.test(text));
}

/** Number and count of a file that is one of several: `…-00002-of-00005.gguf`. */
const SPLIT = /-(\d{5})-of-(\d{5})\.gguf$/i;

/** The names of all parts of a model, given that of one of them. */
export function partsOf(name: string): string[] {
  const [, , count] = SPLIT.exec(name) ?? [];
  if (count === undefined) return [name];
  const number = (i: number) => String(i + 1).padStart(5, "0");
  return Array.from({ length: Number(count) }, (_, i) => name.replace(SPLIT, `-${number(i)}-of-${count}.gguf`));
}

/** The file, or the first of the files, that `wanted` means: a name, or a type such as Q4_K_M. */
export function chooseFile(files: readonly string[], wanted: string | undefined, repo: string): string {
  const models = files.filter((name) => /\.gguf$/i.test(name) && Number(SPLIT.exec(name)?.[1] ?? 1) === 1);
  if (wanted !== undefined && files.includes(wanted)) return partsOf(wanted)[0] as string;
  const type = (wanted ?? DEFAULT_TYPE).toLowerCase();
  const words = (name: string) => name.toLowerCase().replace(SPLIT, ".gguf").split(/[^a-z0-9_]+/);
  const fitting = models.filter((name) => words(name).includes(type));
  const [first] = fitting.length === 0 && wanted === undefined && models.length === 1 ? models : fitting;
  if (first !== undefined && (fitting.length <= 1 || wanted === undefined)) return first;
  const there = models.length > 0 ? `there are ${models.join(", ")}` : "there is no GGUF file";
  const problem = fitting.length > 1 ? `${wanted} means several files` : `no GGUF file is called ${wanted ?? DEFAULT_TYPE}`;
  throw makeError("argument", `model: ${repo}: ${problem}; ${there}`);
}

interface Listing {
  sha?: unknown;
  siblings?: { rfilename?: unknown; size?: unknown; blobId?: unknown; lfs?: { sha256?: unknown } }[];
}

/**
 * Asks the hub which files a model's name means: GGUF files, or a folder of safetensors where there
 * are none, or one of its files is named.
 */
export async function resolveHub(model: string, base: string, signal?: AbortSignal): Promise<RemoteFile[]> {
  const { repo, wanted, names, file } = await list(model, base, signal);
  const isGguf = names.some((name) => /\.gguf$/i.test(name));
  if (!isFolder(names) || (wanted === undefined ? isGguf : wanted !== WEIGHTS && wanted !== INDEX)) return partsOf(chooseFile(names, wanted, repo)).map((name) => file(name));
  const index = names.includes(INDEX) ? await readIndex(await patientFetch(file(INDEX).url, {}, signal), file(INDEX).url) : undefined;
  const files = filesOf(names, index);
  return files.map((name) => ({ ...file(name, `${repo.split("/").pop()}/${name}`), of: files.length }));
}

/** Asks the hub which files an adapter's name means. */
export async function resolveAdapter(model: string, base: string): Promise<RemoteFile[]> {
  const { repo, wanted, names, file } = await list(model, base);
  return chooseAdapter(names, wanted, repo).map((name) => file(name));
}

/** The files of an adapter: that of a name, or those of PEFT, or the only GGUF file. */
export function chooseAdapter(files: readonly string[], wanted: string | undefined, repo: string): string[] {
  if (wanted !== undefined) return [wanted];
  const [config, tensors] = ["adapter_config.json", "adapter_model.safetensors"];
  if (files.includes(config)) return [config, tensors, ...files.filter((name) => name === "config.json")];
  const adapters = files.filter((name) => /\.gguf$/i.test(name));
  if (adapters.length === 1) return adapters;
  const there = adapters.length > 0 ? `; there are ${adapters.join(", ")}: name one of them` : ", and no GGUF file";
  throw makeError("argument", `source: ${repo}: there is no ${config}${there}`);
}

/** A repository, and what a model's name says of it. */
interface Repository {
  repo: string;
  /** What follows the colon. */
  wanted: string | undefined;
  /** Its files that are not empty. */
  names: string[];
  /** One of them, which people see as `shown`. */
  file: (name: string, shown?: string) => RemoteFile;
}

async function list(model: string, base: string, signal?: AbortSignal): Promise<Repository> {
  const colon = model.indexOf(":");
  const repo = colon < 0 ? model : model.slice(0, colon);
  const wanted = colon < 0 ? undefined : model.slice(colon + 1);
  const root = rootOf(base);
  const response = await patientFetch(`${root}api/models/${repo}/revision/main?blobs=true`, { cache: "no-cache" }, signal);
  const listing = (await response.json().catch(() => ({}))) as Listing;
  const commit = listing.sha;
  if (typeof commit !== "string" || !/^\w+$/.test(commit) || !Array.isArray(listing.siblings)) {
    throw makeError("http", `${response.url}: this is not the answer of a model hub`);
  }
  const known = new Map(listing.siblings.filter(({ size }) => size !== 0).map((file) => [String(file.rfilename), file]));
  const file = (name: string, shown = name.split("/").pop() as string) => {
    const entry = known.get(name);
    if (!entry) throw makeError("argument", `model: ${repo}: ${name} is missing`);
    const path = name.split("/").map(encodeURIComponent).join("/");
    const file: RemoteFile = { url: `${root}${repo}/resolve/${commit}/${path}`, name: shown, key: `${root}${repo}/${name}` };
    if (typeof entry.size === "number") file.size = entry.size;
    if (typeof entry.blobId === "string") file.version = entry.blobId;
    if (typeof entry.lfs?.sha256 === "string") file.sha256 = entry.lfs.sha256.toLowerCase();
    return file;
  };
  return { repo, wanted, names: [...known.keys()], file };
}
