/** Models that are quantized before they are loaded, and kept so. */

import { makeError } from "../errors.js";
import { patientFetch, mayPassLater, wholeLength } from "./http.js";
import type { Progress, RemoteFile, SourceSpec } from "../protocol.js";
import { blobSource, openSources, remoteFiles, type ByteSource, type Sources } from "./source.js";
import { canWrite, digest, Entry, hex, idOf, lock, MADE, whyNotStored, type Manifest } from "./store.js";
import { Slots, Stored, type NewHasher } from "./stored.js";
import { Writer } from "./writer.js";

/**
 * Quantizes a model's files; `sink` takes the bytes of the GGUF file and may write them before the
 * next read.
 */
export type Quantize = (sources: Sources, sink: { take(bytes: Uint8Array): void; flush(): Promise<void> }) => Promise<void>;

/** Where a model comes from that is not made here. */
type Source = Exclude<SourceSpec, { kind: "stored" }>;

const hashed = async (facts: unknown): Promise<string> => hex(await digest(new TextEncoder().encode(JSON.stringify(facts))));

/** What is known of a file without reading it: it differs when the file does. */
async function factsOf({ key, url, size, sha256, version }: RemoteFile): Promise<unknown[]> {
  if (sha256 !== undefined) return [key, sha256];
  if (version !== undefined) return [key, size, version];
  const response = await patientFetch(url, { headers: { Range: "bytes=0-0" }, cache: "no-store" });
  void response.body?.cancel();
  return [key, response.status === 206 ? wholeLength(response) : undefined, response.headers.get("ETag")];
}

/**
 * What the source of a quantized model is: the same text for the same bytes; undefined where nobody
 * can say.
 */
async function identityOf(spec: Source): Promise<string | undefined> {
  if (spec.kind === "blobs") {
    const facts = spec.files.map(({ name, blob }) => (blob instanceof File ? [name, blob.size, blob.lastModified] : undefined));
    return facts.includes(undefined) ? undefined : hashed(facts);
  }
  return hashed(await Promise.all((await remoteFiles(spec)).map(factsOf)));
}

/** What people see, and a folder's or a file's name without its ending. */
function titleOf(spec: Source, sources: Sources): string {
  const [first] = sources.files as [ByteSource];
  const name = first.name.includes("/") ? first.name.split("/")[0]! : first.name.replace(/(-\d{5}-of-\d{5})?\.gguf$/i, "");
  return name || spec.kind;
}

/** The model's name before it was quantized. */
const modelOf = (spec: Source): string => (spec.kind === "blobs" ? (spec.files[0]?.name.split("/")[0] ?? "") : spec.model);

/** Opens a model that was made here, or says why it cannot be. */
export async function openMade(model: string, report: (progress: Progress) => void, newHasher: NewHasher): Promise<Sources> {
  const found = await openEntry(model, newHasher, () => true);
  if (!found) throw makeError("argument", `model: ${model} is not among the models that are kept here, or is not whole`);
  report({ phase: "download", loaded: found.files[0]!.size, total: found.files[0]!.size, rate: 0, resumedFrom: found.files[0]!.size });
  return found;
}

async function openEntry(model: string, newHasher: NewHasher, isRight: (manifest: Manifest) => boolean): Promise<Sources | undefined> {
  if ((await whyNotStored()) !== "") return undefined;
  const id = await idOf(model);
  const release = await lock(id, "shared");
  try {
    const entry = await Entry.find(id);
    const manifest = (await entry?.isVerified()) ? await entry?.manifest() : undefined;
    if (entry && manifest && isRight(manifest)) {
      await entry.setUsed();
      const { key, name, url, size } = manifest;
      const options = { slots: new Slots(), newHasher, onLoaded() {}, onVerified() {} };
      const stored = new Stored(entry, { key, name, url, size }, manifest, options, release);
      return { files: [stored], storage: { kept: true, why: "", id: model }, complete: stored.complete, close: () => stored.close() };
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

/**
 * Opens a model quantized to a type: as it is kept, where its source is still the same, else it is
 * made anew.
 */
export async function openQuantized(
  spec: SourceSpec,
  type: string,
  report: (progress: Progress) => void,
  newHasher: NewHasher,
  quantize: Quantize,
): Promise<Sources> {
  if (spec.kind === "stored") throw makeError("argument", `quantizeTo: ${spec.model} has been quantized already; give the model that it was made from`);
  const model = `${MADE}${modelOf(spec)}:${type}`;
  const isWanted = spec.kind === "blobs" || spec.cache;
  const why = !isWanted ? "the page asked for no cache" : (await whyNotStored()) || (canWrite() ? "" : "files can be written in dedicated workers only");
  let identity: string | undefined;
  try {
    if (isWanted) identity = await identityOf(spec);
  } catch (error) {
    // Without a network, what is here is the newest there is.
    const kept = mayPassLater(error) ? await openEntry(model, newHasher, () => true) : undefined;
    if (!kept) throw error;
    return kept;
  }
  const kept = identity === undefined ? undefined : await openEntry(model, newHasher, ({ etag }) => etag === identity);
  if (kept) return kept;

  const sources = await openSources(spec, report, newHasher);
  try {
    const name = `${titleOf(spec, sources)}-${type}.gguf`;
    if (why !== "" || identity === undefined) {
      const memory = new Memory();
      await quantize(sources, memory);
      await sources.complete;
      return { files: [memory.file(name)], storage: { kept: false, why: why || "of a file without a date nobody knows whether it has changed" }, complete: Promise.resolve(), close() {} };
    }
    const id = await idOf(model);
    const release = await lock(id, "exclusive");
    try {
      const entry = await Entry.open(id);
      const manifest: Manifest = { version: 1, model, key: model, name, url: "", size: sources.files.reduce((sum, { size }) => sum + size, 0), etag: identity, sha256: null };
      const writer = await Writer.begin(entry, manifest);
      try {
        await quantize(sources, writer);
        // Of bytes that are not all right nothing is kept.
        await sources.complete;
        await writer.finish();
      } catch (error) {
        await writer.abandon();
        throw error;
      }
    } finally {
      release();
    }
  } finally {
    sources.close();
  }
  return openMade(model, report, newHasher);
}
