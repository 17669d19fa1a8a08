/** Small files, in one go. */

import { makeError, PeregrineError } from "../errors.js";
import { patientFetch } from "./http.js";
import type { RemoteFile } from "../protocol.js";
import { ATTEMPTS, pause } from "./retry.js";
import { blobSource, type ByteSource } from "./bytes.js";
import type { NewHasher } from "./stored.js";

/** Bytes that are given to the checksum at a time. */
const PIECE = 4 << 20;

async function hashOf(blob: Blob, newHasher: NewHasher): Promise<string> {
  const hasher = await newHasher();
  for (let at = 0; at < blob.size; at += PIECE) hasher.update(new Uint8Array(await blob.slice(at, at + PIECE).arrayBuffer()));
  return hasher.finish();
}

/**
 * Downloads a file; where its length and checksum are known it has them. A connection that breaks
 * is tried again.
 */
export async function fetchWhole(file: RemoteFile, newHasher: NewHasher): Promise<ByteSource> {
  const { url, name } = file;
  for (let attempt = 1; ; attempt++) {
    const response = await patientFetch(url, { cache: "no-cache" });
    let blob: Blob;
    try {
      blob = await response.blob();
    } catch (cause) {
      if (attempt < ATTEMPTS) {
        await pause(attempt);
        continue;
      }
      throw cause instanceof PeregrineError ? cause : makeError("http", `${url}: the connection broke: ${(cause as Error).message} (tried ${ATTEMPTS} times)`, { cause });
    }
    if (file.size !== undefined && blob.size !== file.size) throw makeError("integrity", `${url}: ${blob.size} bytes came, the hub says ${file.size}`);
    if (file.sha256 !== undefined && (await hashOf(blob, newHasher)) !== file.sha256) throw makeError("integrity", `${url}: the bytes are not those of the hub (SHA-256)`);
    return blobSource(blob, name);
  }
}
