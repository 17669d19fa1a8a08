/** What the tests of answers share: a document, the functions, and random Markdown. */

import fc from "fast-check";
import { browser, load } from "./support.mjs";

export const window = browser();
export const { render, settled, forget, plainText } = await load("text/index.ts");
const [formulas, codes] = [await load("text/formula.ts"), await load("text/colors.ts")];
export const libraries = { math: async () => formulas, code: async () => codes };

export const box = () => window.document.body.appendChild(window.document.createElement("div"));
/** An element with this Markdown, formulas and colors done. */
export async function drawn(markdown, options = {}) {
  const target = box();
  render(markdown, target, { libraries, ...options });
  await settled(target);
  return target;
}

export const PIECES = [
  "word ", "two words ", "\n", "\n\n", "\n\n\n", "# ", "## H\n", "- ", "- [x] ", "- [ ] ", "  - ", "1. ", "2. ", "10) ", "> ", "    ", "  ", "```js\n", "```\n", "```", "~~~\n",
  "**", "*", "_", "~~", "`", "[a]", "[a](https://e.com/)", "[a]: https://e.com/x\n", "[^1]", "[^1]: note\n", "![i](http://e.com/i.png)", "<b>", "</b>", "<br>", "<!-- c", "-->",
  "<script>alert(1)</script>\n", "$", "$$", "\\(", "\\)", "\\[", "\\]", "x^2", "|", "| a | b |\n", "|---|---|\n", "---\n", "===\n", "&amp;", "&lt;", "\\", "https://e.com/?a=b ", "\t", "عربي ", "漢字", "\r\n", "e@e.com ",
];
export const markdown = fc.array(fc.constantFrom(...PIECES), { maxLength: 40 }).map((pieces) => pieces.join(""));
export const shown = (text, streaming) => {
  const target = window.document.createElement("div");
  render(text, target, { streaming, libraries });
  return target.innerHTML;
};
