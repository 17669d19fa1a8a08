/** The text that a document, or passages of it, is in a conversation. */

import type { Selection } from "./passages.js";
import type { ReadDocument } from "./types.js";

/** A name that cannot end its quotes or its line. */
const quoted = (name: string) =>
  `"${name
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "")
    .replaceAll('"', "'")
    .slice(0, 120)}"`;

/** What stands in a document like a mark of ours is its own text, and is told apart. */
const unmarked = (text: string) => text.replace(/^\[(?=(?:Page \d+|End of .*|…)\]\s*$)/gm, "\\[");

const pagesOf = (count: number | undefined) => (count === undefined ? "" : ` (${count} ${count === 1 ? "page" : "pages"})`);

/**
 * For the model: name, page marks and text. The same for the same input, so that a state which has
 * read it can be used again.
 */
export function compose(source: ReadDocument | Selection): string {
  if (!("whole" in source)) {
    const pages = source.pages?.filter((page) => page.text.trim() !== "");
    const body = pages ? pages.map((page) => `[Page ${page.number}]\n${unmarked(page.text)}`).join("\n\n") : unmarked(source.text.trim());
    return wrap(source.name, pagesOf(source.pages?.length), body);
  }
  if (source.whole) return compose(source.document);
  let page: number | undefined;
  const body = source.passages.map((passage) =>
    passage.parts
      .map((part) => {
        const mark = part.page !== undefined && part.page !== page ? `[Page ${part.page}]\n` : "";
        page = part.page;
        return mark + unmarked(part.text);
      })
      .join("\n\n"),
  );
  return wrap(source.document.name, `${pagesOf(source.document.pages?.length)}, passages of it, not the whole`, body.join("\n\n[…]\n\n"));
}

function wrap(name: string, about: string, body: string): string {
  return `[Document ${quoted(name)}${about}]\n\n${body}\n\n[End of ${quoted(name)}]`;
}
