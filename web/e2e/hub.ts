/**
 * A server of models with faults: the hub's layout, redirects, ETags, ranges; it counts what it
 * sends.
 */

import { createHash } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { listen, rangeOf } from "../chat/serve.mjs";

/** How the server behaves; tests change it while it runs. */
export interface Behavior {
  /** The file's bytes. */
  bytes: Buffer;
  /** The file's ETag; null sends none. */
  etag: string | null;
  /** What the hub says the SHA-256 is; null for none. */
  sha256: string | null;
  /** Bytes of each answer after which the connection is cut; undefined leaves it. */
  cut: ((offset: number, length: number) => number | undefined) | undefined;
  /**
   * Waits until the `end` bytes of an answer that begins at `first` are where they go, before its
   * connection is cut: what a browser has received and nobody has read is lost with the connection.
   * `name` is that of the folder's file.
   */
  arrived: ((name: string | undefined, first: number, end: number) => Promise<void>) | undefined;
  /** Bytes a piece, and milliseconds between pieces. */
  slow: { bytes: number; milliseconds: number } | undefined;
  /**
   * Bytes of each answer after which nothing comes for as long as the client stays, or until `over`
   * resolves.
   */
  stall: { bytes: number; over?: Promise<void> } | undefined;
  /** Status codes for the next requests of the file, before it is served again. */
  failures: number[];
  /** Whether ranges are understood. */
  ranges: boolean;
  /** Whether answers without a range are compressed. */
  gzip: boolean;
  /** Length that Content-Range states, where it is not the right one. */
  statedSize: number | undefined;
  /** Headers that other origins may read. */
  exposed: string;
  /**
   * Files of the repository `org/folder`, and of the address /folder/, by name; each has the ETag
   * that its bytes have.
   */
  folder: Map<string, Buffer>;
  /** Whether a file that is not in the folder is answered with a page, as servers of apps do. */
  pages: boolean;
}

/** The server, and what it has done. */
export interface ModelServer extends Behavior {
  /** With a slash at the end. */
  address: string;
  /** Bytes of the file that were sent. */
  sent: number;
  /** Ranges of the requests for the file, in order. */
  requests: string[];
  /** Bytes of each of the folder's files that were sent in answer to requests for a part. */
  sentOf: Map<string, number>;
  server: Server;
}

/** SHA-256 in hexadecimal. */
export const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

/**
 * A server of one file, `model-Q4_0.gguf` of the repository `org/repo`; the same file is at
 * /file.gguf.
 */
export async function serveModel(bytes: Buffer): Promise<ModelServer> {
  const state: ModelServer = {
    bytes,
    etag: '"one"',
    sha256: sha256(bytes),
    cut: undefined,
    arrived: undefined,
    slow: undefined,
    stall: undefined,
    failures: [],
    ranges: true,
    gzip: false,
    statedSize: undefined,
    exposed: "ETag, Content-Range, Content-Length",
    folder: new Map(),
    pages: false,
    sentOf: new Map(),
    address: "",
    sent: 0,
    requests: [],
    server: undefined as unknown as Server,
  };
  const { server, address } = await listen((request: IncomingMessage, response: ServerResponse) => void answer(state, request, response), 0);
  return Object.assign(state, { server, address });
}

/** Ends the server. */
export function close({ server }: ModelServer): void {
  server.closeAllConnections();
  server.close();
}

async function answer(state: ModelServer, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname } = new URL(request.url ?? "/", "http://localhost");
  response.setHeader("Access-Control-Allow-Origin", "*");
  response.setHeader("Access-Control-Expose-Headers", state.exposed);
  if (pathname.startsWith("/api/models/org/repo/")) {
    const file = { rfilename: "model-Q4_0.gguf", size: state.bytes.length, ...(state.sha256 === null ? {} : { lfs: { sha256: state.sha256 } }) };
    response.writeHead(200, { "Content-Type": "application/json" });
    response.end(JSON.stringify({ sha: "c0ffee", siblings: [{ rfilename: "README.md" }, file] }));
  } else if (/^\/org\/repo\/resolve\/c0ffee\/model-Q4_0\.gguf$/.test(pathname)) {
    response.writeHead(302, { Location: "/file.gguf?signed=1" }).end();
  } else if (pathname === "/file.gguf") {
    await sendFile(state, request, response);
  } else if (pathname.startsWith("/api/models/org/folder/")) {
    // Only large files have a checksum in the list; the commit is another one with every change.
    const siblings = [...state.folder].map(([rfilename, { length: size }]) => ({ rfilename, size, blobId: id(state.folder.get(rfilename)!), ...(size > 1e6 && { lfs: { sha256: sha256(state.folder.get(rfilename)!) } }) }));
    response.writeHead(200, { "Content-Type": "application/json" });
    response.end(JSON.stringify({ sha: commitOf(state), siblings }));
  } else if (pathname.startsWith(`/org/folder/resolve/${commitOf(state)}/`) || pathname.startsWith("/folder/")) {
    await sendFile(state, request, response, pathname.split("/").at(-1));
  } else {
    response.writeHead(404).end();
  }
}

const id = (bytes: Buffer) => sha256(bytes).slice(0, 40);
const commitOf = ({ folder }: ModelServer) => id(Buffer.from([...folder.values()].map(id).join()));

async function sendFile(state: ModelServer, request: IncomingMessage, response: ServerResponse, name?: string): Promise<void> {
  const own = name === undefined ? undefined : state.folder.get(name);
  if (name !== undefined && !own) {
    if (state.pages) response.writeHead(200, { "Content-Type": "text/html; charset=utf-8" }).end("<!doctype html><title>app</title>");
    else response.writeHead(404).end();
    return;
  }
  state.requests.push(request.headers.range ?? "");
  const failure = state.failures.shift();
  if (failure !== undefined) {
    response.writeHead(failure, failure === 429 ? { "Retry-After": "1" } : {}).end();
    return;
  }
  const [bytes, etag] = own ? [own, `"${sha256(own)}"`] : [state.bytes, state.etag];
  const range = state.ranges ? rangeOf(request.headers.range, bytes.length) : undefined;
  if (range === "bad") {
    response.writeHead(416, { "Content-Range": `bytes */${bytes.length}` }).end();
    return;
  }
  const [first, last] = range ?? [0, bytes.length - 1];
  let body = bytes.subarray(first, last + 1);
  const headers: Record<string, string | number> = { "Content-Type": "application/octet-stream" };
  if (etag !== null) headers.ETag = etag;
  if (range) headers["Content-Range"] = `bytes ${first}-${last}/${state.statedSize ?? bytes.length}`;
  else if (state.gzip) {
    headers["Content-Encoding"] = "gzip";
    body = gzipSync(body, { level: 1 });
  }
  headers["Content-Length"] = body.length;
  const cut = state.cut?.(first, body.length);
  const end = Math.min(cut ?? body.length, body.length);
  response.writeHead(range ? 206 : 200, headers);
  const { stall } = state;
  const piece = stall?.bytes ?? state.slow?.bytes ?? body.length;
  for (let at = 0; at < end && !response.destroyed; at += piece) {
    const part = body.subarray(at, Math.min(at + piece, end));
    const isLost = await new Promise((resolve) => response.write(part, (error) => resolve(Boolean(error))));
    if (isLost) return;
    state.sent += part.length;
    if (name !== undefined && range && request.headers.range !== "bytes=0-0") state.sentOf.set(name, (state.sentOf.get(name) ?? 0) + part.length);
    if (stall && at === 0 && piece < end && !response.destroyed) await Promise.race([once(response, "close"), ...(stall.over ? [stall.over] : [])]);
    if (state.slow) await sleep(state.slow.milliseconds);
  }
  if (cut === undefined || cut >= body.length) {
    response.end();
    return;
  }
  await state.arrived?.(name, first, end);
  response.destroy();
}
