/**
 * Tokens of Markdown to what is drawn for them. The only elements and attributes that an answer can
 * have are those named here.
 */

import type { Token, Tokens } from "marked";
import { decode } from "./entities.js";
import type { MathToken, NoteToken, Reader } from "./grammar.js";
import { DEEPEST, parts } from "./limits.js";
import { type Child, type Drawn, element } from "./nodes.js";

/** Words that the page says in the person's language. */
export interface Labels {
  /** Said for a ticked and for an open task. */
  done: string;
  open: string;
  /** Names of a table and of code without a language, for who cannot see them. */
  table: string;
  code: string;
  /** "Footnote" before its label. */
  footnote: string;
}

export const ENGLISH: Labels = { done: "Done", open: "To do", table: "Table", code: "Code", footnote: "Footnote" };

/**
 * A place that asks for nothing by itself and tells nothing: no javascript:, data:, blob: or file:
 * survives.
 */
function address(href: string): string | undefined {
  const decoded = decode(href).trim();
  if (!/^(?:https?:\/\/|mailto:)/i.test(decoded)) return undefined;
  return URL.canParse(decoded) ? decoded : undefined;
}

const RIGHT_TO_LEFT = /[\p{Script=Arabic}\p{Script=Hebrew}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}]/u;

/**
 * The direction of a text by its first letter, as dir="auto" has it; a table needs it said, as its
 * cells say their own.
 */
function directionOf(text: string): "rtl" | "ltr" | "auto" {
  const letter = /\p{L}/u.exec(text)?.[0];
  if (letter === undefined) return "auto";
  return RIGHT_TO_LEFT.test(letter) ? "rtl" : "ltr";
}

/** Whether a fenced block has its closing line. */
function isClosed(raw: string): boolean {
  const fence = /^ {0,3}(`{3,}|~{3,})/.exec(raw)?.[1];
  if (fence === undefined) return true;
  const last = /\n[ \t]*(`{3,}|~{3,})[ \t]*\n*$/.exec(raw)?.[1];
  return last !== undefined && last[0] === fence[0] && last.length >= fence.length;
}

/**
 * Draws blocks. What was drawn for the same text in the last two rounds is given again, the same
 * object.
 */
export class Drawer {
  #now = new Map<string, unknown>();
  #before = new Map<string, unknown>();
  /** How many quotes and items are around what is drawn. */
  #depth = 0;
  #reader: Reader;
  readonly #labels: Labels;

  constructor(reader: Reader, labels: Labels) {
    this.#reader = reader;
    this.#labels = labels;
  }

  /** Begins a round: what was not needed in the last one is forgotten. */
  begin(reader: Reader, forget: boolean): void {
    this.#reader = reader;
    this.#before = forget ? new Map() : this.#now;
    this.#now = new Map();
  }

  #once<T>(key: string, make: () => T): T {
    let value = (this.#now.get(key) ?? this.#before.get(key)) as T | undefined;
    value ??= make();
    this.#now.set(key, value);
    return value;
  }

  /**
   * What is drawn for a block. `lead` is the first block of a quote or list item: it has no
   * direction of its own, since dir="auto" of the outer one looks only at text that nobody else has
   * given a direction.
   */
  block(token: Token, lead = false): Child[] {
    const dir: Record<string, string> = lead ? {} : { dir: "auto" };
    switch (token.type) {
      case "space":
      case "def":
      case "checkbox":
        return [];
      case "paragraph":
        return [element("p", dir, this.inline((token as Tokens.Paragraph).text))];
      case "text":
        return [...this.inline((token as Tokens.Text).text)];
      case "heading":
        return [element(`h${(token as Tokens.Heading).depth}`, dir, this.inline((token as Tokens.Heading).text))];
      case "hr":
        return [element("hr", {})];
      case "html":
      case "literal":
        return [element("p", { ...dir, class: "as-written" }, [(token as Tokens.HTML).text.trimEnd()])];
      case "blockquote":
        return [element("blockquote", dir, this.#inner((token as Tokens.Blockquote).tokens))];
      case "list":
        return [this.#list(token as Tokens.List, dir)];
      case "table":
        return [this.#table(token as Tokens.Table)];
      case "code":
        return [this.#code(token as Tokens.Code)];
      case "math":
        return [this.#math(token as MathToken)];
      case "note": {
        const { label, text } = token as NoteToken;
        return [
          element("p", { ...dir, class: "footnote", "data-note": label, tabindex: "-1" }, [
            element("sup", {}, [label]),
            " ",
            ...this.inline(text),
          ]),
        ];
      }
      default:
        return [element("p", dir, [token.raw])];
    }
  }

  #inner(tokens: readonly Token[]): Child[] {
    if (this.#depth >= DEEPEST) return [tokens.map((token) => token.raw).join("")];
    this.#depth++;
    try {
      return this.#shown(tokens);
    } finally {
      this.#depth--;
    }
  }

  #shown(tokens: readonly Token[]): Child[] {
    const shown = tokens.filter((token) => token.type !== "space" && token.type !== "checkbox");
    return shown.flatMap((token, i) => {
      const drawn = this.block(token, i === 0);
      // The text of a tight item stands beside its lists without a paragraph.
      return token.type === "text" && shown[i + 1]?.type === "text" ? [...drawn, element("br", {})] : drawn;
    });
  }

  #list(list: Tokens.List, dir: Record<string, string>): Drawn {
    const items = list.items.map((item, i) => {
      const key = `li ${this.#depth} ${i === 0 && !("dir" in dir)} ${list.loose} ${item.task} ${item.raw}`;
      return this.#once(key, () => this.#item(item, i === 0 && !("dir" in dir)));
    });
    const attributes: Record<string, string> = { ...dir };
    if (list.ordered && list.start !== 1 && list.start !== "") attributes.start = String(list.start);
    if (list.items.some((item) => item.task)) attributes.class = "tasks";
    return element(list.ordered ? "ol" : "ul", attributes, items);
  }

  #item(item: Tokens.ListItem, lead: boolean): Drawn {
    const dir: Record<string, string> = lead ? {} : { dir: "auto" };
    if (!item.task) return element("li", dir, this.#inner(item.tokens));
    const first = item.tokens[0];
    // In a loose list marked puts the box's characters back before the text of the first paragraph.
    const tokens =
      first?.type === "paragraph"
        ? [{ ...first, text: (first as Tokens.Paragraph).text.replace(/^\[[ xX]\] ?/, "") } as Token, ...item.tokens.slice(1)]
        : item.tokens;
    const checked = item.checked === true;
    const box = element("span", {
      class: checked ? "task-box done" : "task-box",
      role: "img",
      "aria-label": checked ? this.#labels.done : this.#labels.open,
    });
    const inner = this.#inner(tokens);
    const head = inner[0];
    const isParagraph = typeof head === "object" && head.tag === "p";
    const children = isParagraph
      ? [element("p", { ...head.attributes }, [box, " ", ...head.children]), ...inner.slice(1)]
      : [box, " ", ...inner];
    return element("li", { ...dir, class: "task" }, children);
  }

  #table(table: Tokens.Table): Drawn {
    const text = [table.header, ...table.rows].map((row) => row.map((cell) => cell.text).join(" "));
    const row = (cells: Tokens.TableCell[]) =>
      this.#once(`tr ${cells[0]?.header} ${cells.map((cell) => `${cell.align} ${cell.text}`).join("|\n")}`, () =>
        element(
          "tr",
          {},
          cells.map((cell) => {
            const attributes: Record<string, string> = { dir: "auto" };
            if (cell.header) attributes.scope = "col";
            if (cell.align) attributes.class = `align-${cell.align}`;
            return element(cell.header ? "th" : "td", attributes, this.inline(cell.text));
          }),
        ),
      );
    const body = table.rows.length > 0 ? [element("tbody", {}, table.rows.map(row))] : [];
    const drawn = element("table", { dir: directionOf(text.find((line) => /\p{L}/u.test(line)) ?? "") }, [
      element("thead", {}, [row(table.header)]),
      ...body,
    ]);
    return element("div", { class: "table", role: "group", "aria-label": this.#labels.table, tabindex: "0" }, [drawn]);
  }

  #code(code: Tokens.Code): Drawn {
    const language = /^[\w+#.-]+/.exec(code.lang ?? "")?.[0] ?? "";
    const closed = isClosed(code.raw);
    if (language === "math" && closed && code.text.trim() !== "")
      return this.#math({ type: "math", raw: code.text, tex: code.text.trim(), display: true });
    const text = code.text;
    const head = element("div", { class: "code-head" }, [
      element("span", { class: "code-language", dir: "ltr" }, [language || this.#labels.code]),
      element("span", { class: "code-actions" }, [], { slot: "code-actions" }),
    ]);
    const shown = element("code", language ? { class: `language-${language.toLowerCase()}` } : {}, [], {
      late: { kind: "code", text, language: language.toLowerCase(), closed },
    });
    return element("div", { class: "code", dir: "ltr", "data-language": language }, [
      head,
      element("pre", { dir: "ltr", tabindex: "0", role: "group", "aria-label": language || this.#labels.code }, [shown]),
    ]);
  }

  #math({ raw, tex, display }: MathToken): Drawn {
    const source = raw.trim();
    const attributes = { class: display ? "math display" : "math", dir: "ltr", "data-tex": tex };
    return this.#once(`math ${display} ${source}`, () => element("span", attributes, [], { late: { kind: "math", tex, display, source } }));
  }

  /** What is drawn for the text of a block. */
  inline(text: string): Child[] {
    return parts(text).flatMap((part) => this.#once(`inline ${part}`, () => this.#parts(this.#reader.inline(part))));
  }

  #parts(tokens: readonly Token[]): Child[] {
    return tokens.flatMap((token) => this.#part(token));
  }

  #part(token: Token): Child[] {
    switch (token.type) {
      case "text": {
        const text = token as Tokens.Text;
        if (text.tokens && text.tokens.length > 0) return this.#parts(text.tokens);
        return [text.escaped ? text.text : decode(text.text)];
      }
      case "escape":
        return [(token as Tokens.Escape).text];
      case "literal":
        return [token.raw];
      case "strong":
      case "em":
      case "del":
        return [element(token.type, {}, this.#parts((token as Tokens.Strong).tokens))];
      case "codespan":
        return [element("code", { dir: "ltr" }, [(token as Tokens.Codespan).text])];
      case "br":
        return [element("br", {})];
      case "link": {
        const link = token as Tokens.Link;
        const href = address(link.href);
        const open: Record<string, string> = href ? { href, target: "_blank", rel: "noopener noreferrer nofollow" } : {};
        return [element("a", open, this.#parts(link.tokens))];
      }
      case "image":
        // It would be asked of somebody's server: what it is said to show is all that is shown.
        return [decode((token as Tokens.Image).text)];
      case "html":
        return /^<br\s*\/?>$/i.test(token.raw) ? [element("br", {})] : [token.raw];
      case "math":
        return [this.#math(token as MathToken)];
      case "noteref": {
        const { label } = token as NoteToken;
        return [
          element("sup", {}, [
            element(
              "button",
              { type: "button", class: "noteref", "data-noteref": label, "aria-label": `${this.#labels.footnote} ${label}` },
              [label],
            ),
          ]),
        ];
      }
      default:
        return [token.raw];
    }
  }
}
