/** Documents in a conversation. See README.md of this folder. */

export { compose } from "./compose.js";
export { extract, type ExtractOptions, fromText, isModelFile, type Source } from "./extract.js";
export { EXTENSIONS, READABLE } from "./kinds.js";
export { type Passage, type PassageOptions, passages, type Reason, type Selection } from "./passages.js";
export { DocumentError, type DocumentErrorCode, type Kind, type Page, type Progress, type ReadDocument, type Warning } from "./types.js";
