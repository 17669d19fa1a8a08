/**
 * What runs in the worker, be it one page's own or shared by several. Elsewhere (Node, a page) it
 * does nothing.
 */

import type { Port } from "./protocol.js";
import { READER, allowReader, serveParts, type ReaderPort } from "./download/parts.js";
import { Server } from "./worker/server.js";

/** Of workers of all kinds; the compiler knows those of pages only. */
const Scope = (globalThis as { WorkerGlobalScope?: abstract new () => object }).WorkerGlobalScope;

if (Scope && globalThis instanceof Scope) {
  if ("onconnect" in self) {
    let server = new Server();
    self.onconnect = ({ ports: [port] }: MessageEvent) => {
      if (!port) return;
      // The browser ends this worker with its last page. Where it ended itself, a page that
      // connects in that moment would wait for ever.
      if (server.hasEnded) server = new Server();
      server.connect(port);
      port.start();
    };
  } else if (self.name === READER) {
    serveParts(self as unknown as ReaderPort);
  } else {
    allowReader();
    new Server(() => self.close()).connect(self as unknown as Port);
  }
}
