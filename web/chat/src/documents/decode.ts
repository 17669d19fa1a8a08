/**
 * Bytes to text: what marks its encoding is read so, else UTF-8, else the likeliest with a warning.
 */

import type { Warning } from "./types.js";

export interface Decoded {
  readonly text: string;
  readonly warnings: Warning[];
}

/**
 * An encoding without a mark, by where the zeros are: Latin letters in UTF-16 have one in every
 * second byte.
 */
function utf16(bytes: Uint8Array): "utf-16le" | "utf-16be" | undefined {
  const length = Math.min(bytes.length, 4096) & ~1;
  if (length < 4) return undefined;
  const zeros = [0, 0];
  for (let i = 0; i < length; i++) if (bytes[i] === 0) zeros[i % 2] = (zeros[i % 2] ?? 0) + 1;
  const [even = 0, odd = 0] = zeros;
  if (odd > length / 5 && even < length / 50) return "utf-16le";
  return even > length / 5 && odd < length / 50 ? "utf-16be" : undefined;
}

/** Whether these are characters that people write: programs and pictures have others. */
function isText(text: string): boolean {
  const sample = text.slice(0, 65_536);
  const odd = sample.match(/[\0-\x08\x0E-\x1A\x1C-\x1F\x7F\uFFFE\uFFFF]/g)?.length ?? 0;
  return !sample.includes("\0") && odd <= sample.length / 200;
}

function attempt(bytes: Uint8Array, encoding: string, fatal: boolean): string | undefined {
  try {
    return new TextDecoder(encoding, { fatal }).decode(bytes);
  } catch {
    return undefined;
  }
}

/**
 * The text of some bytes; undefined when they are none. `encoding` is what the person or the file
 * says.
 */
export function decode(bytes: Uint8Array, encoding?: string): Decoded | undefined {
  const [a, b, c] = bytes;
  const marked =
    a === 0xef && b === 0xbb && c === 0xbf
      ? "utf-8"
      : a === 0xff && b === 0xfe
        ? "utf-16le"
        : a === 0xfe && b === 0xff
          ? "utf-16be"
          : undefined;
  const told = marked ?? encoding ?? utf16(bytes);
  if (told !== undefined) {
    const text = attempt(bytes, told, false);
    if (text !== undefined && isText(text)) return { text: tidy(text), warnings: [] };
    if (marked) return undefined;
  }
  const text = attempt(bytes, "utf-8", true);
  if (text !== undefined) return isText(text) ? { text: tidy(text), warnings: [] } : undefined;
  const guessed = attempt(bytes, "windows-1252", false) ?? "";
  if (!isText(guessed)) return undefined;
  const message =
    "The encoding of this file is not marked and not UTF-8; it was read as Western European. If letters look wrong, save it as UTF-8.";
  return { text: tidy(guessed), warnings: [{ code: "encoding-guessed", message, detail: "windows-1252" }] };
}

/** One kind of line end, no marks of encodings, composed letters. */
export function tidy(text: string): string {
  return text
    .replace(/^\uFEFF/, "")
    .replace(/\r\n?/g, "\n")
    .replace(/\0/g, "")
    .normalize("NFC");
}

/**
 * Letters that fonts have in several shapes, Arabic ones and ligatures say, as the letters they
 * are.
 */
export function letters(text: string): string {
  return text.replace(/[\uFB00-\uFDFF\uFE70-\uFEFC]+/g, (shapes) => shapes.normalize("NFKC"));
}
