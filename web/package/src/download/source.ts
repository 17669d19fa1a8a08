/** Where the model's bytes come from: files that the page gives, or addresses. */

import { blobSource, type ByteSource } from "./bytes.js";
import { openStored, watch } from "./download.js";
import { mayPassLater, openHttp } from "./http.js";
import { CONFIG, resolveFolder } from "./folder.js";
import { resolveHub, rootOf } from "./hub.js";
import { removeOld, storedFiles } from "./kept.js";
import { Meter } from "./meter.js";
import { Parts } from "./parts.js";
import type { EngineInfo, Progress, RemoteFile, SourceSpec } from "../protocol.js";
import { lock, whyNotStored } from "./store.js";
import { Readers, Slots, type NewHasher, type Options } from "./stored.js";

/** The files of a model. */
export interface Sources {
  files: ByteSource[];
  /** Whether the bytes stay on this device, and why not. */
  storage: EngineInfo["storage"];
  /** Resolves when every byte is here and has been verified. */
  complete: Promise<void>;
  /** Lets go of what was held while reading. */
  close(): void;
}

/** What the keys of a model's files begin with: other hubs have models of the same name. */
const placeOf = (spec: SourceSpec): string => (spec.kind === "hub" ? rootOf(spec.base) : "");

/** The files of a model that is not the page's own, as its server has them now. */
export async function remoteFiles(spec: Exclude<SourceSpec, { kind: "blobs" | "stored" }>): Promise<RemoteFile[]> {
  if (spec.kind === "urls") return spec.files;
  return spec.kind === "hub" ? resolveHub(spec.model, spec.base) : resolveFolder(spec.model);
}

/**
 * Waits until no other tab opens the same files: each holds the locks of those that it has, and two
 * that have one each would wait for ever. Models have all of their files in common, or none.
 */
async function lockOpening(files: RemoteFile[], options: Options[]): Promise<() => void> {
  const first = files.find(({ name }) => name.endsWith(`/${CONFIG}`))?.key ?? files.map(({ key }) => key).sort()[0];
  const stops = files.map(({ key }, i) => watch(key, options[i]!));
  try {
    return await lock(`opening ${first}`, "exclusive");
  } finally {
    stops.forEach((stop) => stop());
  }
}

/**
 * Opens what the page asked for. `newHasher` makes an SHA-256 of pieces. `known`: its files, where
 * they have been asked for already; then they are what the server has now, or it is an error.
 */
export async function openSources(
  spec: Exclude<SourceSpec, { kind: "stored" }>,
  report: (progress: Progress) => void,
  newHasher: NewHasher,
  known?: RemoteFile[],
): Promise<Sources> {
  if (spec.kind === "blobs") {
    const meter = new Meter(report);
    const files = spec.files.map(({ blob, name }, i) => blobSource(blob, name, (loaded, total) => meter.set(i, loaded, total)));
    return { files, storage: { kept: true, why: "the page gave the file" }, complete: Promise.resolve(), close() {} };
  }
  const why = spec.cache ? await whyNotStored() : ((spec.kind === "urls" ? spec.why : undefined) ?? "the page asked for no cache");
  let remote: RemoteFile[];
  let isListed = true;
  try {
    remote = known ?? (await remoteFiles(spec));
  } catch (error) {
    // Without a network, the copy that is here is the newest there is.
    const stored = why === "" && mayPassLater(error) ? await storedFiles(spec.model, placeOf(spec)) : undefined;
    if (!stored) throw error;
    remote = stored;
    isListed = false;
  }
  const meter = new Meter(report);
  if (why !== "") {
    const files = await Promise.all(remote.map((file, i) => openHttp(file, (loaded, total) => meter.set(i, loaded, total))));
    return { files, storage: { kept: false, why }, complete: Promise.resolve(), close() {} };
  }
  const [slots, readers] = [new Slots(), new Readers()];
  let verified = 0;
  const parts = new Parts();
  const total = remote.reduce((sum, file) => sum + (file.size ?? 0), 0);
  const onVerified = (bytes: number) => report({ phase: "verify", loaded: (verified += bytes), total });
  const options = remote.map((_, i): Options => ({ slots, readers, parts, newHasher, onVerified, onLoaded: (loaded, all, resumed) => meter.set(i, loaded, all, resumed), mustAsk: known !== undefined }));
  const release = await lockOpening(remote, options).catch((error: unknown) => {
    parts.close();
    throw error;
  });
  const opened = await Promise.allSettled(remote.map((file, i) => openStored(spec.model, file, options[i]!))).finally(release);
  const stored = opened.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  const close = () => {
    stored.forEach((one) => one.close());
    parts.close();
  };
  const failed = opened.find((one) => one.status === "rejected");
  if (failed) {
    close();
    throw failed.reason;
  }
  const keys = new Set(remote.map(({ key }) => key));
  const complete = Promise.all(stored.map((one) => one.complete)).then(async () => {
    // Files that the model had once would be taken for its own without a network.
    if (isListed) await removeOld(spec.model, ({ key }) => key.startsWith(placeOf(spec)) && !keys.has(key));
  });
  complete.catch(() => {});
  const kept = stored.every((one) => one.kept);
  return { files: stored, storage: { kept, why: kept ? "" : "files can be written in dedicated workers only" }, complete, close };
}
