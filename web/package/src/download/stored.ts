/** A file in the store that is read while its parts still arrive. */

import { makeError, PeregrineError } from "../errors.js";
import { piecesOf, problemOf } from "./http.js";
import type { RemoteFile } from "../protocol.js";
import { ATTEMPTS, mayPass, pause } from "./retry.js";
import { joined, truncated, type ByteSource } from "./bytes.js";
import type { Part, Parts } from "./parts.js";
import { append, canWrite, DIGEST, Entry, PART, partLength, partName, seal, type Manifest } from "./store.js";

/** Makes an SHA-256 of bytes that come in pieces, once the module for it is there. */
export type NewHasher = () => Promise<{ update(bytes: Uint8Array): void; finish(): string }>;

/** Requests in flight at the same time, over all files of a model. */
const PARALLEL = 4;
/**
 * Parts that are read before they are asked for, so that their checksums are made beside what is
 * done with those before.
 */
const AHEAD = 6;
/**
 * Parts in memory: of a layer, whose matrices are not read in the order of the file, and of what is
 * read ahead.
 */
const KEPT = AHEAD + 4;
/**
 * Files whose parts are in memory: a model in many is read one after the other, with layers that
 * begin in one and end in the next.
 */
const MOST_READ = 2;

/** The files that are read: those from long ago give their memory back. */
export class Readers {
  /** The one that was read last at the end. */
  #files: { rest(): void }[] = [];

  /** This one is read. */
  read(file: { rest(): void }): void {
    if (this.#files.at(-1) === file) return;
    this.#files = [...this.#files.filter((other) => other !== file), file];
    while (this.#files.length > MOST_READ) this.#files.shift()?.rest();
  }
}

/** Lets a few tasks run at a time, in the order in which they come. */
export class Slots {
  #free = PARALLEL;
  readonly #waiting: (() => void)[] = [];
  /** Those that go before the others. */
  readonly #urgent: (() => void)[] = [];

  /** Waits for a place; resolves with what leaves it. */
  async enter(urgent = false): Promise<() => void> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => (urgent ? this.#urgent : this.#waiting).push(resolve));
    return () => {
      const next = this.#urgent.shift() ?? this.#waiting.shift();
      if (next) next();
      else this.#free++;
    };
  }

  async run<T>(task: () => Promise<T>): Promise<T> {
    const leave = await this.enter();
    try {
      return await task();
    } finally {
      leave();
    }
  }
}

/** What all files of a download share. */
export interface Options {
  slots: Slots;
  readers: Readers;
  parts: Parts;
  newHasher: NewHasher;
  onLoaded: (loaded: number, total: number, resumed: number) => void;
  /** More bytes of which the checksum is made. */
  onVerified: (bytes: number) => void;
  /**
   * A server that cannot be asked is an error; without it the copy that is here is the newest there
   * is.
   */
  mustAsk?: boolean;
}

/** A file in the store. */
export interface StoredSource extends ByteSource {
  /** Resolves when every byte is here and right. */
  complete: Promise<void>;
  /** The bytes stay on this device. */
  kept: boolean;
  close(): void;
}

/** The file on the server is another one now. */
class Changed {
  constructor(readonly error: PeregrineError) {}
}

/** The bytes of a part that need not be read. */
type Fresh = Uint8Array<ArrayBuffer> | undefined;

const quoted = (etag: string | null) => etag ?? "none";

/** A file whose parts are here, or on their way. */
export class Stored implements StoredSource {
  readonly name: string;
  readonly size: number;
  readonly complete: Promise<void>;
  readonly kept = true;
  /** Resolves when the answer that came first has been read, or has failed. */
  readonly begun: Promise<void>;
  readonly #entry: Entry;
  readonly #file: RemoteFile;
  readonly #manifest: Manifest;
  readonly #options: Options;
  readonly #stop = new AbortController();
  /**
   * Resolved when a part is whole, with its bytes where all of them came just now; not there for
   * parts that are.
   */
  readonly #arriving = new Map<number, Promise<Fresh>>();
  /** Parts in memory, the one that was used last at the end. */
  readonly #memory = new Map<number, Promise<Uint8Array<ArrayBuffer>>>();
  readonly #release: () => void;
  #loaded: number;
  readonly #resumed: number;
  /** Why the download ended. */
  #failure: unknown;

  /**
   * `lengths`: what is here of a download that goes on, with `first` as the answer that has come;
   * without them all of it is.
   */
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
      options.parts.start();
      this.complete = this.begun = Promise.resolve();
      return;
    }
    options.onLoaded(this.#loaded, this.size, this.#resumed);
    const parts = Array.from({ length: Math.ceil(this.size / PART) }, (_, i) => i);
    // The answer that is here is read at once: its server waits.
    const begun = first ? this.#arrive(first.part, this.#fetch(first.part, first.response)) : Promise.resolve();
    this.begun = begun.then(() => {}, () => {});
    for (const part of parts) if (part !== first?.part) this.#arrive(part);
    this.complete = this.#finish();
    this.complete.catch(() => {});
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    return joined(await this.pieces(offset, length));
  }

  async pieces(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>[]> {
    if (offset + length > this.size) throw truncated(this.name, offset, length, this.size);
    const count = Math.ceil(this.size / PART);
    this.#options.readers.read(this);
    return piecesOf(offset, length, PART, (part) => {
      const bytes = this.#part(part);
      for (let next = part + 1; next <= part + AHEAD && next < count; next++) {
        if (!this.#memory.has(next)) void this.#part(next).catch(() => {});
      }
      return bytes;
    });
  }

  /** Others are read now. */
  rest(): void {
    this.#memory.clear();
  }

  close(): void {
    this.#stop.abort();
    this.#memory.clear();
    this.#release();
  }

  #arrive(part: number, fetched = this.#options.slots.run(() => this.#fetch(part))): Promise<Fresh> {
    const arrived = fetched.catch((error: unknown) => {
      // One part that cannot be had is the end of the file; the others only say that they were
      // stopped.
      this.#failure ??= error;
      this.#stop.abort();
      throw this.#failure;
    });
    this.#arriving.set(part, arrived);
    arrived.then(
      () => this.#arriving.delete(part),
      () => {},
    );
    return arrived;
  }

  /** Fetches a part. */
  async #fetch(part: number, response?: Response): Promise<Fresh> {
    try {
      return await this.#append(part, response);
    } catch (thrown) {
      // Once the part is closed: what is open cannot be deleted.
      throw thrown instanceof Changed ? await this.#forget(thrown.error) : thrown;
    }
  }

  /** Fetches what is missing of a part; goes on where it was when the connection breaks. */
  async #append(part: number, response?: Response): Promise<Fresh> {
    const expected = partLength(part, this.size);
    const access = await this.#entry.access(partName(part));
    try {
      let length = access.getSize();
      if (length === expected + DIGEST) return undefined;
      length = Math.min(length, expected);
      const fresh = length === 0 ? new Uint8Array(expected) : undefined;
      for (let failures = 0; length < expected; ) {
        let cause: Error | undefined;
        try {
          response ??= await this.#request(part * PART + length, part * PART + expected);
          if (response.status === 206 && response.body) {
            for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
              const piece = chunk.subarray(0, expected - length);
              append(access, piece, length, this.name);
              fresh?.set(piece, length);
              length += piece.length;
              failures = 0;
              this.#options.onLoaded((this.#loaded += piece.length), this.size, this.#resumed);
              if (length === expected) break;
            }
            if (length < expected) cause = new Error(`the connection broke ${expected - length} bytes before the end of part ${part}`);
          } else cause = new Error(problemOf(response));
        } catch (thrown) {
          if (thrown instanceof PeregrineError || thrown instanceof Changed) throw thrown;
          if (this.#stop.signal.aborted) throw makeError("cancelled", "the download was stopped", { cause: thrown });
          cause = thrown as Error;
        }
        if (cause) {
          if (++failures === ATTEMPTS) throw makeError("http", `${this.#file.url}: ${cause.message} (tried ${ATTEMPTS} times)`, { cause });
          await pause(failures, response, this.#stop.signal);
        }
        response = undefined;
      }
      await seal(access, expected, this.name, fresh);
      return fresh;
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
      const detail = changed ? `ETag was ${quoted(etag)} and is ${quoted(found)}` : problemOf(response);
      throw new Changed(makeError("http", `${url}: the file changed on the server while it was being read (${detail}); load it again`));
    }
    throw makeError("http", `${url}: asked for bytes from ${from}, ${response.status === 206 ? `got those from ${begin}` : problemOf(response)}`);
  }

  /**
   * What is kept is of no use; other parts that are open for writing stay, but no manifest says
   * whose they are.
   */
  async #forget(why: PeregrineError): Promise<unknown> {
    // Known before the others are stopped, who would tell of that otherwise.
    this.#failure ??= why;
    this.#stop.abort();
    await this.#entry.clear().catch(() => {});
    return this.#failure;
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
      const fresh = await this.#arriving.get(part);
      if (fresh) return fresh;
      const { bytes, isWhole } = await this.#load(part);
      if (isWhole) return bytes;
      // The disk, or somebody, has changed it: the part is fetched once more, unless the file was
      // made here.
      const problem = `${this.name}: part ${part} of the stored copy is damaged`;
      if (!canWrite() || attempt === 3 || this.#file.url === "") {
        await this.#entry.doubt().catch(() => {});
        throw makeError("integrity", problem);
      }
      if (this.#arriving.has(part)) continue;
      // Nobody waits for it any more, and the entry may be another's by now.
      if (this.#stop.signal.aborted) throw makeError("cancelled", "the reading was stopped");
      await this.#entry.delete(partName(part));
      this.#loaded -= expected;
      this.#arrive(part);
    }
  }

  async #load(part: number): Promise<Part> {
    try {
      return await this.#options.parts.read(this.#entry, part, partLength(part, this.size));
    } catch (error) {
      if (error instanceof PeregrineError) throw error;
      throw makeError("io", `${this.name}: part ${part} of the stored copy cannot be read: ${(error as Error).message}`, { cause: error });
    }
  }

  /** Waits for all parts, in order, and checks the whole file where its checksum is known. */
  async #finish(): Promise<void> {
    const { sha256 } = this.#manifest;
    const hasher = sha256 === null ? undefined : await this.#options.newHasher();
    for (let part = 0; part * PART < this.size; part++) {
      if (hasher) {
        // What only the checksum wants is not kept.
        const bytes = await (this.#memory.get(part) ?? this.#check(part));
        hasher.update(bytes);
        this.#options.onVerified(bytes.length);
      } else await this.#arriving.get(part);
    }
    const found = hasher?.finish();
    if (found !== undefined && found !== sha256) {
      throw await this.#forget(makeError("integrity", `${this.name}: SHA-256 is ${found}, the hub says ${sha256}`));
    }
    await this.#entry.setVerified();
    await this.#entry.setUsed();
    // A model in many files is read one after the other.
    this.#memory.clear();
  }
}
