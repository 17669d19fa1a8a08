/** Models that are quantized before they are loaded, and kept so. */

import { makeError } from "../errors.js";
import { mayPassLater, stateOf } from "./http.js";
import { HUB, rootOf } from "./hub.js";
import { madeEntry, removeOld } from "./kept.js";
import { MADE, type Progress, type RemoteFile, type SourceSpec } from "../protocol.js";
import { blobSource, type ByteSource } from "./bytes.js";
import { Parts } from "./parts.js";
import { openSources, remoteFiles, type Sources } from "./source.js";
import { canWrite, digest, Entry, hex, idOf, lock, roomFor, whyNotStored, type Manifest } from "./store.js";
import { Readers, Slots, Stored, type NewHasher } from "./stored.js";
import { Writer } from "./writer.js";

type Report = (progress: Progress) => void;

/** Takes the bytes of the GGUF file. */
interface Sink {
  take(bytes: Uint8Array): void;
  /** Called before each read: may write what was taken. */
  flush(): Promise<void>;
}

/** Quantizes a model's files. */
export type Quantize = (sources: Sources, sink: Sink, report: Report) => Promise<void>;

/** Where a model comes from that is not made here. */
type Source = Exclude<SourceSpec, { kind: "stored" }>;

/** A change of what the quantizer writes gives it another number. */
const QUANTIZER = 1;

const hashed = async (...facts: unknown[]): Promise<string> => hex(await digest(new TextEncoder().encode(JSON.stringify(facts))));

/**
 * What is known of a file without reading it: it differs when the file does. Undefined where the
 * server tells nothing of that kind; that the length is the same says little.
 */
async function factsOf({ key, url, size, sha256, version }: RemoteFile): Promise<unknown[] | undefined> {
  if (sha256 !== undefined) return [key, sha256];
  if (version !== undefined) return [key, size, version];
  const found = await stateOf(url);
  return found.etag === null && found.modified === undefined ? undefined : [key, found.size, found.etag, found.modified];
}

/**
 * What the source of a quantized model is: the same text for the same bytes; undefined where nobody
 * can say. `files` are those of a model that is not the page's own.
 */
async function identityOf(spec: Source, files: RemoteFile[]): Promise<string | undefined> {
  const facts =
    spec.kind === "blobs"
      ? spec.files.map(({ name, blob }) => (blob instanceof File ? [name, blob.size, blob.lastModified] : undefined))
      : await Promise.all(files.map(factsOf));
  return facts.includes(undefined) ? undefined : hashed(QUANTIZER, facts);
}

/** What people see, and a folder's or a file's name without its ending. */
function titleOf(spec: Source, sources: Sources): string {
  const [first] = sources.files as [ByteSource];
  const name = first.name.includes("/") ? first.name.split("/")[0]! : first.name.replace(/(-\d{5}-of-\d{5})?\.gguf$/i, "");
  return name || spec.kind;
}

/**
 * The name of a quantized model. Files that a person gives may be called as others are, and hubs
 * may have models of the same name: then a part of a checksum tells them apart.
 */
async function modelOf(spec: Source, type: string, identity: string | undefined): Promise<string> {
  const name = spec.kind === "blobs" ? (spec.files[0]?.name.split("/")[0] ?? "") : spec.model;
  const mark = spec.kind === "blobs" ? identity : spec.kind === "hub" && rootOf(spec.base) !== HUB ? await hashed(rootOf(spec.base)) : undefined;
  return `${MADE}${name}${mark === undefined ? "" : `@${mark.slice(0, 8)}`}:${type}`;
}

/** Opens a model that was made here, or says why it cannot be. */
export async function openMade(model: string, report: Report, newHasher: NewHasher): Promise<Sources> {
  const found = await openNewest(model, newHasher);
  if (!found) throw makeError("argument", `model: ${model} is not among the models that are kept here, or is not whole`);
  report({ phase: "download", loaded: found.files[0]!.size, total: found.files[0]!.size, rate: 0, resumedFrom: found.files[0]!.size });
  return found;
}

/** Another tab may be replacing a model while it is being opened: so often is it looked for. */
const ATTEMPTS = 3;

async function openNewest(model: string, newHasher: NewHasher): Promise<Sources | undefined> {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const id = await madeEntry(model);
    if (id === undefined) return undefined;
    const found = await openEntry(id, newHasher);
    if (found) return found;
  }
  return undefined;
}

async function openEntry(id: string, newHasher: NewHasher): Promise<Sources | undefined> {
  if ((await whyNotStored()) !== "") return undefined;
  const release = await lock(id, "shared");
  try {
    const entry = await Entry.find(id);
    const manifest = (await entry?.isVerified()) ? await entry?.manifest() : undefined;
    if (entry && manifest) {
      await entry.setUsed();
      const { model, key, name, url, size } = manifest;
      const parts = new Parts();
      const options = { slots: new Slots(), readers: new Readers(), parts, newHasher, onLoaded() {}, onVerified() {} };
      const stored = new Stored(entry, { key, name, url, size }, manifest, options, release);
      const close = () => {
        stored.close();
        parts.close();
      };
      return { files: [stored], storage: { kept: true, why: "", id: model }, complete: stored.complete, close };
    }
  } catch (error) {
    release();
    throw error;
  }
  release();
  return undefined;
}

/** A file that is kept in memory, where there is no store. */
class Memory {
  #parts: BlobPart[] = [];

  take(bytes: Uint8Array<ArrayBuffer>): void {
    this.#parts.push(bytes);
  }

  async flush(): Promise<void> {
    // The browser may move Blobs to the disk.
    if (this.#parts.length > 16) this.#parts = [new Blob(this.#parts)];
  }

  file(name: string): ByteSource {
    return blobSource(new Blob(this.#parts), name);
  }
}

/** Quantizes into an entry of the store, unless another tab has done so. */
async function make(id: string, manifest: Manifest, sources: Sources, quantize: Quantize, report: Report): Promise<void> {
  const release = await lock(id, "exclusive");
  try {
    const entry = await Entry.open(id);
    if ((await entry.isVerified()) && (await entry.manifest())) return;
    const writer = await Writer.begin(entry, manifest);
    let total: number | undefined;
    let isRoom = false;
    const told = (progress: Progress) => {
      if (progress.phase === "quantize") ({ total } = progress);
      report(progress);
    };
    const flush = async () => {
      if (total !== undefined && !isRoom) await roomFor(manifest.name, total);
      isRoom = total !== undefined;
      await writer.flush();
    };
    try {
      await quantize(sources, { take: (bytes) => writer.take(bytes), flush }, told);
      // Of bytes that are not all right nothing is kept.
      await sources.complete;
      await writer.finish();
    } catch (error) {
      await writer.abandon();
      throw error;
    }
    await removeOld(manifest.model, ({ key }) => key !== manifest.key);
  } finally {
    release();
  }
}

/**
 * Opens a model quantized to a type: as it is kept, where its source is still the same, else it is
 * made anew. The old one stays until the new one is whole.
 */
export async function openQuantized(spec: SourceSpec, type: string, report: Report, newHasher: NewHasher, quantize: Quantize): Promise<Sources> {
  if (spec.kind === "stored") throw makeError("argument", `quantizeTo: ${spec.model} has been quantized already; give the model that it was made from`);
  const isWanted = spec.cache !== false;
  const why = !isWanted ? "the page asked for no cache" : (await whyNotStored()) || (canWrite() ? "" : "files can be written in dedicated workers only");
  let files: RemoteFile[] = [];
  let identity: string | undefined;
  try {
    if (spec.kind !== "blobs") files = await remoteFiles(spec);
    if (isWanted) identity = await identityOf(spec, files);
  } catch (error) {
    // Without a network, what is here is the newest there is.
    const kept = isWanted && mayPassLater(error) ? await openNewest(await modelOf(spec, type, undefined), newHasher) : undefined;
    if (!kept) throw error;
    return kept;
  }
  const model = await modelOf(spec, type, identity);
  const key = `${model} of ${identity}`;
  const id = await idOf(key);
  const kept = identity === undefined ? undefined : await openEntry(id, newHasher);
  if (kept) return kept;

  const sources = await openSources(spec, report, newHasher, files);
  try {
    const name = `${titleOf(spec, sources)}-${type}.gguf`;
    if (why !== "" || identity === undefined) {
      const memory = new Memory();
      await quantize(sources, memory, report);
      await sources.complete;
      return { files: [memory.file(name)], storage: { kept: false, why: why || "of a file without a date nobody knows whether it has changed" }, complete: Promise.resolve(), close() {} };
    }
    if ((await identityOf(spec, files)) !== identity) throw makeError("http", `${model}: its files changed on the server while they were being opened; load it again`);
    const size = sources.files.reduce((sum, file) => sum + file.size, 0);
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      await make(id, { version: 1, model, key, name, url: "", size, etag: identity, sha256: null }, sources, quantize, report);
      const made = await openEntry(id, newHasher);
      if (made) return made;
    }
    throw makeError("busy", `${model} is deleted again and again by another tab while it is being opened`);
  } finally {
    sources.close();
  }
}
