/** The models that are kept here: listed, deleted, exported, and found without a network. */

import { makeError } from "../errors.js";
import { partsOf } from "./hub.js";
import { text } from "../checks.js";
import { MADE, type RemoteFile } from "../protocol.js";
import { Entry, isBusy, isSealed, lock, lockFree, PART, partLength, partName, whyNotStored, type Manifest } from "./store.js";

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

/** An entry of the store, and whose bytes it has. */
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

/** The entries of one model, of which it is all that are needed. */
interface Current {
  files: Kept[];
  /** Whether every file is here, verified, and no other. */
  complete: boolean;
  /** When the last of them was verified. */
  verified: number;
}

async function stateOf(files: Kept[]): Promise<Current> {
  const times = await Promise.all(files.map(({ entry }) => entry.verified()));
  const counts = files.flatMap(({ manifest }) => manifest.of ?? []);
  // Of a folder only the manifests say how many files it has.
  const count = counts.length > 0 ? Math.max(...counts) : partsOf(files[0]!.manifest.name).length;
  return { files, complete: files.length === count && !times.includes(undefined), verified: Math.max(...times.map((time) => time ?? 0)) };
}

/**
 * What is kept of a model: of copies from several hubs, and of one that was quantized here while
 * it is made anew and others read the old one, the newest that is whole.
 */
async function currentOf(all: Kept[]): Promise<Current | undefined> {
  const copies = new Map<string, Kept[]>();
  for (const one of all) {
    const { model, key } = one.manifest;
    const copy = model.startsWith(MADE) ? key : (/^\w+:\/\/[^/]*/.exec(key)?.[0] ?? "");
    copies.set(copy, [...(copies.get(copy) ?? []), one]);
  }
  const states = await Promise.all([...copies.values()].map(stateOf));
  return states.sort((a, b) => Number(b.complete) - Number(a.complete) || b.verified - a.verified)[0];
}

/**
 * The models that are kept for this origin, the one that was used last first. Parts of a model that
 * is still arriving count.
 */
export async function listModels(): Promise<StoredModel[]> {
  const models = new Map<string, Kept[]>();
  for (const one of await kept()) models.set(one.manifest.model, [...(models.get(one.manifest.model) ?? []), one]);
  const listed: StoredModel[] = [];
  for (const [model, all] of models) {
    const { files, complete } = (await currentOf(all))!;
    let [size, stored] = [0, 0];
    for (const { entry, manifest } of files) {
      size += manifest.size;
      for (const length of (await entry.lengths(manifest.size)).values()) stored += length;
    }
    const [{ entry, manifest }] = files as [Kept];
    // A folder's files have its name in front.
    listed.push({ id: model, model, name: manifest.name.split("/")[0]!, size, stored, complete, used: await entry.used() });
  }
  return listed.sort((a, b) => b.used.getTime() - a.used.getTime());
}

/** Removes an entry that nobody has open; whether it is gone. */
async function removeFree(id: string): Promise<boolean> {
  const release = await lockFree(id);
  if (!release) return false;
  try {
    await Entry.remove(id);
    return true;
  } catch (error) {
    if (isBusy(error)) return false;
    throw error;
  } finally {
    release();
  }
}

/**
 * Deletes a kept model. One that is not there is deleted already.
 * @throws RequestError `busy` while a tab loads it.
 */
export async function deleteModel(id: string): Promise<void> {
  text(id, "id");
  for (const { id: folder } of await kept(id)) {
    if (!(await removeFree(folder))) throw makeError("busy", `${id} is being loaded, here or in another tab`);
  }
}

/**
 * Removes what is kept of a model and is not its own any more. What another tab has open stays
 * until the next time.
 */
export async function removeOld(model: string, isOld: (manifest: Manifest) => boolean): Promise<void> {
  for (const { id, manifest } of await kept(model)) if (isOld(manifest)) await removeFree(id);
}

/** The bytes of a file that is whole, on the disk; each part is compared with its checksum. */
async function exported({ id, entry, manifest }: Kept): Promise<File> {
  const { model, name, size } = manifest;
  const changed = (cause?: unknown) => makeError("io", `${model}: ${name} was changed or deleted while it was being exported`, { cause });
  const release = await lock(id, "shared");
  try {
    if (!(await entry.isVerified()) || (await entry.manifest())?.etag !== manifest.etag) throw changed();
    const parts: Blob[] = [];
    for (let part = 0; part * PART < size; part++) {
      const stored = await entry.file(partName(part));
      const length = partLength(part, size);
      if (!(await isSealed(new Uint8Array(await stored.arrayBuffer()), length))) {
        await entry.doubt().catch(() => {});
        throw makeError("integrity", `${name}: part ${part} of the stored copy is damaged`);
      }
      parts.push(stored.slice(0, length));
    }
    return new File(parts, name.split("/").at(-1)!);
  } catch (cause) {
    throw (cause as DOMException).name === "NotFoundError" ? changed(cause) : cause;
  } finally {
    release();
  }
}

/**
 * The files of a model that is completely here: of one that was quantized here its GGUF file, of a
 * folder all of its files, under their names. Their bytes are compared with their checksums, and
 * stay on the disk until they are read; once the model is deleted they cannot be.
 * @throws RequestError for a model that is not here, or not whole
 * @throws DownloadError `integrity` where the copy is damaged
 */
export async function exportModel(id: string): Promise<File[]> {
  text(id, "id");
  const current = await currentOf(await kept(id));
  if (!current) throw makeError("argument", `id: ${id} is not among the models that are kept here`);
  if (!current.complete) throw makeError("argument", `id: ${id} is not whole; load it first`);
  const found: File[] = [];
  for (const one of current.files) found.push(await exported(one));
  return found;
}

/**
 * The files of a model that is completely here, for use without a network. Their keys begin with
 * `place`.
 */
export async function storedFiles(model: string, place: string): Promise<RemoteFile[] | undefined> {
  const current = await currentOf((await kept(model)).filter(({ manifest }) => manifest.key.startsWith(place)));
  if (!current?.complete) return undefined;
  return current.files.map(({ manifest: { url, name, key, size, sha256, of } }) => ({ url, name, key, size, ...(sha256 !== null && { sha256 }), ...(of !== undefined && { of }) }));
}

/** Id of the entry that is whole of a model that was quantized here. */
export async function madeEntry(model: string): Promise<string | undefined> {
  const current = await currentOf(await kept(model));
  return current?.complete ? current.files[0]!.id : undefined;
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
