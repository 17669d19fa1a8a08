/** A file that is made here and kept, part after part. */

import { append, Entry, PART, partName, seal, type Access, type Manifest } from "./store.js";

/** Writes an entry of the store: nobody else may have it. */
export class Writer {
  readonly #entry: Entry;
  readonly #manifest: Manifest;
  /** Bytes that were taken and are not written. */
  #taken: Uint8Array[] = [];
  #size = 0;
  #access: Access | undefined;

  private constructor(entry: Entry, manifest: Manifest) {
    this.#entry = entry;
    this.#manifest = manifest;
  }

  /**
   * Begins anew. The size is not known yet: until the end, what the manifest says makes the file
   * one that is not whole.
   */
  static async begin(entry: Entry, manifest: Manifest): Promise<Writer> {
    await entry.clear();
    await entry.setManifest(manifest);
    return new Writer(entry, manifest);
  }

  /** Takes bytes, which {@link flush} writes. */
  take(bytes: Uint8Array): void {
    this.#taken.push(bytes);
  }

  /** Writes what was taken. */
  async flush(): Promise<void> {
    const { name } = this.#manifest;
    for (let bytes of this.#taken.splice(0)) {
      while (bytes.length > 0) {
        const [part, at] = [Math.floor(this.#size / PART), this.#size % PART];
        const access = (this.#access ??= await this.#entry.access(partName(part)));
        const piece = bytes.subarray(0, PART - at);
        append(access, piece, at, name);
        this.#size += piece.length;
        bytes = bytes.subarray(piece.length);
        if (this.#size % PART === 0) await this.#seal(PART);
      }
    }
  }

  /** The file is whole. Its manifest. */
  async finish(): Promise<Manifest> {
    await this.flush();
    if (this.#access) await this.#seal(this.#size % PART);
    const manifest = { ...this.#manifest, size: this.#size };
    await this.#entry.setManifest(manifest);
    await this.#entry.setVerified();
    await this.#entry.setUsed();
    return manifest;
  }

  /** Nothing is left of it. */
  async abandon(): Promise<void> {
    this.#access?.close();
    this.#access = undefined;
    await this.#entry.clear();
  }

  async #seal(length: number): Promise<void> {
    const access = this.#access!;
    await seal(access, length, this.#manifest.name);
    access.close();
    this.#access = undefined;
  }
}
