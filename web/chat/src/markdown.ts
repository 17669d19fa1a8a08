/** Markdown to elements. The text comes from a model and is not trusted: what it can do is what DOMPurify lets through here. */

import DOMPurify from "dompurify";
import { Marked } from "marked";
import { copyButton, make } from "./dom.js";

const escape = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

/** HTML in the text is text, and an image is its description: it would be asked of somebody's server. */
const marked = new Marked({
  async: false,
  gfm: true,
  breaks: true,
  renderer: { html: ({ text }) => escape(text), image: ({ text }) => escape(text) },
});

const ALLOWED_TAGS = [
  "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "strong", "table",
  "tbody", "td", "th", "thead", "tr", "ul",
];

/** The elements of a Markdown text. No image, style, form or script survives; links open elsewhere and tell nothing. */
export function render(text: string): DocumentFragment {
  const html = marked.parse(text, { async: false });
  const fragment = DOMPurify.sanitize(html, {
    ALLOWED_TAGS,
    ALLOWED_ATTR: ["href", "start", "align"],
    ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
  });
  for (const link of fragment.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
  for (const table of fragment.querySelectorAll("table")) {
    const frame = make("div", { className: "table", tabIndex: 0 });
    table.replaceWith(frame);
    frame.append(table);
  }
  return fragment;
}

/** Gives every code block a copy button. Done once an answer is complete: while it streams the blocks are replaced all the time. */
export function addCopyButtons(answer: HTMLElement): void {
  for (const block of answer.querySelectorAll("pre")) {
    const frame = make("div", { className: "code" });
    block.tabIndex = 0;
    block.replaceWith(frame);
    frame.append(block, copyButton("Copy code", () => block.textContent ?? ""));
  }
}
