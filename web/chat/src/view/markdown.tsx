/** Markdown to elements. The text comes from a model and is not trusted: what it can do is what DOMPurify lets through here. */

import DOMPurify from "dompurify";
import { Marked, type Token } from "marked";
import { useLayoutEffect, useRef } from "preact/hooks";
import { t } from "../i18n/index.js";
import { copy } from "./parts.js";

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

/** The elements of HTML that was made of Markdown. No image, style, form or script survives; links open elsewhere and tell nothing. */
function clean(html: string): DocumentFragment {
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
  for (const block of fragment.querySelectorAll<HTMLElement>("p, li, h1, h2, h3, h4, h5, h6, blockquote, td, th, ul, ol")) block.dir = "auto";
  for (const table of fragment.querySelectorAll("table")) {
    const frame = Object.assign(document.createElement("div"), { className: "table", tabIndex: 0 });
    table.replaceWith(frame);
    frame.append(table);
  }
  for (const block of fragment.querySelectorAll("pre")) frameCode(block);
  return fragment;
}

/** Gives a code block its frame, with a copy button. */
function frameCode(block: HTMLElement): void {
  const frame = Object.assign(document.createElement("div"), { className: "code" });
  const button = Object.assign(document.createElement("button"), { type: "button", className: "small", textContent: t("talk.copyCode") });
  button.addEventListener("click", async () => {
    button.textContent = t((await copy(block.textContent ?? "")) ? "app.copied" : "app.copyRefused");
    setTimeout(() => (button.textContent = t("talk.copyCode")), 1600);
  });
  block.tabIndex = 0;
  block.dir = "ltr";
  block.replaceWith(frame);
  frame.append(block, button);
}

/** A piece of the text that stands by itself, and its elements. */
interface Block {
  raw: string;
  nodes: ChildNode[];
}

/**
 * Draws text into an element. Pieces that are as they were keep their elements, so that a long answer costs no more a frame than a short
 * one, and what the reader has selected stays selected.
 */
class Drawing {
  #blocks: Block[] = [];
  #links = "";

  draw(into: HTMLElement, text: string): void {
    const tokens = marked.lexer(text);
    // What is defined at the end changes what stands before.
    const links = JSON.stringify(tokens.links);
    if (links !== this.#links) this.#drop(0);
    this.#links = links;
    let same = 0;
    while (same < this.#blocks.length && same < tokens.length && this.#blocks[same]?.raw === tokens[same]?.raw) same++;
    this.#drop(same);
    for (const token of tokens.slice(same)) {
      const fragment = clean(marked.parser([token as Token]));
      const nodes = [...fragment.childNodes];
      into.append(fragment);
      this.#blocks.push({ raw: token.raw, nodes });
    }
  }

  #drop(from: number): void {
    for (const { nodes } of this.#blocks.splice(from)) for (const node of nodes) node.remove();
  }
}

/** Markdown as it is read; `live` while it still comes: then it is drawn at most once a frame, however fast that is. */
export function Markdown({ text, live }: { text: string; live: boolean }) {
  const body = useRef<HTMLDivElement>(null);
  const drawing = useRef<Drawing>(undefined);
  const frame = useRef(0);
  const latest = useRef(text);
  latest.current = text;
  useLayoutEffect(() => {
    const draw = () => {
      frame.current = 0;
      if (body.current) (drawing.current ??= new Drawing()).draw(body.current, latest.current);
    };
    if (live) frame.current ||= requestAnimationFrame(draw);
    else {
      cancelAnimationFrame(frame.current);
      draw();
    }
  }, [text, live]);
  useLayoutEffect(() => () => cancelAnimationFrame(frame.current), []);
  return <div class="body" dir="auto" ref={body} />;
}
