/** What a browser has beside the page: a private file system, locks and a network, in memory. */

import { createHash } from "node:crypto";

const bytesOf = (text) => (typeof text === "string" ? new TextEncoder().encode(text) : text);

/** Bytes that the file system takes in all. */
export const disk = { quota: Infinity, clock: 0 };
const files = new Set();
const usage = () => [...files].reduce((sum, { bytes }) => sum + bytes.length, 0);
const missing = (name) => new DOMException(name, "NotFoundError");

class FileHandle {
  kind = "file";
  bytes = new Uint8Array();
  /** What the disk has of it. */
  #flushed = this.bytes;
  #open = false;
  #modified = ++disk.clock;

  crash() {
    this.bytes = this.#flushed.slice();
  }
  async getFile() {
    return new File([this.bytes], "", { lastModified: this.#modified });
  }
  async createSyncAccessHandle() {
    if (this.#open) throw new DOMException("open", "NoModificationAllowedError");
    this.#open = true;
    const resize = (length) => {
      const next = new Uint8Array(length);
      next.set(this.bytes.subarray(0, length));
      this.bytes = next;
      this.#modified = ++disk.clock;
    };
    return {
      getSize: () => this.bytes.length,
      truncate: resize,
      flush: () => (this.#flushed = this.bytes.slice()),
      close: () => (this.#open = false),
      read: (into, { at }) => {
        const piece = this.bytes.subarray(at, at + into.length);
        into.set(piece);
        return piece.length;
      },
      // As much as there is room for, as the specification allows.
      write: (from, { at }) => {
        const most = Math.max(0, disk.quota - usage() + this.bytes.length - at);
        const piece = from.subarray(0, Math.min(from.length, most));
        resize(Math.max(this.bytes.length, at + piece.length));
        this.bytes.set(piece, at);
        return piece.length;
      },
    };
  }
}
/** The machine's power is gone for a moment: what was not flushed is lost. */
export function crash() {
  for (const file of files) file.crash();
}

class DirectoryHandle {
  kind = "directory";
  #inside = new Map();

  async getDirectoryHandle(name, { create } = {}) {
    if (!this.#inside.has(name) && create) this.#inside.set(name, new DirectoryHandle());
    return this.#inside.get(name) ?? Promise.reject(missing(name));
  }
  async getFileHandle(name, { create } = {}) {
    if (!this.#inside.has(name) && create) files.add(this.#inside.set(name, new FileHandle()).get(name));
    return this.#inside.get(name) ?? Promise.reject(missing(name));
  }
  async removeEntry(name) {
    if (!this.#inside.has(name)) throw missing(name);
    const gone = this.#inside.get(name);
    for (const file of gone.kind === "file" ? [gone] : gone.all()) files.delete(file);
    this.#inside.delete(name);
  }
  all() {
    return [...this.#inside.values()];
  }
  async *entries() {
    yield* [...this.#inside];
  }
  async *keys() {
    yield* [...this.#inside.keys()];
  }
}

/** Locks by name: those that are held or waited for, in their order. */
class Locks {
  #all = new Map();

  async request(name, { mode = "exclusive", ifAvailable = false }, callback) {
    const queue = this.#all.get(name) ?? [];
    this.#all.set(name, queue);
    const blocks = (one) => mode === "exclusive" || one.mode === "exclusive";
    if (ifAvailable && queue.some(blocks)) return callback(null);
    const mine = { mode };
    const before = queue.filter(blocks);
    mine.gone = new Promise((resolve) => (mine.leave = resolve));
    queue.push(mine);
    await Promise.all(before.map(({ gone }) => gone));
    try {
      return await callback({ name, mode });
    } finally {
      queue.splice(queue.indexOf(mine), 1);
      mine.leave();
    }
  }
}

/** Addresses and what they answer: `{ body, headers }`. */
export const network = { isThere: true, files: new Map(), /** Called before an answer. */ onRequest: undefined };

async function answer(input, { headers } = {}) {
  const url = String(input);
  await network.onRequest?.(url);
  if (!network.isThere) throw new TypeError("Failed to fetch");
  const found = network.files.get(url);
  if (!found) return new Response(null, { status: 404 });
  const bytes = bytesOf(found.body);
  const [, first, last] = /bytes=(\d+)-(\d*)/.exec(new Headers(headers).get("Range") ?? "") ?? [];
  if (first === undefined) return new Response(bytes, { headers: found.headers });
  const end = Math.min(Number(last || Infinity), bytes.length - 1);
  return new Response(bytes.slice(Number(first), end + 1), { status: 206, headers: { ...found.headers, "Content-Range": `bytes ${first}-${end}/${bytes.length}` } });
}

let root;

/** An empty browser, online. */
export function restart() {
  files.clear();
  root = new DirectoryHandle();
  disk.quota = Infinity;
  Object.assign(network, { isThere: true, onRequest: undefined });
  network.files.clear();
  const storage = { getDirectory: async () => root, estimate: async () => ({ usage: usage(), quota: disk.quota }) };
  Object.defineProperty(globalThis, "navigator", { value: { storage, locks: new Locks() }, configurable: true });
}

/** The files of the store, each with its name: `NAME OF WHAT IS KEPT/PART`. */
export async function storedParts() {
  const found = [];
  for (const entry of (await root.getDirectoryHandle("peregrine")).all()) {
    const { name } = JSON.parse(new TextDecoder().decode((await entry.getFileHandle("manifest.json")).bytes));
    for await (const [part, handle] of entry.entries()) found.push([`${name}/${part}`, handle]);
  }
  return found;
}

export const newHasher = () => {
  const hash = createHash("sha256");
  return { update: (bytes) => hash.update(bytes), finish: () => hash.digest("hex") };
};

globalThis.FileSystemFileHandle = FileHandle;
globalThis.FileSystemDirectoryHandle = DirectoryHandle;
globalThis.fetch = answer;
// Nobody waits between two attempts.
const { setTimeout: later } = globalThis;
globalThis.setTimeout = (task, _milliseconds, ...given) => later(task, 0, ...given);
restart();
