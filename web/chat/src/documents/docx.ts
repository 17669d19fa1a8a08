/** The text of Word's documents, through mammoth, which is loaded when the first one is read. */

import { tidy } from "./decode.js";
import { textOfHtml } from "./html.js";
import { DocumentError, type Warning } from "./types.js";
import { entriesOf } from "./zip.js";

/**
 * More than this when unpacked is no document that a person wrote, but would take all the memory
 * there is.
 */
const MOST_UNPACKED = 300e6;

type Mammoth = (typeof import("mammoth/mammoth.browser.min.js"))["default"];
export type DocxLibrary = () => Promise<Mammoth>;

/** Its build for browsers, a chunk of its own. */
export const DOCX_LIBRARY: DocxLibrary = async () => (await import("mammoth/mammoth.browser.min.js")).default;

/** What a ZIP file holds, where that is a document of some program. */
export function officeOf(bytes: Uint8Array): "docx" | { what: string; hint: string } | undefined {
  const names = entriesOf(bytes)?.map((entry) => entry.name);
  if (!names) return undefined;
  const has = (start: string) => names.some((name) => name.startsWith(start));
  if (names.includes("word/document.xml") || (has("word/") && has("[Content_Types].xml"))) return "docx";
  if (has("xl/")) return { what: "spreadsheet", hint: "Save it as CSV" };
  if (has("ppt/")) return { what: "presentation", hint: "Save it as PDF" };
  if (has("META-INF/container.xml")) return { what: "e-book", hint: "Convert it to PDF" };
  if (names.includes("content.xml") && names.includes("mimetype")) return { what: "OpenDocument file", hint: "Save it as DOCX or PDF" };
  return { what: "packed file", hint: "Unpack it first" };
}

/** The text of a DOCX file. */
export async function readDocx(
  bytes: Uint8Array,
  name: string,
  library: DocxLibrary,
  signal?: AbortSignal,
): Promise<{ text: string; warnings: Warning[] }> {
  const damaged = (cause?: unknown) =>
    new DocumentError(
      "damaged",
      `"${name}" is damaged, or no Word document inside. Open it in a word processor and save it again.`,
      undefined,
      { cause },
    );
  const entries = entriesOf(bytes);
  if (!entries) throw damaged();
  if (entries.reduce((sum, entry) => sum + entry.size, 0) > MOST_UNPACKED) {
    throw new DocumentError(
      "too-large",
      `"${name}" unpacks to more than ${MOST_UNPACKED / 1e6} MB. Save the part that matters as a document of its own.`,
    );
  }
  let mammoth;
  try {
    mammoth = await library();
  } catch (cause) {
    throw new DocumentError(
      "unavailable",
      "The part of this page that reads Word documents did not load. Check the network, then try again.",
      undefined,
      { cause },
    );
  }
  signal?.throwIfAborted();
  let html: string;
  let pictures = 0;
  try {
    const ignore = mammoth.images.imgElement(async () => (pictures++, { src: "" }));
    html = (await mammoth.convertToHtml({ arrayBuffer: bytes.slice().buffer }, { convertImage: ignore })).value;
  } catch (cause) {
    throw damaged(cause);
  }
  signal?.throwIfAborted();
  const warnings: Warning[] =
    pictures > 0
      ? [
          {
            code: "parts-left-out",
            message: `${pictures} pictures in this document were left out: the model reads text only.`,
            detail: String(pictures),
          },
        ]
      : [];
  return { text: tidy(textOfHtml(html)), warnings };
}
