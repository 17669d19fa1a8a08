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
  /** The same in pieces that follow each other, where the bytes lie so: nothing is copied. */
  pieces?(offset: number, length: number): Promise<Uint8Array[]>;
}

/** Pieces that follow each other as one; a single one is not copied. */
export function joined(pieces: Uint8Array<ArrayBuffer>[]): Uint8Array<ArrayBuffer> {
  if (pieces.length === 1) return pieces[0]!;
  const out = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    out.set(piece, at);
    at += piece.length;
  }
  return out;
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
