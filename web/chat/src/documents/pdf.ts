/**
 * The text of PDF files, page by page, through PDF.js, which is loaded when the first one is read.
 */

import type { PDFDocumentProxy, PDFPageProxy } from "pdfjs-dist";
import { letters, tidy } from "./decode.js";
import { type Piece, textOfPage } from "./layout.js";
import { DocumentError, type Page, type Progress, type Warning } from "./types.js";

type Pdfjs = Pick<typeof import("pdfjs-dist"), "getDocument" | "Util" | "VerbosityLevel">;

/** PDF.js, and where its worker and its tables for Asian scripts are. */
export interface PdfLibrary {
  readonly pdfjs: Pdfjs;
  readonly options: Record<string, unknown>;
}

export interface PdfOptions {
  library: () => Promise<PdfLibrary>;
  password?: string | undefined;
  onProgress?: ((progress: Progress) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** The pages of a PDF file. */
export async function readPdf(
  bytes: Uint8Array,
  name: string,
  { library, password, onProgress, signal }: PdfOptions,
): Promise<{ pages: Page[]; warnings: Warning[] }> {
  let loaded: PdfLibrary;
  try {
    loaded = await library();
  } catch (cause) {
    throw new DocumentError(
      "unavailable",
      "The part of this page that reads PDF files did not load. Check the network, then try again.",
      undefined,
      { cause },
    );
  }
  signal?.throwIfAborted();
  const { pdfjs, options } = loaded;
  // Its worker takes the bytes over.
  const task = pdfjs.getDocument({
    data: bytes.slice(),
    ...(password === undefined ? {} : { password }),
    verbosity: pdfjs.VerbosityLevel.ERRORS,
    // Only text is wanted: no fonts of this device, no pictures, no programs in the file.
    disableFontFace: true,
    useSystemFonts: false,
    enableXfa: false,
    useWasm: false,
    ...options,
  });
  const stop = () => void task.destroy();
  signal?.addEventListener("abort", stop, { once: true });
  try {
    return await readPages(await task.promise, name, pdfjs, onProgress, signal);
  } catch (error) {
    signal?.throwIfAborted();
    throw error instanceof DocumentError ? error : failure(error, name, password !== undefined);
  } finally {
    signal?.removeEventListener("abort", stop);
    await task.destroy();
  }
}

function failure(error: unknown, name: string, tried: boolean): DocumentError {
  const options = { cause: error };
  if (error instanceof Error && error.name === "PasswordException") {
    return tried
      ? new DocumentError(
          "wrong-password",
          `That is not the password of "${name}". Type it again, or save the file without one.`,
          undefined,
          options,
        )
      : new DocumentError(
          "encrypted",
          `"${name}" is protected by a password. Give its password, or save it without one.`,
          undefined,
          options,
        );
  }
  return new DocumentError(
    "damaged",
    `"${name}" is damaged and cannot be read as a PDF. Open it in a PDF reader, print it to a new PDF, and use that.`,
    undefined,
    options,
  );
}

async function readPages(
  pdf: PDFDocumentProxy,
  name: string,
  pdfjs: Pdfjs,
  onProgress: PdfOptions["onProgress"],
  signal: AbortSignal | undefined,
) {
  const pages: Page[] = [];
  const unreadable: number[] = [];
  let cause: unknown;
  onProgress?.({ done: 0, total: pdf.numPages, unit: "pages" });
  for (let number = 1; number <= pdf.numPages; number++) {
    signal?.throwIfAborted();
    let text = "";
    try {
      const page = await pdf.getPage(number);
      text = tidy(letters(textOfPage(await piecesOf(page, pdfjs))));
      page.cleanup();
    } catch (error) {
      signal?.throwIfAborted();
      cause ??= error;
      unreadable.push(number);
    }
    pages.push({ number, text });
    onProgress?.({ done: number, total: pdf.numPages, unit: "pages" });
  }
  signal?.throwIfAborted();
  if (unreadable.length === pages.length) throw failure(cause, name, false);
  return { pages, warnings: judge(pages, unreadable, name) };
}

async function piecesOf(page: PDFPageProxy, pdfjs: Pdfjs): Promise<Piece[]> {
  const viewport = page.getViewport({ scale: 1 });
  const { items, styles } = await page.getTextContent();
  return items.flatMap((item): Piece[] => {
    if (!("str" in item)) return [];
    // The view's turn is taken in, so that a page that lies on its side is read as it is seen.
    const m = pdfjs.Util.transform(viewport.transform, item.transform) as number[];
    const [a = 0, b = 0, c = 0, d = 0, x = 0, y = 0] = m;
    const upright = a > 0 && Math.abs(b) < 0.2 * a && !styles[item.fontName]?.vertical;
    return [{ text: item.str, x, y, width: item.width, size: Math.hypot(c, d) || Math.hypot(a, b) || 1, ends: item.hasEOL, upright }];
  });
}

const list = (numbers: readonly number[]) =>
  numbers.length > 12 ? `${numbers.slice(0, 12).join(", ")} and ${numbers.length - 12} more` : numbers.join(", ");

/** What the person should know of what was read; throws when it is nothing. */
function judge(pages: readonly Page[], unreadable: readonly number[], name: string): Warning[] {
  const empty = pages.filter((page) => page.text.trim() === "" && !unreadable.includes(page.number)).map((page) => page.number);
  if (empty.length + unreadable.length === pages.length) {
    throw new DocumentError(
      "scanned",
      `"${name}" holds pictures of pages and no text, as scans do. Run it through a text recognition program (OCR) first.`,
    );
  }
  const warnings: Warning[] = [];
  if (unreadable.length > 0) {
    warnings.push({
      code: "pages-unreadable",
      message: `Pages that are damaged and were left out: ${list(unreadable)}.`,
      pages: unreadable,
    });
  }
  if (empty.length > 0) {
    warnings.push({
      code: "pages-without-text",
      message: `Pages without text, which may be pictures or scans: ${list(empty)}.`,
      pages: empty,
    });
  }
  const odd = pages.filter(({ text }) => (text.match(/[\uFFFD\p{Co}\p{Cn}]/gu)?.length ?? 0) > text.length / 10).map((page) => page.number);
  if (odd.length > 0) {
    warnings.push({
      code: "odd-characters",
      message: `Pages whose font does not say which letters it has, so their text is wrong: ${list(odd)}.`,
      pages: odd,
    });
  }
  return warnings;
}
