/**
 * The package for service workers, such as the backgrounds of extensions: they may import nothing
 * once they run, so the engine is linked in from the beginning. It runs in the service worker
 * itself.
 */

import { setServer } from "./connections.js";
import { setLoraSource } from "./page/lora.js";
import { loraOf } from "./page/lora-source.js";
import { Server } from "./worker/server.js";

setServer(Server);
setLoraSource(loraOf);

export * from "./index.js";
