/** Markdown as it would be read aloud, or pasted where there is no formatting. */

import type { Token, Tokens } from "marked";
import { decode } from "./entities.js";
import { type MathToken, type NoteToken, Reader } from "./grammar.js";

/** The text of Markdown without its marks; needs a document, for entities. */
export function plainText(markdown: string): string {
  const reader = new Reader(false);
  const blocks = reader.blocks(markdown.replace(/\r\n?/g, "\n"));

  const inline = (text: string): string => parts(reader.inline(text));
  const parts = (tokens: readonly Token[]): string => tokens.map(part).join("");
  const part = (token: Token): string => {
    if (token.type === "br" || (token.type === "html" && /^<br\s*\/?>$/i.test(token.raw))) return "\n";
    if (token.type === "math") return (token as MathToken).tex;
    if (token.type === "noteref") return "";
    if ("tokens" in token && token.type !== "image" && token.tokens) return parts(token.tokens);
    const text = "text" in token ? String(token.text) : token.raw;
    return token.type === "codespan" || token.type === "literal" ? text : decode(text);
  };
  const block = (token: Token): string => {
    switch (token.type) {
      case "space":
      case "def":
      case "hr":
      case "checkbox":
        return "";
      case "blockquote":
        return all((token as Tokens.Blockquote).tokens);
      case "list":
        return (token as Tokens.List).items.map((item, i) => itemText(token as Tokens.List, item, i)).join("\n");
      case "table": {
        const table = token as Tokens.Table;
        return [table.header, ...table.rows].map((row) => row.map((cell) => inline(cell.text)).join("\t")).join("\n");
      }
      case "code":
      case "html":
        return (token as Tokens.Code).text.trimEnd();
      case "math":
        return (token as MathToken).tex;
      case "note":
        return `${(token as NoteToken).label}. ${inline((token as NoteToken).text)}`;
      default:
        return "text" in token ? inline(String(token.text)) : token.raw;
    }
  };
  const itemText = (list: Tokens.List, item: Tokens.ListItem, i: number): string => {
    const mark = list.ordered ? `${Number(list.start || 1) + i}.` : "•";
    const box = item.task ? (item.checked ? " ☑" : " ☐") : "";
    return `${mark}${box} ${all(item.tokens, "\n")
      .replace(/^\[[ xX]\] /, "")
      .replaceAll("\n", "\n  ")}`;
  };
  const all = (tokens: readonly Token[], between = "\n\n"): string =>
    tokens
      .map(block)
      .filter((text) => text !== "")
      .join(between);
  return all(blocks).trim();
}
