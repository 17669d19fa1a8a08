/**
 * Models in the browser's store, without an engine: for a page that gets one ready ahead, or lists
 * and deletes what is kept.
 */

export { downloadModel } from "./page/create.js";
export type { DownloadOptions } from "./page/create.js";
export { deleteModel, exportModel, listModels, persist, storageEstimate } from "./download/kept.js";
export type { StoredModel } from "./download/kept.js";
