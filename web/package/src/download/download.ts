/** From an address to a file in the store: is it there, is it still the one, what is missing. */

import { makeError, PeregrineError } from "../errors.js";
import { marksOf, mayPassLater, openHttp, patientFetch, problemOf, stateOf, wholeLength, type State } from "./http.js";
import type { RemoteFile } from "../protocol.js";
import { append, canWrite, Entry, idOf, lock, PART, partLength, partName, roomFor, seal, type Access, type Manifest } from "./store.js";
import { Stored, type Options, type StoredSource } from "./stored.js";

/**
 * Whether a kept copy is the file that is asked for, as far as that is known without asking a
 * server.
 */
function isSame(manifest: Manifest, file: RemoteFile): boolean {
  if (file.size !== undefined && file.size !== manifest.size) return false;
  return file.sha256 === undefined || manifest.sha256 === file.sha256;
}

/**
 * Whether the server still has the file that is kept. Where it cannot be asked, the copy is the
 * newest there is, unless the server must be asked.
 */
async function isCurrent(manifest: Manifest, file: RemoteFile, { mustAsk }: Options): Promise<boolean> {
  if (!isSame(manifest, file)) return false;
  // The hub's addresses name a state of the repository.
  if (file.sha256 !== undefined || (file.key !== file.url && file.url === manifest.url)) return true;
  let found: State;
  try {
    found = await stateOf(file.url);
  } catch (error) {
    if (mayPassLater(error) && !mustAsk) return true;
    throw error;
  }
  const { etag, modified, size } = found;
  // Of a server that tells neither only the length is known.
  const isSameState = etag !== null ? etag === manifest.etag : modified !== undefined ? modified === manifest.modified : !mustAsk;
  return isSameState && (size === undefined || size === manifest.size);
}

/** Opens a file: from the store if it is there, else it goes there. */
export async function openStored(model: string, file: RemoteFile, options: Options): Promise<StoredSource> {
  const id = await idOf(file.key);
  const release = await lockShowing(file.key, "shared", options);
  let stale: Manifest | undefined;
  try {
    const found = await Entry.find(id);
    const manifest = (await found?.isVerified()) ? await found?.manifest() : undefined;
    if (found && manifest && (await isCurrent(manifest, file, options))) {
      await found.setUsed();
      // The model may have more files now, or fewer.
      if (file.of !== undefined && file.of !== manifest.of) await found.setManifest({ ...manifest, of: file.of });
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
    return { ...source, kept: false, complete: Promise.resolve(), close() {} };
  }
  return download(id, model, file, stale, options);
}

/**
 * Shows the progress of a file that another tab downloads, until the returned function is called.
 */
export function watch(key: string, options: Options): () => void {
  const timer = setInterval(async () => {
    const entry = await Entry.find(await idOf(key)).catch(() => undefined);
    const manifest = await entry?.manifest();
    if (!entry || !manifest) return;
    const lengths = await entry.lengths(manifest.size).catch(() => new Map<number, number>());
    const loaded = [...lengths.values()].reduce((sum, length) => sum + length, 0);
    options.onLoaded(loaded, manifest.size, loaded);
  }, 250);
  return () => clearInterval(timer);
}

/** Waits for the right to read or to write a file. */
async function lockShowing(key: string, mode: LockMode, options: Options): Promise<() => void> {
  const stop = watch(key, options);
  try {
    return await lock(await idOf(key), mode);
  } finally {
    stop();
  }
}

/** Downloads what is not there; `stale`: a copy that the server does not have any more. */
async function download(id: string, model: string, file: RemoteFile, stale: Manifest | undefined, options: Options): Promise<StoredSource> {
  const release = await lockShowing(file.key, "exclusive", options);
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
      // In a place until its answer has been read: answers that wait would take the connections
      // from those that are being read.
      const leave = await options.slots.enter(true);
      const stored = await begin(entry, model, file, begun, options, release).catch((error: unknown) => {
        leave();
        throw error;
      });
      if (stored) {
        void stored.begun.finally(leave);
        return stored;
      }
      leave();
      if (attempt === 2) throw makeError("http", `${file.url}: the file changes on the server again and again`);
    }
  } catch (error) {
    release();
    throw error;
  }
}

/** What is known of a file once its server has answered. */
function manifestOf(model: string, { key, name, url, sha256, of }: RemoteFile, size: number, { etag, modified }: Omit<State, "size">): Manifest {
  return { version: 1, model, key, name, url, size, etag, sha256: sha256 ?? null, ...(of !== undefined && { of }), ...(modified !== undefined && { modified }) };
}

/**
 * The first answer says how long the file is and whether it is the one that was begun; nothing if
 * it is another.
 */
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
    // Browsers ask for ranges uncompressed, and reject the answer of a server that compresses all
    // the same.
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
  if (size === undefined) {
    // A server that another origin may not ask how long the file is (Content-Range): then all of
    // it, in one go.
    await response.body?.cancel();
    return whole(entry, model, file, await patientFetch(file.url, { cache: "no-store" }), options, release);
  }
  if (!Number.isSafeInteger(size)) throw makeError("http", `${file.url}: the server says that the file has ${size} bytes`);
  if (file.size !== undefined && size !== file.size) {
    throw makeError("integrity", `${file.url}: the server has ${size} bytes, the hub says ${file.size}`);
  }
  const manifest = begun ?? manifestOf(model, file, size, marksOf(response));
  await roomFor(manifest.name, [...lengths.values()].reduce((left, length) => left - length, size));
  if (!begun) await entry.setManifest(manifest);
  return new Stored(entry, file, manifest, options, release, lengths, { part: part ?? 0, response });
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
  // The length of a compressed answer is not that of the file; and of another origin's one may not
  // see whether it is compressed.
  const length = response.headers.has("Content-Encoding") ? 0 : Number(response.headers.get("Content-Length") ?? 0);
  const stated = response.type === "cors" ? 0 : length;
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
      options.onLoaded(size, Math.max(length, size), 0);
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
  const manifest = manifestOf(model, file, size, marksOf(response));
  await entry.setManifest(manifest);
  return new Stored(entry, file, manifest, options, release, await entry.lengths(size));
}
