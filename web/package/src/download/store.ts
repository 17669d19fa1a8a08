/**
 * Models that are kept in the browser's private file system (OPFS), for this origin. A file is kept
 * in parts of {@link PART} bytes, each a file of its own that only grows: its length says how far
 * it has come, so there is no journal that could be wrong after a tab was closed. A part that is
 * whole has the SHA-256 of its bytes behind them; each reading checks it.
 *
 * `peregrine/ID/manifest.json`: whose bytes these are. `peregrine/ID/000000`, …: the parts.
 * `peregrine/ID/verified`: all bytes were here once, and were right.
 */

import { makeError } from "../errors.js";
import { partsOf } from "./hub.js";
import { text } from "../page/options.js";
import type { RemoteFile } from "../protocol.js";

/** What the names of models begin with that were quantized here. */
export const MADE = "stored:";

const ROOT = "peregrine";
const MANIFEST = "manifest.json";
const VERIFIED = "verified";
const USED = "used";

/** Bytes of a part, but for the last. */
export const PART = 4 << 20;
/** Bytes of an SHA-256. */
export const DIGEST = 32;

/** Whose bytes an entry has. */
export interface Manifest {
  version: 1;
  /** What the app asked for: a hub id or an address. */
  model: string;
  key: string;
  name: string;
  url: string;
  size: number;
  /** As the server calls this state of the file; null where it does not. */
  etag: string | null;
  /** Of the whole file, where the hub says it. */
  sha256: string | null;
  /** How many files the model has, where no file's name says it. */
  of?: number;
}

/**
 * A file that is open for writing (dedicated workers only; the compiler knows it in no other
 * setting).
 */
export interface Access {
  read(bytes: Uint8Array, at: { at: number }): number;
  write(bytes: Uint8Array, at: { at: number }): number;
  truncate(length: number): void;
  getSize(): number;
  flush(): void;
  close(): void;
}
type Accessible = FileSystemFileHandle & { createSyncAccessHandle(options?: { mode: "read-only" }): Promise<Access> };

/** Whether files can be written here: in dedicated workers, not in shared ones. */
export const canWrite = (): boolean => typeof FileSystemFileHandle !== "undefined" && "createSyncAccessHandle" in FileSystemFileHandle.prototype;

/** Why nothing can be kept here; empty where it can. */
export async function whyNotStored(): Promise<string> {
  if (!globalThis.navigator?.storage?.getDirectory || !navigator.locks) return "this browser has no private file system";
  try {
    await navigator.storage.getDirectory();
    return "";
  } catch (error) {
    return `the browser does not allow it here: ${(error as Error).message}`;
  }
}

async function root(): Promise<FileSystemDirectoryHandle> {
  return (await navigator.storage.getDirectory()).getDirectoryHandle(ROOT, { create: true });
}

/** Bytes in hexadecimal. */
export const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** SHA-256 of bytes that lie in memory, made by the browser. */
export async function digest(bytes: BufferSource): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

/** Name of the folder for a key. */
export async function idOf(key: string): Promise<string> {
  return hex(await digest(new TextEncoder().encode(key))).slice(0, 40);
}

/** Holds the lock of an entry until the returned function is called. */
export function lock(id: string, mode: LockMode): Promise<() => void> {
  return new Promise((resolve, reject) => {
    const held = () => new Promise<void>((release) => resolve(release));
    navigator.locks.request(`${ROOT}:${id}`, { mode }, held).catch(reject);
  });
}

/**
 * Whether any number of readers may have a file open in this process; without that a file is for
 * one alone, and is read in another process.
 */
const readsHere = (): boolean => {
  const { FileSystemSyncAccessHandle: here } = globalThis as { FileSystemSyncAccessHandle?: { prototype: object } };
  return canWrite() && here !== undefined && "mode" in here.prototype;
};

const isBusy = (error: unknown) => (error as DOMException).name === "NoModificationAllowedError";

/** Tries again while another tab has the file open, which it has for a moment only. */
async function patiently<T>(task: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await task();
    } catch (error) {
      if (!isBusy(error) || attempt === 20) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

const isMissing = (error: unknown) => (error as DOMException).name === "NotFoundError";

/** One kept file. */
export class Entry {
  readonly #folder: FileSystemDirectoryHandle;

  private constructor(folder: FileSystemDirectoryHandle) {
    this.#folder = folder;
  }

  /** The entry of that id; a new one is empty. */
  static async open(id: string): Promise<Entry> {
    return new Entry(await (await root()).getDirectoryHandle(id, { create: true }));
  }

  /** The entry of that id, if there is one. */
  static async find(id: string): Promise<Entry | undefined> {
    try {
      return new Entry(await (await root()).getDirectoryHandle(id));
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  /** All entries by id. */
  static async all(): Promise<[string, Entry][]> {
    const found: [string, Entry][] = [];
    for await (const [id, handle] of (await root()).entries()) {
      if (handle.kind === "directory") found.push([id, new Entry(handle as FileSystemDirectoryHandle)]);
    }
    return found;
  }

  /** Deletes an entry and all that is in it. */
  static async remove(id: string): Promise<void> {
    const all = await root();
    await patiently(() => all.removeEntry(id, { recursive: true }));
  }

  /** Whose bytes these are; nothing where that cannot be read. */
  async manifest(): Promise<Manifest | undefined> {
    try {
      const found = JSON.parse(await (await this.file(MANIFEST)).text()) as Manifest;
      const texts = [found.model, found.key, found.name, found.url];
      return found.version === 1 && texts.every((text) => typeof text === "string") && Number.isSafeInteger(found.size) ? found : undefined;
    } catch {
      return undefined;
    }
  }

  /** Says whose bytes these will be. */
  setManifest(manifest: Manifest): Promise<void> {
    return this.#write(MANIFEST, JSON.stringify(manifest));
  }

  /** Whether all bytes were here, and right. */
  async isVerified(): Promise<boolean> {
    return (await this.usedOrVerified(VERIFIED)) !== undefined;
  }

  /** Says so. */
  setVerified(): Promise<void> {
    return this.#write(VERIFIED, "yes");
  }

  /** Remembers the time. */
  setUsed(): Promise<void> {
    return this.#write(USED, "now");
  }

  /** When it was used last. */
  async used(): Promise<Date> {
    return new Date((await this.usedOrVerified(USED)) ?? (await this.usedOrVerified(MANIFEST)) ?? 0);
  }

  private async usedOrVerified(name: string): Promise<number | undefined> {
    try {
      return (await this.file(name)).lastModified;
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  /** Bytes of each part that has begun, checksums not counted. */
  async lengths(size: number): Promise<Map<number, number>> {
    const lengths = new Map<number, number>();
    for await (const [name, handle] of this.#folder.entries()) {
      if (!/^\d{6}$/.test(name)) continue;
      const part = Number(name);
      const { size: stored } = await (handle as FileSystemFileHandle).getFile();
      lengths.set(part, Math.min(stored, partLength(part, size)));
    }
    return lengths;
  }

  /** A file to read. */
  async file(name: string): Promise<File> {
    return (await this.#folder.getFileHandle(name)).getFile();
  }

  /** All bytes of a file. */
  async bytes(name: string): Promise<Uint8Array> {
    const handle = (await this.#folder.getFileHandle(name)) as Accessible;
    if (!readsHere()) return new Uint8Array(await (await handle.getFile()).arrayBuffer());
    const access = await patiently(() => handle.createSyncAccessHandle({ mode: "read-only" }));
    try {
      const bytes = new Uint8Array(access.getSize());
      return bytes.subarray(0, access.read(bytes, { at: 0 }));
    } finally {
      access.close();
    }
  }

  /** A file to write, alone; another tab may be mending the same part, or reading it. */
  async access(name: string): Promise<Access> {
    const handle = (await this.#folder.getFileHandle(name, { create: true })) as Accessible;
    return patiently(() => handle.createSyncAccessHandle());
  }

  /** Deletes a file, if it is there. */
  async delete(name: string): Promise<void> {
    try {
      await patiently(() => this.#folder.removeEntry(name));
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
  }

  /** Deletes everything. */
  async clear(): Promise<void> {
    // What says that the parts are right goes before the parts.
    await this.delete(VERIFIED);
    await this.delete(MANIFEST);
    const names: string[] = [];
    for await (const name of this.#folder.keys()) names.push(name);
    for (const name of names) await this.delete(name);
  }

  /** Takes back that all bytes are right. */
  async doubt(): Promise<void> {
    await this.delete(VERIFIED);
  }

  async #write(name: string, text: string): Promise<void> {
    if (!canWrite()) return;
    const access = await this.access(name);
    try {
      access.truncate(0);
      access.write(new TextEncoder().encode(text), { at: 0 });
      access.flush();
    } finally {
      access.close();
    }
  }
}

/** Writes, and says what is the matter when the browser takes no more. */
export function append(access: Access, bytes: Uint8Array, at: number, name: string): void {
  try {
    if (access.write(bytes, { at }) === bytes.length) return;
  } catch (cause) {
    if ((cause as DOMException).name !== "QuotaExceededError") throw cause;
    throw makeError("quota", `${name}: the browser lets this page store no more`, { cause });
  }
  throw makeError("quota", `${name}: the browser lets this page store no more`);
}

/** Adds the checksum to a part that has all its bytes. */
export async function seal(access: Access, length: number, name: string): Promise<void> {
  const bytes = new Uint8Array(length);
  access.truncate(length);
  access.read(bytes, { at: 0 });
  append(access, await digest(bytes), length, name);
  access.flush();
}

/** File name of a part. */
export const partName = (part: number): string => String(part).padStart(6, "0");

/** Bytes of a part of a file of `size` bytes. */
export const partLength = (part: number, size: number): number => Math.max(0, Math.min(PART, size - part * PART));

/** A model of which bytes are kept on this device. */
export interface StoredModel {
  /** For {@link deleteModel}. */
  id: string;
  /**
   * What `createEngine` takes: a hub id or an address; of a model that was quantized here a name of
   * its own.
   */
  model: string;
  /** Name of its (first) file, or of its folder. */
  name: string;
  /** Bytes of all its files. */
  size: number;
  /** Bytes that are here. */
  stored: number;
  /** Whether all of them are, verified. */
  complete: boolean;
  /** When it was loaded last. */
  used: Date;
}

interface Kept {
  id: string;
  entry: Entry;
  manifest: Manifest;
}

async function kept(model?: string): Promise<Kept[]> {
  if ((await whyNotStored()) !== "") return [];
  const found: Kept[] = [];
  for (const [id, entry] of await Entry.all()) {
    const manifest = await entry.manifest();
    if (manifest && (model === undefined || manifest.model === model)) found.push({ id, entry, manifest });
  }
  return found.sort((a, b) => (a.manifest.name < b.manifest.name ? -1 : 1));
}

/**
 * The models that are kept for this origin, the one that was used last first. Parts of a model that
 * is still arriving count.
 */
export async function listModels(): Promise<StoredModel[]> {
  const models = new Map<string, StoredModel>();
  for (const { entry, manifest } of await kept()) {
    const { model, name, size } = manifest;
    const lengths = await entry.lengths(size);
    const stored = [...lengths.values()].reduce((sum, length) => sum + length, 0);
    const [complete, used] = [await entry.isVerified(), await entry.used()];
    const before = models.get(model);
    // A folder's files have its name in front.
    const all = before ?? { id: model, model, name: name.split("/")[0] as string, size: 0, stored: 0, complete: true, used };
    all.size += size;
    all.stored += stored;
    all.complete &&= complete;
    models.set(model, all);
  }
  return [...models.values()].sort((a, b) => b.used.getTime() - a.used.getTime());
}

/**
 * Deletes a kept model. One that is not there is deleted already.
 * @throws RequestError `busy` while a tab loads it.
 */
export async function deleteModel(id: string): Promise<void> {
  text(id, "id");
  for (const { id: folder } of await kept(id)) {
    await navigator.locks.request(`${ROOT}:${folder}`, { ifAvailable: true }, async (held) => {
      const busy = (cause?: unknown) => makeError("busy", `${id} is being loaded, here or in another tab`, { cause });
      if (!held) throw busy();
      try {
        await Entry.remove(folder);
      } catch (error) {
        throw isBusy(error) ? busy(error) : error;
      }
    });
  }
}

/**
 * The files of a model that is completely here: of one that was quantized here its GGUF file, of a
 * folder all of its files, under their names. Their bytes stay on the disk until they are read;
 * once the model is deleted they cannot be.
 * @throws RequestError for a model that is not here, or not whole
 */
export async function exportModel(id: string): Promise<File[]> {
  text(id, "id");
  const files: File[] = [];
  for (const { entry, manifest } of await kept(id)) {
    if (!(await entry.isVerified())) throw makeError("argument", `id: ${id} is not whole; load it first`);
    const parts = Array.from({ length: Math.ceil(manifest.size / PART) }, async (_, part) => (await entry.file(partName(part))).slice(0, partLength(part, manifest.size)));
    files.push(new File(await Promise.all(parts), manifest.name.split("/").at(-1) as string));
  }
  if (files.length === 0) throw makeError("argument", `id: ${id} is not among the models that are kept here`);
  return files;
}

/**
 * What this origin has stored, and may store, in bytes; `persisted`: the browser will not delete it
 * by itself.
 */
export async function storageEstimate(): Promise<{ usage: number; quota: number; persisted: boolean }> {
  try {
    const storage = globalThis.navigator?.storage;
    const { usage = 0, quota = 0 } = (await storage?.estimate?.()) ?? {};
    return { usage, quota, persisted: (await storage?.persisted?.()) ?? false };
  } catch {
    // Frames without an origin of their own have no storage.
    return { usage: 0, quota: 0, persisted: false };
  }
}

/**
 * Asks the browser not to delete by itself what this origin has stored. Call it on a page, best
 * after a click. Firefox asks the person, who may never answer: after `timeout` milliseconds
 * (10,000 unless said otherwise) it is what holds by then.
 */
export async function persist({ timeout = 10_000 }: { timeout?: number } = {}): Promise<boolean> {
  const storage = globalThis.navigator?.storage;
  if (!storage?.persist) return false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<undefined>((resolve) => (timer = setTimeout(resolve, timeout, undefined)));
  try {
    const answer = await Promise.race([storage.persist(), late]);
    return answer ?? (await storage.persisted());
  } catch {
    // Frames without an origin of their own may not ask.
    return false;
  } finally {
    clearTimeout(timer);
  }
}

/** The files of a model that is completely here, for use without a network. */
export async function storedFiles(model: string): Promise<RemoteFile[] | undefined> {
  const files: RemoteFile[] = [];
  let count: number | undefined;
  for (const { entry, manifest } of await kept(model)) {
    if (!(await entry.isVerified())) return undefined;
    const { url, name, key, size, sha256, of } = manifest;
    files.push({ url, name, key, size, ...(sha256 === null ? {} : { sha256 }) });
    if (of !== undefined) count = Math.max(count ?? 0, of);
  }
  const [first] = files;
  // A folder may have had more files once.
  const isWhole = first && (count === undefined ? partsOf(first.name).length === files.length : files.length >= count);
  return isWhole ? files : undefined;
}
