/**
 * Requests with the patience that train tunnels need, and files that are read through them without
 * being kept.
 */

import { makeError, PeregrineError } from "../errors.js";
import type { OnLoaded } from "./meter.js";
import type { RemoteFile } from "../protocol.js";
import { ATTEMPTS, mayPass, pause } from "./retry.js";
import { blobSource, joined, truncated, type ByteSource } from "./bytes.js";

/** What a server said that is not the file. */
export const problemOf = (response: Response): string => `the server answered ${response.status} ${response.statusText}`.trimEnd();

/**
 * Fetches; what may pass (network failures, 429, 5xx) is tried again, a little later each time.
 * Only an error that might have passed has a `cause`. Of the answers that are not the file, those
 * that `accepts` names are returned too.
 */
export async function patientFetch(url: string, init: RequestInit, signal?: AbortSignal, ...accepts: number[]): Promise<Response> {
  for (let attempt = 1; ; attempt++) {
    let cause: Error;
    let response: Response | undefined;
    try {
      response = await fetch(url, signal ? { ...init, signal } : init);
      if (response.ok || accepts.includes(response.status)) return response;
      await response.body?.cancel();
      cause = new Error(problemOf(response));
      if (!mayPass(response.status)) throw makeError("http", `${url}: ${cause.message}`);
    } catch (thrown) {
      if (thrown instanceof PeregrineError) throw thrown;
      if (signal?.aborted) throw makeError("cancelled", "stopped", { cause: signal.reason });
      cause = thrown as Error;
    }
    if (attempt === ATTEMPTS) throw makeError("http", `${url}: ${cause.message} (tried ${ATTEMPTS} times)`, { cause });
    await pause(attempt, response, signal);
  }
}

/** Whether asking again later may help: no network, or a server in trouble. */
export const mayPassLater = (error: unknown): boolean => error instanceof PeregrineError && error.code === "http" && error.cause !== undefined;

/**
 * Length of the whole file, from the answer to a request for a part of it; undefined where the
 * server does not say (or CORS hides it).
 */
export function wholeLength(response: Response): number | undefined {
  const stated = /\/(\d+)$/.exec(response.headers.get("Content-Range") ?? "")?.[1];
  return stated === undefined ? undefined : Number(stated);
}

/** What a server says of a file without sending it. */
export interface State {
  /** Null where it says none, or CORS hides it. */
  etag: string | null;
  /** When it was changed. */
  modified?: string;
  /** Bytes. */
  size?: number;
}

/** By what an answer tells a file from another one at the same address. */
export function marksOf({ headers }: Response): Omit<State, "size"> {
  const modified = headers.get("Last-Modified");
  return { etag: headers.get("ETag"), ...(modified !== null && { modified }) };
}

/** Asks a server for the state of a file. */
export async function stateOf(url: string): Promise<State> {
  const response = await patientFetch(url, { headers: { Range: "bytes=0-0" }, cache: "no-store" });
  void response.body?.cancel();
  // The length of a compressed answer is not that of the file.
  const stated = response.headers.has("Content-Encoding") || response.type === "cors" ? null : response.headers.get("Content-Length");
  const size = response.status === 206 ? wholeLength(response) : stated === null ? undefined : Number(stated);
  return { ...marksOf(response), ...(size !== undefined && { size }) };
}

/**
 * One request brings this many bytes; a few of them are in flight or kept, so that memory stays
 * small for any model.
 */
const PART = 2 << 20;
const AHEAD = 2;
const KEPT = 6;

/**
 * Opens an address without keeping its bytes. A server that ignores ranges sends everything at
 * once: then the browser keeps it as a Blob.
 */
export async function openHttp(file: RemoteFile, onLoaded: OnLoaded): Promise<ByteSource> {
  const { url, name } = file;
  const rangeOf = (part: number, size: number): RequestInit => ({
    headers: { Range: `bytes=${part * PART}-${Math.min((part + 1) * PART, size) - 1}` },
  });
  // The browser's own cache may hold parts of an older file: the first request asks the server.
  const first = await patientFetch(url, { ...rangeOf(0, file.size ?? Infinity), cache: "no-cache" });
  if (first.status !== 206) return wholeBody(first, name, onLoaded);

  const size = wholeLength(first) ?? file.size;
  if (size === undefined) {
    // A server that another origin may not ask how long the file is (Content-Range): then all of
    // it, in one go.
    await first.body?.cancel();
    return wholeBody(await patientFetch(url, { cache: "no-cache" }), name, onLoaded);
  }
  if (!Number.isSafeInteger(size)) throw makeError("http", `${url}: the server says that the file has ${size} bytes`);
  const tag = first.headers.get("ETag");
  let loaded = 0;
  const take = async (response: Response, part: number): Promise<Uint8Array<ArrayBuffer>> => {
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

  // A connection may break within a part, and a cache may give back less than was asked for: then
  // the server is asked once more.
  const request = async (part: number, answer?: Response): Promise<Uint8Array<ArrayBuffer>> => {
    try {
      return await take(answer ?? (await patientFetch(url, rangeOf(part, size))), part);
    } catch (cause) {
      try {
        return await take(await patientFetch(url, { ...rangeOf(part, size), cache: "reload" }), part);
      } catch (again) {
        if (again instanceof PeregrineError) throw again;
        throw makeError("http", `${url}: the connection broke: ${(again as Error).message}`, { cause });
      }
    }
  };
  // Parts by number, in the order in which they were last used.
  const parts = new Map<number, Promise<Uint8Array<ArrayBuffer>>>();
  const get = (part: number, answer?: Response): Promise<Uint8Array<ArrayBuffer>> => {
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

  const pieces = async (offset: number, length: number) => {
    if (offset + length > size) throw truncated(name, offset, length, size);
    const count = Math.ceil(size / PART);
    return piecesOf(offset, length, PART, (part) => {
      const bytes = get(part);
      for (let next = part + 1; next <= part + AHEAD && next < count; next++) void get(next).catch(() => {});
      return bytes;
    });
  };
  return { name, size, pieces, read: async (offset, length) => joined(await pieces(offset, length)) };
}

/** Bytes that lie in parts of equal length, part by part: these do not change. */
export async function piecesOf(
  offset: number,
  length: number,
  partLength: number,
  get: (part: number) => Promise<Uint8Array<ArrayBuffer>>,
): Promise<Uint8Array<ArrayBuffer>[]> {
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 0; at < length; at += pieces.at(-1)!.length) {
    const part = Math.floor((offset + at) / partLength);
    const begin = part * partLength;
    pieces.push((await get(part)).subarray(offset + at - begin, offset + length - begin));
  }
  return pieces;
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
    blob = await new Response(counted as BodyInit).blob();
  } catch (cause) {
    throw makeError("http", `${response.url}: the connection broke after ${loaded} bytes: ${(cause as Error).message}`, { cause });
  }
  return blobSource(blob, name);
}
