/**
 * What runs in the worker, be it one page's own or shared by several. Elsewhere (Node, a page) it
 * does nothing.
 */

import type { Port } from "./protocol.js";
import { Server } from "./worker/server.js";

/** Of workers of all kinds; the compiler knows those of pages only. */
const Scope = (globalThis as { WorkerGlobalScope?: abstract new () => object }).WorkerGlobalScope;

if (Scope && globalThis instanceof Scope) {
  const server = new Server(() => self.close());
  if ("onconnect" in self) {
    self.onconnect = ({ ports: [port] }: MessageEvent) => {
      if (!port) return;
      server.connect(port);
      port.start();
    };
  } else {
    server.connect(self as unknown as Port);
  }
}
