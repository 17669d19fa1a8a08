/**
 * Models that are kept in the browser's private file system (OPFS), for this origin. A file is kept
 * in parts of {@link PART} bytes, each a file of its own that only grows: its length says how far
 * it has come, so there is no journal that could be wrong after a tab was closed. A part that is
 * whole has the SHA-256 of its bytes behind them; each reading checks it.
 *
 * `peregrine/ID/manifest.json`: whose bytes these are. `peregrine/ID/000000`, …: the parts.
 * `peregrine/ID/verified`: all bytes were here once, and were right.
 */

import { makeError, type PeregrineError } from "../errors.js";

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
  /** When the server says that it was changed, where it does. */
  modified?: string;
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

/** Holds the lock of an entry that nobody else has, likewise; nothing where somebody does. */
export function lockFree(id: string): Promise<(() => void) | undefined> {
  return new Promise((resolve, reject) => {
    const held = (lock: Lock | null) => (lock ? new Promise<void>((release) => resolve(release)) : resolve(undefined));
    navigator.locks.request(`${ROOT}:${id}`, { ifAvailable: true }, held).catch(reject);
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

/** Whether a file is open elsewhere. */
export const isBusy = (error: unknown) => (error as DOMException).name === "NoModificationAllowedError";

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
  readonly id: string;
  readonly #folder: FileSystemDirectoryHandle;

  private constructor(id: string, folder: FileSystemDirectoryHandle) {
    this.id = id;
    this.#folder = folder;
  }

  /** The entry of that id; a new one is empty. */
  static async open(id: string): Promise<Entry> {
    return new Entry(id, await (await root()).getDirectoryHandle(id, { create: true }));
  }

  /** The entry of that id, if there is one. */
  static async find(id: string): Promise<Entry | undefined> {
    try {
      return new Entry(id, await (await root()).getDirectoryHandle(id));
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  /** All entries by id. */
  static async all(): Promise<[string, Entry][]> {
    const found: [string, Entry][] = [];
    for await (const [id, handle] of (await root()).entries()) {
      if (handle.kind === "directory") found.push([id, new Entry(id, handle as FileSystemDirectoryHandle)]);
    }
    return found;
  }

  /** Deletes an entry and all that is in it, if it is there. */
  static async remove(id: string): Promise<void> {
    const all = await root();
    try {
      await patiently(() => all.removeEntry(id, { recursive: true }));
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
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
    return (await this.verified()) !== undefined;
  }

  /** Since when they are, in milliseconds since 1970. */
  verified(): Promise<number | undefined> {
    return this.#timeOf(VERIFIED);
  }

  /** Says so. */
  setVerified(): Promise<void> {
    return this.#write(VERIFIED, "yes");
  }

  /** Remembers the time. */
  async setUsed(): Promise<void> {
    try {
      await this.#write(USED, "now");
    } catch (error) {
      // A full disk is no reason not to read what is on it.
      if ((error as PeregrineError).code !== "quota") throw error;
    }
  }

  /** When it was used last. */
  async used(): Promise<Date> {
    return new Date((await this.#timeOf(USED)) ?? (await this.#timeOf(MANIFEST)) ?? 0);
  }

  async #timeOf(name: string): Promise<number | undefined> {
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
      append(access, new TextEncoder().encode(text), 0, name);
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

/**
 * Adds the checksum to a part that has all its bytes, `length` of them: `bytes`, where they are in
 * memory. Both are on the disk before anything can say that the file is whole: what was quantized
 * here cannot be fetched again.
 */
export async function seal(access: Access, length: number, name: string, bytes?: BufferSource): Promise<void> {
  access.truncate(length);
  const stored = new Uint8Array(bytes ? 0 : length);
  if (!bytes) access.read(stored, { at: 0 });
  append(access, await digest(bytes ?? stored), length, name);
  access.flush();
}

/** Whether the bytes of a part, `length` of them, have their checksum behind them. */
export async function isSealed(stored: Uint8Array, length: number): Promise<boolean> {
  if (stored.length !== length + DIGEST) return false;
  const made = await digest(stored.subarray(0, length) as BufferSource);
  return made.every((byte, i) => byte === stored[length + i]);
}

/** Says that the browser will not take so many more bytes. */
export async function roomFor(name: string, needed: number): Promise<void> {
  const { usage = 0, quota = Infinity } = await navigator.storage.estimate();
  if (needed > quota - usage) {
    throw makeError("quota", `${name}: ${needed} more bytes are needed, the browser lets this page store ${Math.max(0, quota - usage)}`);
  }
}

/** File name of a part. */
export const partName = (part: number): string => String(part).padStart(6, "0");

/** Bytes of a part of a file of `size` bytes. */
export const partLength = (part: number, size: number): number => Math.max(0, Math.min(PART, size - part * PART));
