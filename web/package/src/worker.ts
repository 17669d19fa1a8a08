/** What runs in the worker, be it one page's own or shared by several. */

import type { Port } from "./protocol.js";
import { Server } from "./server.js";

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
