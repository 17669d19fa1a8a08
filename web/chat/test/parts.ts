/**
 * What the page consists of, for tests: one graph of modules each time that it is loaded, as a tab
 * has.
 */

export { OutOfMemoryError, PeregrineError } from "peregrine";
export * as local from "../src/app/local.js";
export { holdNotice, notice } from "../src/app/notices.js";
export { Choosing } from "../src/app/choosing.js";
export { Documents } from "../src/app/documents.js";
export { Sender } from "../src/app/sending.js";
export { Sent } from "../src/app/sent.js";
export { Talk } from "../src/app/talk.js";
export { Aloud, Dictation, languageOf } from "../src/app/voice.js";
export { language } from "../src/i18n/index.js";
export { Database } from "../src/store/database.js";
export { openDatabase } from "../src/store/open.js";
export { Locks } from "../src/store/liveness.js";
export { Store } from "../src/store/store.js";
export { Tree } from "../src/store/tree.js";
