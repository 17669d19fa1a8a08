/** Files that are downloaded into the store and read from there while the rest still arrives. */

import { makeError, PeregrineError } from "./errors.js";
import { ATTEMPTS, gather, mayPass, mayPassLater, openHttp, patientFetch, pause, problemOf, wholeLength } from "./http.js";
import type { RemoteFile } from "./protocol.js";
import { truncated, type ByteSource } from "./source.js";
import { canWrite, DIGEST, digest, Entry, idOf, lock, PART, partLength, partName, type Access, type Manifest } from "./store.js";

/** Makes an SHA-256 of bytes that come in pieces. */
export type NewHasher = () => { update(bytes: Uint8Array): void; finish(): string };

/** Requests in flight at the same time, over all files of a model. */
const PARALLEL = 4;
/** Parts that are kept in memory after they were read. */
const KEPT = 3;

/** Lets a few tasks run at a time, in the order in which they come. */
export class Slots {
  #free = PARALLEL;
  readonly #waiting: (() => void)[] = [];

  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await task();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free++;
    }
  }
}

interface Options {
  slots: Slots;
  newHasher: NewHasher;
  onLoaded: (loaded: number, total: number, resumed: number) => void;
  /** More bytes of which the checksum is made. */
  onVerified: (bytes: number) => void;
}

/** A file in the store. */
export interface StoredSource extends ByteSource {
  /** Resolves when every byte is here and right. */
  complete: Promise<void>;
  close(): void;
}

const quoted = (etag: string | null) => etag ?? "none";

/** Whether a kept copy is the file that is asked for, as far as that is known without asking a server. */
function isSame(manifest: Manifest, file: RemoteFile): boolean {
  if (file.size !== undefined && file.size !== manifest.size) return false;
  return file.sha256 === undefined || manifest.sha256 === file.sha256;
}

/** Whether the server still has the file that is kept. Where it cannot be asked, the copy is the newest there is. */
async function isCurrent(manifest: Manifest, file: RemoteFile): Promise<boolean> {
  if (!isSame(manifest, file)) return false;
  // The hub's addresses name a state of the repository.
  if (file.sha256 !== undefined || (file.key !== file.url && file.url === manifest.url)) return true;
  let response: Response;
  try {
    response = await patientFetch(file.url, { headers: { Range: "bytes=0-0" }, cache: "no-store" });
  } catch (error) {
    if (mayPassLater(error)) return true;
    throw error;
  }
  void response.body?.cancel();
  const etag = response.headers.get("ETag");
  const size = response.status === 206 ? wholeLength(response) : undefined;
  return (etag === null || etag === manifest.etag) && (size === undefined || size === manifest.size);
}

/** Opens a file: from the store if it is there, else it goes there. */
export async function openStored(model: string, file: RemoteFile, options: Options): Promise<StoredSource> {
  const id = await idOf(file.key);
  const release = await lockShowing(id, "shared", options);
  let stale: Manifest | undefined;
  try {
    const found = await Entry.find(id);
    const manifest = (await found?.isVerified()) ? await found?.manifest() : undefined;
    if (found && manifest && (await isCurrent(manifest, file))) {
      await found.setUsed();
      options.onLoaded(manifest.size, manifest.size, manifest.size);
      return new Stored(found, file, manifest, options, release);
    }
    stale = manifest;
  } catch (error) {
    release();
    throw error;
  }
  release();
  if (!canWrite()) {
    const source = await openHttp(file, (loaded, total) => options.onLoaded(loaded, total, 0));
    return { ...source, complete: Promise.resolve(), close() {} };
  }
  return download(id, model, file, stale, options);
}

/** Waits for the right to read or to write; while another tab downloads the same file, its progress is shown. */
async function lockShowing(id: string, mode: LockMode, options: Options): Promise<() => void> {
  const watch = setInterval(async () => {
    const entry = await Entry.find(id).catch(() => undefined);
    const manifest = await entry?.manifest();
    if (!entry || !manifest) return;
    const lengths = await entry.lengths(manifest.size).catch(() => new Map<number, number>());
    const loaded = [...lengths.values()].reduce((sum, length) => sum + length, 0);
    options.onLoaded(loaded, manifest.size, loaded);
  }, 250);
  try {
    return await lock(id, mode);
  } finally {
    clearInterval(watch);
  }
}

/** Downloads what is not there; `stale`: a copy that the server does not have any more. */
async function download(id: string, model: string, file: RemoteFile, stale: Manifest | undefined, options: Options): Promise<StoredSource> {
  const release = await lockShowing(id, "exclusive", options);
  try {
    const entry = await Entry.open(id);
    for (let attempt = 1; ; attempt++) {
      const manifest = await entry.manifest();
      const isOld = manifest && JSON.stringify(manifest) === JSON.stringify(stale);
      const begun = manifest && attempt === 1 && !isOld && isSame(manifest, file) ? manifest : undefined;
      if (!begun) await entry.clear();
      else if (await entry.isVerified()) {
        // Another tab was faster.
        options.onLoaded(begun.size, begun.size, begun.size);
        return new Stored(entry, file, begun, options, release);
      }
      const stored = await begin(entry, model, file, begun, options, release);
      if (stored) return stored;
      if (attempt === 2) throw makeError("http", `${file.url}: the file changes on the server again and again`);
    }
  } catch (error) {
    release();
    throw error;
  }
}

/** The first answer says how long the file is and whether it is the one that was begun; nothing if it is another. */
async function begin(
  entry: Entry,
  model: string,
  file: RemoteFile,
  begun: Manifest | undefined,
  options: Options,
  release: () => void,
): Promise<Stored | undefined> {
  const lengths = begun ? await entry.lengths(begun.size) : new Map<number, number>();
  const count = begun ? Math.ceil(begun.size / PART) : 1;
  const part = Array.from({ length: count }, (_, i) => i).find((i) => (lengths.get(i) ?? 0) < partLength(i, begun?.size ?? PART));
  if (begun && part === undefined) return new Stored(entry, file, begun, options, release, lengths);

  const from = (part ?? 0) * PART + (lengths.get(part ?? 0) ?? 0);
  const to = Math.min(((part ?? 0) + 1) * PART, begun?.size ?? file.size ?? Infinity);
  const init: RequestInit = { headers: { Range: `bytes=${from}-${to - 1}` }, cache: "no-store" };
  const response = await patientFetch(file.url, init, undefined, 416).catch((error: unknown) => {
    // Browsers ask for ranges uncompressed, and reject the answer of a server that compresses all the same.
    if (mayPassLater(error) && !begun) return patientFetch(file.url, { cache: "no-store" });
    throw error;
  });
  if (response.status === 200) return whole(entry, model, file, response, options, release);

  const etag = response.headers.get("ETag");
  const size = wholeLength(response) ?? begun?.size ?? file.size;
  const changed = begun && (response.status === 416 || size !== begun.size || (etag !== null && etag !== begun.etag));
  if (response.status !== 206 || changed) {
    await response.body?.cancel();
    if (changed) return undefined;
    throw makeError("http", `${file.url}: ${problemOf(response)}`);
  }
  if (size === undefined || !Number.isSafeInteger(size)) {
    throw makeError("http", `${file.url}: the server sent a range but not how long the file is (Content-Range)`);
  }
  if (file.size !== undefined && size !== file.size) {
    throw makeError("integrity", `${file.url}: the server has ${size} bytes, the hub says ${file.size}`);
  }
  const manifest = begun ?? { version: 1, model, key: file.key, name: file.name, url: file.url, size, etag, sha256: file.sha256 ?? null };
  await roomFor(manifest, lengths);
  if (!begun) await entry.setManifest(manifest);
  return new Stored(entry, file, manifest, options, release, lengths, { part: part ?? 0, response });
}

/** Says beforehand that the browser will not take so many bytes. */
async function roomFor(manifest: Manifest, lengths: Map<number, number>): Promise<void> {
  const { usage = 0, quota = Infinity } = await navigator.storage.estimate();
  const needed = manifest.size - [...lengths.values()].reduce((sum, length) => sum + length, 0);
  if (needed > quota - usage) {
    throw makeError("quota", `${manifest.name}: ${needed} more bytes are needed, the browser lets this page store ${Math.max(0, quota - usage)}`);
  }
}

/** Writes, and says what is the matter when the browser takes no more. */
function append(access: Access, bytes: Uint8Array, at: number, name: string): void {
  try {
    if (access.write(bytes, { at }) === bytes.length) return;
  } catch (cause) {
    if ((cause as DOMException).name !== "QuotaExceededError") throw cause;
    throw makeError("quota", `${name}: the browser lets this page store no more`, { cause });
  }
  throw makeError("quota", `${name}: the browser lets this page store no more`);
}

/** Adds the checksum to a part that has all its bytes. */
async function seal(access: Access, length: number, name: string): Promise<void> {
  const bytes = new Uint8Array(length);
  access.truncate(length);
  access.read(bytes, { at: 0 });
  append(access, await digest(bytes), length, name);
  access.flush();
}

/** A server that knows no ranges sends everything in one go; if that breaks, it must begin anew. */
async function whole(
  entry: Entry,
  model: string,
  file: RemoteFile,
  response: Response,
  options: Options,
  release: () => void,
): Promise<Stored> {
  await entry.clear();
  if (!response.body) throw makeError("http", `${file.url}: the answer is empty`);
  // The length of a compressed answer is not that of the file.
  const stated = response.headers.has("Content-Encoding") ? 0 : Number(response.headers.get("Content-Length") ?? 0);
  let size = 0;
  let access: Access | undefined;
  try {
    for await (let chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      while (chunk.length > 0) {
        const part = Math.floor(size / PART);
        access ??= await entry.access(partName(part));
        const piece = chunk.subarray(0, (part + 1) * PART - size);
        append(access, piece, size - part * PART, file.name);
        size += piece.length;
        chunk = chunk.subarray(piece.length);
        if (size % PART === 0) {
          await seal(access, PART, file.name);
          access.close();
          access = undefined;
        }
      }
      options.onLoaded(size, Math.max(stated, size), 0);
    }
    if (access) await seal(access, size % PART, file.name);
  } catch (cause) {
    if (cause instanceof PeregrineError) throw cause;
    throw makeError("http", `${file.url}: the connection broke after ${size} bytes: ${(cause as Error).message}`, { cause });
  } finally {
    access?.close();
  }
  if ((file.size ?? (stated || size)) !== size) {
    await entry.clear();
    throw makeError("integrity", `${file.url}: ${size} bytes came, expected ${file.size ?? stated}`);
  }
  const etag = response.headers.get("ETag");
  const manifest: Manifest = { version: 1, model, key: file.key, name: file.name, url: file.url, size, etag, sha256: file.sha256 ?? null };
  await entry.setManifest(manifest);
  return new Stored(entry, file, manifest, options, release, await entry.lengths(size));
}

/** A file whose parts are here, or on their way. */
class Stored implements StoredSource {
  readonly name: string;
  readonly size: number;
  readonly complete: Promise<void>;
  readonly #entry: Entry;
  readonly #file: RemoteFile;
  readonly #manifest: Manifest;
  readonly #options: Options;
  readonly #stop = new AbortController();
  /** Resolved when a part is whole; not there for parts that are. */
  readonly #arriving = new Map<number, Promise<void>>();
  /** Parts in memory, the one that was used last at the end. */
  readonly #memory = new Map<number, Promise<Uint8Array<ArrayBuffer>>>();
  readonly #release: () => void;
  #loaded: number;
  readonly #resumed: number;
  /** Why the download ended. */
  #failure: unknown;

  /** `lengths`: what is here of a download that goes on, with `first` as the answer that has come; without them all of it is. */
  constructor(
    entry: Entry,
    file: RemoteFile,
    manifest: Manifest,
    options: Options,
    release: () => void,
    lengths?: Map<number, number>,
    first?: { part: number; response: Response },
  ) {
    this.name = file.name;
    this.size = manifest.size;
    this.#entry = entry;
    this.#file = file;
    this.#manifest = manifest;
    this.#options = options;
    this.#release = release;
    this.#resumed = lengths ? [...lengths.values()].reduce((sum, length) => sum + length, 0) : manifest.size;
    this.#loaded = this.#resumed;
    if (!lengths) {
      this.complete = Promise.resolve();
      return;
    }
    options.onLoaded(this.#loaded, this.size, this.#resumed);
    const parts = Array.from({ length: Math.ceil(this.size / PART) }, (_, i) => i);
    // The answer that is here comes first: its server waits.
    if (first) parts.sort((a, b) => Number(b === first.part) - Number(a === first.part));
    for (const part of parts) this.#arrive(part, part === first?.part ? first.response : undefined);
    this.complete = this.#finish();
    this.complete.catch(() => {});
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    if (offset + length > this.size) throw truncated(this.name, offset, length, this.size);
    const count = Math.ceil(this.size / PART);
    return gather(offset, length, PART, (part) => {
      const bytes = this.#part(part);
      // The next one is read while the GPU gets this one.
      if (part + 1 < count && !this.#arriving.has(part + 1)) void this.#part(part + 1).catch(() => {});
      return bytes;
    });
  }

  close(): void {
    this.#stop.abort();
    this.#release();
  }

  #arrive(part: number, response?: Response): void {
    const arrived = this.#options.slots
      .run(() => this.#fetch(part, response))
      .catch((error: unknown) => {
        // One part that cannot be had is the end of the file; the others only say that they were stopped.
        this.#failure ??= error;
        this.#stop.abort();
        throw this.#failure;
      });
    this.#arriving.set(part, arrived);
    arrived.then(
      () => this.#arriving.delete(part),
      () => {},
    );
  }

  /** Fetches what is missing of a part; goes on where it was when the connection breaks. */
  async #fetch(part: number, response?: Response): Promise<void> {
    const expected = partLength(part, this.size);
    const access = await this.#entry.access(partName(part));
    try {
      let length = access.getSize();
      if (length === expected + DIGEST) return;
      length = Math.min(length, expected);
      for (let failures = 0; length < expected; ) {
        let cause: Error | undefined;
        try {
          response ??= await this.#request(part * PART + length, part * PART + expected);
          if (response.status === 206 && response.body) {
            for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
              const piece = chunk.subarray(0, expected - length);
              append(access, piece, length, this.name);
              length += piece.length;
              failures = 0;
              this.#options.onLoaded((this.#loaded += piece.length), this.size, this.#resumed);
              if (length === expected) break;
            }
            if (length < expected) cause = new Error(`the connection broke ${expected - length} bytes before the end of part ${part}`);
          } else cause = new Error(problemOf(response));
        } catch (thrown) {
          if (thrown instanceof PeregrineError) throw thrown;
          if (this.#stop.signal.aborted) throw makeError("cancelled", "the download was stopped", { cause: thrown });
          cause = thrown as Error;
        }
        if (cause) {
          if (++failures === ATTEMPTS) throw makeError("http", `${this.#file.url}: ${cause.message} (tried ${ATTEMPTS} times)`, { cause });
          await pause(failures, response, this.#stop.signal);
        }
        response = undefined;
      }
      await seal(access, expected, this.name);
    } finally {
      access.close();
    }
  }

  /** An answer with the bytes from `from` on, or one that may be better later. */
  async #request(from: number, to: number): Promise<Response> {
    const { url } = this.#file;
    const response = await fetch(url, { headers: { Range: `bytes=${from}-${to - 1}` }, cache: "no-store", signal: this.#stop.signal });
    if (mayPass(response.status)) {
      await response.body?.cancel();
      return response;
    }
    const { etag } = this.#manifest;
    const found = response.headers.get("ETag");
    const begin = /bytes (\d+)-/.exec(response.headers.get("Content-Range") ?? "")?.[1];
    const changed = found !== null && found !== etag;
    if (response.status === 206 && !changed && Number(begin ?? from) === from) return response;
    await response.body?.cancel();
    if (changed || response.status === 416) {
      await this.#forget();
      const detail = changed ? `ETag was ${quoted(etag)} and is ${quoted(found)}` : problemOf(response);
      throw makeError("http", `${url}: the file changed on the server while it was being read (${detail}); load it again`);
    }
    throw makeError("http", `${url}: asked for bytes from ${from}, ${response.status === 206 ? `got those from ${begin}` : problemOf(response)}`);
  }

  /** What is kept is of no use; parts that are open for writing stay, but no manifest says whose they are. */
  async #forget(): Promise<void> {
    this.#stop.abort();
    await this.#entry.clear().catch(() => {});
  }

  /** The bytes of a part, right ones. */
  #part(part: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = this.#memory.get(part) ?? this.#check(part);
    this.#memory.delete(part);
    this.#memory.set(part, bytes);
    bytes.catch(() => this.#memory.delete(part));
    while (this.#memory.size > KEPT) this.#memory.delete(this.#memory.keys().next().value as number);
    return bytes;
  }

  async #check(part: number): Promise<Uint8Array<ArrayBuffer>> {
    const expected = partLength(part, this.size);
    for (let attempt = 1; ; attempt++) {
      await this.#arriving.get(part);
      const stored = new Uint8Array(await this.#load(part));
      const bytes = stored.subarray(0, expected);
      const seal = stored.subarray(expected);
      const made = stored.length === expected + DIGEST ? await digest(bytes) : undefined;
      if (made?.every((byte, i) => byte === seal[i])) return bytes;
      // The disk, or somebody, has changed it: the part is fetched once more.
      const problem = `${this.name}: part ${part} of the stored copy is damaged`;
      if (!canWrite() || attempt === 3) {
        await this.#entry.doubt().catch(() => {});
        throw makeError("integrity", problem);
      }
      if (this.#arriving.has(part)) continue;
      await this.#entry.delete(partName(part));
      this.#loaded -= expected;
      this.#arrive(part);
    }
  }

  async #load(part: number): Promise<ArrayBuffer> {
    try {
      return await (await this.#entry.file(partName(part))).arrayBuffer();
    } catch (error) {
      if ((error as DOMException).name === "NotFoundError") return new ArrayBuffer(0);
      throw makeError("io", `${this.name}: part ${part} of the stored copy cannot be read: ${(error as Error).message}`, { cause: error });
    }
  }

  /** Waits for all parts, in order, and checks the whole file where its checksum is known. */
  async #finish(): Promise<void> {
    const { sha256 } = this.#manifest;
    const hasher = sha256 === null ? undefined : this.#options.newHasher();
    for (let part = 0; part * PART < this.size; part++) {
      if (hasher) {
        const bytes = await this.#part(part);
        hasher.update(bytes);
        this.#options.onVerified(bytes.length);
      } else await this.#arriving.get(part);
    }
    const found = hasher?.finish();
    if (found !== undefined && found !== sha256) {
      await this.#forget();
      throw makeError("integrity", `${this.name}: SHA-256 is ${found}, the hub says ${sha256}`);
    }
    await this.#entry.setVerified();
    await this.#entry.setUsed();
  }
}
