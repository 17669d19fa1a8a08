/** Files to text. */

import { decode } from "./decode.js";
import { DOCX_LIBRARY, type DocxLibrary, officeOf, readDocx } from "./docx.js";
import { charsetOf, textOfHtml } from "./html.js";
import { containerOf, extensionOf, kindOf, unsupported } from "./kinds.js";
import { type PdfLibrary, readPdf } from "./pdf.js";
import { DocumentError, type Progress, type ReadDocument, type Warning } from "./types.js";

/** A file from an input, a drop, a paste or a share. */
export type Source = Blob & { readonly name?: string };

export interface ExtractOptions {
  onProgress?: (progress: Progress) => void;
  /** Stops reading: the promise is rejected with the signal's reason. */
  signal?: AbortSignal;
  /** Of an encrypted PDF. */
  password?: string;
  /** Of a text whose encoding was guessed wrong, "shift_jis" say. */
  encoding?: string;
  /** How PDF.js and mammoth are loaded; the page's own chunks if left out. */
  pdf?: () => Promise<PdfLibrary>;
  docx?: DocxLibrary;
}

const MOST_BYTES = 256e6;
/** A text of this size is some five million tokens, more than any model takes. */
const MOST_TEXT = 24e6;

/** Whether a file is a model, whatever its name is: only its first four bytes are read. */
export async function isModelFile(file: Blob): Promise<boolean> {
  const magic = new Uint8Array(await file.slice(0, 4).arrayBuffer());
  return String.fromCharCode(...magic) === "GGUF";
}

async function bytesOf(part: Blob, name: string): Promise<Uint8Array> {
  try {
    return new Uint8Array(await part.arrayBuffer());
  } catch (cause) {
    throw new DocumentError(
      "unreadable",
      `"${name}" could not be read from the disk. It may have been moved or changed, or be a folder: choose it again.`,
      undefined,
      { cause },
    );
  }
}

function tooLarge(name: string, most: number): DocumentError {
  return new DocumentError(
    "too-large",
    `"${name}" is larger than ${most / 1e6} MB. Choose a smaller file, or the part of it that matters.`,
  );
}

/** The text of a file; throws DocumentError when there is none that can be read. */
export async function extract(file: Source, options: ExtractOptions = {}): Promise<ReadDocument> {
  const { signal, onProgress } = options;
  signal?.throwIfAborted();
  // Messages are one line, whatever a file is called.
  const name = (file.name ?? "").replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, " ").trim() || "Document";
  if (file.size === 0) throw new DocumentError("empty", `"${name}" is empty. Choose another file.`);
  const container = containerOf(await bytesOf(file.slice(0, 4096), name), name);
  signal?.throwIfAborted();
  if (container === "gguf") throw new DocumentError("model-file", `"${name}" is a model, no document. Open it under Models.`, "GGUF model");
  if (file.size > MOST_BYTES) throw tooLarge(name, MOST_BYTES);
  if (container === "text" && file.size > MOST_TEXT) throw tooLarge(name, MOST_TEXT);
  const bytes = await bytesOf(file, name);
  signal?.throwIfAborted();
  const read = await readBytes(bytes, name, container, options);
  if (read.text.trim() === "") throw new DocumentError("empty", `"${name}" has no text. Choose another file.`);
  if (container !== "pdf") onProgress?.({ done: 1, total: 1, unit: "file" });
  return read;
}

async function readBytes(
  bytes: Uint8Array,
  name: string,
  container: ReturnType<typeof containerOf>,
  options: ExtractOptions,
): Promise<ReadDocument> {
  const { signal, onProgress, password } = options;
  const extension = extensionOf(name);
  if (container === "pdf") {
    const library = options.pdf ?? (async () => (await import("./pdf-library.js")).library);
    const { pages, warnings } = await readPdf(bytes, name, { library, password, onProgress, signal });
    const text = pages
      .map((page) => page.text)
      .filter((page) => page !== "")
      .join("\n\n");
    return { name, kind: "pdf", pages, text, warnings };
  }
  const isWord = extension === "docx" || extension === "docm" || extension === "dotx";
  if (container === "zip") {
    const office = officeOf(bytes);
    if (office === "docx" || (office === undefined && isWord))
      return { name, kind: "docx", ...(await readDocx(bytes, name, options.docx ?? DOCX_LIBRARY, signal)) };
    throw unsupported(name, office?.what ?? "packed file", office?.hint ?? "Unpack it first");
  }
  if (container === "ole") throw ole(bytes, name, extension);
  if (extension === "pdf" || isWord) {
    const what = extension === "pdf" ? "PDF" : "Word document";
    throw new DocumentError(
      "damaged",
      `"${name}" is named like a ${what} but holds none: it is damaged or was not downloaded whole. Get it again.`,
    );
  }
  const decoded = decode(bytes, options.encoding ?? (/^x?html?$/.test(extension) ? charsetOf(bytes) : undefined));
  if (!decoded) throw unsupported(name, "file without text");
  return fromDecoded(decoded.text, name, decoded.warnings);
}

/** Files of older Office programs, and of newer ones with a password. */
function ole(bytes: Uint8Array, name: string, extension: string): DocumentError {
  // The names in such a file are in UTF-16.
  const names = new TextDecoder("latin1").decode(bytes).replaceAll("\0", "");
  if (names.includes("EncryptedPackage")) {
    return new DocumentError("encrypted", `"${name}" is protected by a password. Save it without one in the program that made it.`);
  }
  if (names.includes("WordDocument") || extension === "doc") return unsupported(name, "document of an old Word", "Save it as DOCX");
  return unsupported(name, "file of an old Office program", "Save it as PDF or CSV");
}

function fromDecoded(text: string, name: string, warnings: readonly Warning[]): ReadDocument {
  const { kind, language } = kindOf(name, text);
  return { name, kind, ...(language === undefined ? {} : { language }), text: kind === "html" ? textOfPage(text, name) : text, warnings };
}

function textOfPage(html: string, name: string): string {
  try {
    return textOfHtml(html);
  } catch (cause) {
    const message = `"${name}" is nested too deeply to be read. Open it in a browser, copy its text and paste that.`;
    throw new DocumentError("damaged", message, undefined, { cause });
  }
}

/** A document from a text that was pasted. */
export function fromText(text: string, name: string): ReadDocument {
  return fromDecoded(text.replace(/\r\n?/g, "\n"), name, []);
}
