/** A document in pieces of about the same length, each on one page. */

import type { ReadDocument } from "./types.js";

export interface Piece {
  readonly text: string;
  readonly page?: number;
}

const sentences = new Intl.Segmenter(undefined, { granularity: "sentence" });

/** Parts no longer than `most` characters: lines, else sentences, else wherever. */
function cut(text: string, most: number): string[] {
  if (text.length <= most) return [text];
  const lines = text.match(/[^\n]*\n|[^\n]+$/g) ?? [text];
  const units = lines.length > 1 ? lines : [...sentences.segment(text)].map(({ segment }) => segment);
  if (units.length > 1)
    return joinUpTo(
      units.flatMap((unit) => cut(unit, most)),
      most,
      "",
    );
  const characters = [...text];
  const parts: string[] = [];
  for (let i = 0; i < characters.length; i += most) parts.push(characters.slice(i, i + most).join(""));
  return parts;
}

/** Neighbors together, as long as they are no longer than `most`. */
function joinUpTo(parts: readonly string[], most: number, between: string): string[] {
  const out: string[] = [];
  for (const part of parts) {
    const before = out.at(-1);
    if (before !== undefined && before.length + between.length + part.length <= most) out[out.length - 1] = before + between + part;
    else out.push(part);
  }
  return out;
}

/** The pieces of a document, in its order; nothing but space between them is lost. */
export function split(document: ReadDocument, characters: number): Piece[] {
  const most = Math.max(80, Math.floor(characters));
  const pieces = (text: string, page?: number): Piece[] => {
    const paragraphs = text.split(/\n[ \t]*\n/).filter((part) => part.trim() !== "");
    const parts = joinUpTo(
      paragraphs.flatMap((part) => cut(part, most)),
      most,
      "\n\n",
    );
    return parts
      .map((part) => ({ text: part.replace(/^\n+|\s+$/g, ""), ...(page === undefined ? {} : { page }) }))
      .filter((piece) => piece.text !== "");
  };
  if (document.pages) return document.pages.flatMap((page) => pieces(page.text, page.number));
  if (document.kind === "csv") {
    // The names of the columns are a piece of their own: the first piece goes along with every
    // choice.
    const end = document.text.indexOf("\n");
    return end < 0 ? pieces(document.text) : [{ text: document.text.slice(0, end) }, ...pieces(document.text.slice(end + 1))];
  }
  return pieces(document.text);
}
