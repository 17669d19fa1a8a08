/** Where the model's bytes come from: a server with ranges, or anything the browser calls a Blob (files are). */

import { makeError, PeregrineError } from "./errors.js";
import type { SourceSpec } from "./protocol.js";

/** Random access to bytes; what the wasm module reads the model through. */
export interface ByteSource {
  readonly name: string;
  /** Bytes in all. */
  readonly size: number;
  /** Exactly `length` bytes from `offset`; rejects otherwise. */
  read(offset: number, length: number): Promise<Uint8Array>;
}

/** Called with the bytes loaded so far, and in all. */
export type OnLoaded = (loaded: number, total: number) => void;

/** Opens what the page asked for. */
export function openSource(spec: SourceSpec, onLoaded: OnLoaded): Promise<ByteSource> {
  return spec.kind === "url" ? openHttp(spec.url, onLoaded) : Promise.resolve(blobSource(spec.blob, spec.name, onLoaded));
}

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
      if (bytes.byteLength !== length) {
        throw makeError("truncated", `${name}: ${length} bytes at offset ${offset} were asked for, ${bytes.byteLength} are there`);
      }
      if (offset + length > furthest) onLoaded((furthest = offset + length), blob.size);
      return new Uint8Array(bytes);
    },
  };
}

/** One request brings this many bytes; a few of them are in flight or kept, so that memory stays small for any model. */
const PART = 2 << 20;
const AHEAD = 2;
const KEPT = 6;
const ATTEMPTS = 4;

/** The name of a model at an address: the last part of its path. */
function nameOf(url: string): string {
  const last = new URL(url).pathname.split("/").pop();
  try {
    return decodeURIComponent(last || url);
  } catch {
    return last || url;
  }
}

/** Fetches with the patience that train tunnels need: network failures and 429, 5xx are tried again, a little later each time. */
async function patientFetch(url: string, range: string, cache: RequestCache = "default"): Promise<Response> {
  for (let attempt = 1; ; attempt++) {
    let problem: string;
    try {
      const response = await fetch(url, { headers: { Range: range }, cache });
      if (response.ok) return response;
      await response.body?.cancel();
      problem = `the server answered ${response.status} ${response.statusText}`.trimEnd();
      if (response.status !== 429 && response.status < 500) throw makeError("http", `${url}: ${problem}`);
    } catch (cause) {
      if (cause instanceof PeregrineError) throw cause;
      problem = (cause as Error).message;
    }
    if (attempt === ATTEMPTS) throw makeError("http", `${url}: ${problem} (tried ${ATTEMPTS} times)`);
    await new Promise((resolve) => setTimeout(resolve, 250 * 3 ** (attempt - 1)));
  }
}

/** Opens an address. A server that ignores ranges sends everything at once: then the browser keeps it as a Blob. */
async function openHttp(url: string, onLoaded: OnLoaded): Promise<ByteSource> {
  const name = nameOf(url);
  // The browser's own cache may hold parts of an older file: the first request asks the server.
  const first = await patientFetch(url, `bytes=0-${PART - 1}`, "no-cache");
  if (first.status !== 206) return wholeBody(first, name, onLoaded);

  const size = Number(/\/(\d+)$/.exec(first.headers.get("Content-Range") ?? "")?.[1]);
  if (!Number.isSafeInteger(size)) {
    throw makeError("http", `${url}: the server sent a range but not how long the file is (Content-Range)`);
  }
  const tag = first.headers.get("ETag");
  let loaded = 0;
  const take = async (response: Response, part: number): Promise<Uint8Array> => {
    const expected = Math.min(PART, size - part * PART);
    if (response.status !== 206 || response.headers.get("ETag") !== tag) {
      await response.body?.cancel();
      throw makeError("http", `${url}: the file changed on the server while it was being read`);
    }
    const bytes = new Uint8Array(await response.arrayBuffer());
    if (bytes.length !== expected) {
      throw makeError("http", `${url}: part ${part} has ${bytes.length} bytes, expected ${expected}`);
    }
    onLoaded((loaded = Math.min(loaded + bytes.length, size)), size);
    return bytes;
  };

  // A connection may break within a part, and a cache may give back less than was asked for: then the server is asked once more.
  const request = async (part: number, answer?: Response): Promise<Uint8Array> => {
    const range = `bytes=${part * PART}-${Math.min((part + 1) * PART, size) - 1}`;
    try {
      return await take(answer ?? (await patientFetch(url, range)), part);
    } catch (cause) {
      try {
        return await take(await patientFetch(url, range, "reload"), part);
      } catch (again) {
        if (again instanceof PeregrineError) throw again;
        throw makeError("http", `${url}: the connection broke: ${(again as Error).message}`, { cause });
      }
    }
  };
  // Parts by number, in the order in which they were last used.
  const parts = new Map<number, Promise<Uint8Array>>();
  const get = (part: number, answer?: Response): Promise<Uint8Array> => {
    let bytes = parts.get(part);
    if (!bytes) {
      bytes = request(part, answer);
      bytes.catch(() => parts.delete(part));
    }
    parts.delete(part);
    parts.set(part, bytes);
    while (parts.size > KEPT) parts.delete(parts.keys().next().value as number);
    return bytes;
  };
  void get(0, first).catch(() => {});

  return {
    name,
    size,
    async read(offset, length) {
      if (offset + length > size) {
        throw makeError("truncated", `${name}: ${length} bytes at offset ${offset} were asked for, the file has ${size}`);
      }
      const out = new Uint8Array(length);
      for (let at = 0; at < length; ) {
        const part = Math.floor((offset + at) / PART);
        const bytes = get(part);
        for (let next = part + 1; next <= part + AHEAD && next * PART < size; next++) void get(next).catch(() => {});
        const piece = (await bytes).subarray(offset + at - part * PART, offset + length - part * PART);
        out.set(piece, at);
        at += piece.length;
      }
      return out;
    },
  };
}

async function wholeBody(response: Response, name: string, onLoaded: OnLoaded): Promise<ByteSource> {
  const total = Number(response.headers.get("Content-Length") ?? 0);
  if (!response.body) throw makeError("http", `${response.url}: the answer is empty`);
  let loaded = 0;
  const counted = response.body.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        loaded += chunk.length;
        onLoaded(loaded, Math.max(total, loaded));
        controller.enqueue(chunk);
      },
    }),
  );
  let blob: Blob;
  try {
    blob = await new Response(counted).blob();
  } catch (cause) {
    throw makeError("http", `${response.url}: the connection broke after ${loaded} bytes: ${(cause as Error).message}`, { cause });
  }
  return blobSource(blob, name);
}
