/** Random access to bytes. */

import { makeError, type PeregrineError } from "../errors.js";
import type { OnLoaded } from "./meter.js";

/** Random access to bytes; what the wasm module reads the model through. */
export interface ByteSource {
  readonly name: string;
  /** Bytes in all. */
  readonly size: number;
  /** Exactly `length` bytes from `offset`; rejects otherwise. */
  read(offset: number, length: number): Promise<Uint8Array>;
}

/** The error for bytes that a file does not have. */
export const truncated = (name: string, offset: number, length: number, size: number): PeregrineError =>
  makeError("truncated", `${name}: ${length} bytes at offset ${offset} were asked for, the file has ${size}`);

/** Reads slices: the browser keeps the bytes, on disk for files. */
export function blobSource(blob: Blob, name: string, onLoaded: OnLoaded = () => {}): ByteSource {
  let furthest = 0;
  return {
    name,
    size: blob.size,
    async read(offset, length) {
      let bytes: ArrayBuffer;
      try {
        bytes = await blob.slice(offset, offset + length).arrayBuffer();
      } catch (cause) {
        throw makeError("io", `${name} could not be read: ${(cause as Error).message}`, { cause });
      }
      if (bytes.byteLength !== length) throw truncated(name, offset, length, blob.size);
      if (offset + length > furthest) onLoaded((furthest = offset + length), blob.size);
      return new Uint8Array(bytes);
    },
  };
}
