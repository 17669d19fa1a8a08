/**
 * PDF.js for the page, as a chunk of its own: worker and tables are files of this origin, as the
 * policy demands.
 */

import * as pdfjs from "pdfjs-dist/legacy/build/pdf.mjs";
import worker from "pdfjs-dist/legacy/build/pdf.worker.mjs?worker&url";
import type { PdfLibrary } from "./pdf.js";

/**
 * Tables that say which letters the codes of Chinese, Japanese and Korean fonts are; one is fetched
 * when a font needs it.
 */
const tables = import.meta.glob<string>("../../../node_modules/pdfjs-dist/cmaps/*.bcmap", {
  query: "?url",
  import: "default",
  eager: true,
});

pdfjs.GlobalWorkerOptions.workerSrc = worker;

/** How PDF.js asks for its files. */
class Files {
  async fetch({ kind, filename }: { kind: string; filename: string }): Promise<Uint8Array> {
    const address = kind === "cMapUrl" ? tables[`../../../node_modules/pdfjs-dist/cmaps/${filename}`] : undefined;
    // Fonts and codecs are for drawing, which nobody asks for here.
    if (address === undefined) throw new Error(`There is no file ${filename}`);
    const response = await fetch(address);
    if (!response.ok) throw new Error(`${filename}: ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  }
}

export const library: PdfLibrary = { pdfjs, options: { BinaryDataFactory: Files, useWorkerFetch: false, cMapUrl: "cmaps/" } };
