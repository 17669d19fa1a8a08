/** Files for the tests of documents, made here. */

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { dirname } from "node:path";
import { degrees, PDFDocument, StandardFonts } from "pdf-lib";
import { browser, load } from "./support.mjs";

// PDF.js wants Node 22; this is all that 20 lacks of what it uses for text.
Promise.withResolvers ??= function () {
  let resolve;
  let reject;
  const promise = new this((...both) => ([resolve, reject] = both));
  return { promise, resolve, reject };
};

const pdfjs = await import("pdfjs-dist/legacy/build/pdf.mjs");
const folder = dirname(createRequire(import.meta.url).resolve("pdfjs-dist/package.json"));

/** PDF.js with the tables on the disk, as the page has them at its own origin. */
export const pdf = async () => ({ pdfjs, options: { cMapUrl: `${folder}/cmaps/`, standardFontDataUrl: `${folder}/standard_fonts/` } });
export const docx = async () => (await import("mammoth/mammoth.browser.min.js")).default;

export const file = (content, name) => new File([content], name);

/** A PDF: each page is a list of `[text, x, y]` or `[text, x, y, size]`, from the bottom left. */
export async function makePdf(pages, { rotate = 0, picture = false } = {}) {
  const made = await PDFDocument.create();
  const font = await made.embedFont(StandardFonts.Helvetica);
  for (const texts of pages) {
    const page = made.addPage([600, 800]);
    if (rotate) page.setRotation(degrees(rotate));
    for (const [text, x, y, size = 10, turn = 0] of texts) page.drawText(text, { x, y, size, font, rotate: degrees(turn) });
    if (picture) page.drawRectangle({ x: 100, y: 100, width: 300, height: 300 });
  }
  return made.save();
}


/** A PDF whose Chinese font is not in it and whose codes only the tables of PDF.js know. */
export function chinesePdf(hex) {
  const stream = `BT /F1 20 Tf 50 100 Td <${hex}> Tj ET`;
  const objects = [
    "<</Type/Catalog/Pages 2 0 R>>",
    "<</Type/Pages/Kids[3 0 R]/Count 1>>",
    "<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
    `<</Length ${stream.length}>>stream\n${stream}\nendstream`,
    "<</Type/Font/Subtype/Type0/BaseFont/STSong-Light/Encoding/GBK-EUC-H/DescendantFonts[6 0 R]>>",
    "<</Type/Font/Subtype/CIDFontType0/BaseFont/STSong-Light/CIDSystemInfo<</Registry(Adobe)/Ordering(GB1)/Supplement 2>>/DW 1000/FontDescriptor 7 0 R>>",
    "<</Type/FontDescriptor/FontName/STSong-Light/Flags 6/FontBBox[-25 -254 1000 880]/ItalicAngle 0/Ascent 880/Descent -120/CapHeight 880/StemV 93>>",
  ];
  let out = "%PDF-1.4\n";
  const offsets = objects.map((object, i) => {
    const at = out.length;
    out += `${i + 1} 0 obj\n${object}\nendobj\n`;
    return at;
  });
  const table = offsets.map((at) => `${String(at).padStart(10, "0")} 00000 n \n`).join("");
  return `${out}xref\n0 ${objects.length + 1}\n0000000000 65535 f \n${table}trailer<</Size ${objects.length + 1}/Root 1 0 R>>\nstartxref\n${out.length}\n%%EOF`;
}

export const window = browser();
export const { extract, fromText, isModelFile, DocumentError, EXTENSIONS } = await load("documents/index.ts");
export const read = (content, name, options) => extract(file(content, name), { pdf, docx, ...options });
export const refuses = async (content, name, code, message, options) => {
  await assert.rejects(read(content, name, options), (error) => {
    assert.ok(error instanceof DocumentError, String(error.stack));
    assert.equal(error.code, code, error.message);
    if (message) assert.match(error.message, message);
    assert.doesNotMatch(error.message, /\n/);
    return true;
  });
};
export const bytes = (...parts) => Uint8Array.from(parts.flatMap((part) => (typeof part === "string" ? [...part].map((c) => c.charCodeAt(0)) : part)));
