/**
 * The small model that comes with the package, for trying things out:
 * `import "peregrine/embedded"`, then `createEngine({ model: "embedded" })`. An app that does not
 * import this does not carry its 18.6 MB.
 */

import { setEmbedded } from "./page/model.js";

setEmbedded(new URL("../models/peregrine-tiny-chat-Q4_0.gguf", import.meta.url));
