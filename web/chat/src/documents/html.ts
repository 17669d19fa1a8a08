/**
 * The text of HTML. It is parsed into a document that runs and loads nothing, and only text is
 * taken out.
 */

const BLOCKS = new Set(
  "address article aside blockquote body caption dd details div dl dt fieldset figcaption figure footer form header hgroup hr legend main menu nav ol p section summary table ul".split(
    " ",
  ),
);
const UNSEEN = new Set(
  "audio button canvas datalist dialog embed head iframe input link map math meta noscript object option script select style svg template textarea title video".split(
    " ",
  ),
);

/** The encoding that a page names in its first bytes. */
export function charsetOf(bytes: Uint8Array): string | undefined {
  const head = new TextDecoder("latin1").decode(bytes.subarray(0, 1024));
  const name = /<meta[^>]+charset\s*=\s*["']?\s*([\w-]+)/i.exec(head)?.[1];
  if (name === undefined) return undefined;
  try {
    return new TextDecoder(name).encoding;
  } catch {
    return undefined;
  }
}

/**
 * Text with the marks of Markdown for headings, lists and tables, which say what was where. Needs
 * DOMParser.
 */
export function textOfHtml(html: string): string {
  const parsed = new DOMParser().parseFromString(html, "text/html");
  const writer = new Writer();
  const title = parsed.title.trim();
  if (title !== "" && !parsed.querySelector("h1")) writer.block(() => writer.text(`# ${title}`));
  for (const child of parsed.body?.childNodes ?? []) writer.node(child);
  return writer.done();
}

/** Text in parts: looking back into one long text would take time with the square of its length. */
class Writer {
  readonly #parts: string[] = [];
  /** Ends of lines that come before the next text. */
  #breaks = 0;
  #list: { ordered: boolean; number: number } | undefined;
  #preformatted = false;

  done(): string {
    const whole = this.#parts.join("");
    return whole
      .split("\n")
      .map((line) => line.trimEnd())
      .join("\n")
      .replace(/\n{3,}/g, "\n\n")
      .replace(/^\n+|\s+$/g, "");
  }

  #emit(text: string): void {
    if (text === "") return;
    if (this.#breaks > 0 && this.#parts.length > 0) this.#parts.push("\n".repeat(this.#breaks));
    this.#breaks = 0;
    this.#parts.push(text);
  }

  text(text: string): void {
    if (this.#preformatted) return this.#emit(text);
    const flat = text.replace(/[\s\u00A0]+/g, " ");
    const fresh = this.#breaks > 0 || this.#parts.length === 0 || /\s$/.test(this.#parts.at(-1)?.slice(-1) ?? "");
    this.#emit(fresh ? flat.trimStart() : flat);
  }

  block(write: () => void, lines = 2): void {
    this.#breaks = Math.max(this.#breaks, lines);
    write();
    this.#breaks = Math.max(this.#breaks, lines);
  }

  #inside(element: Element): void {
    for (const child of element.childNodes) this.node(child);
  }

  node(node: Node): void {
    if (node.nodeType === 3) return this.text(node.nodeValue ?? "");
    if (node.nodeType !== 1) return;
    const element = node as Element;
    const name = element.localName;
    if (UNSEEN.has(name) || element.hasAttribute("hidden") || element.getAttribute("aria-hidden") === "true") return;
    if (/^h[1-6]$/.test(name)) {
      return this.block(() => this.#emit(`${"#".repeat(Number(name[1]))} ${flatOf(element)}`));
    }
    switch (name) {
      case "br":
        if (this.#breaks === 0) this.#parts.push("\n");
        return;
      case "img": {
        const alt = element.getAttribute("alt")?.trim();
        if (alt) this.text(`[picture: ${alt}]`);
        return;
      }
      case "pre":
        return this.block(() => {
          this.#preformatted = true;
          this.#inside(element);
          this.#preformatted = false;
        });
      case "ul":
      case "ol": {
        const outer = this.#list;
        this.#list = { ordered: name === "ol", number: Number(element.getAttribute("start")) || 1 };
        this.block(() => this.#inside(element));
        this.#list = outer;
        return;
      }
      case "li":
        return this.#item(element);
      case "tr": {
        const cells = [...element.children].filter((cell) => cell.localName === "td" || cell.localName === "th");
        return this.block(() => this.#emit(`| ${cells.map(flatOf).join(" | ")} |`), 1);
      }
      default:
        return BLOCKS.has(name) ? this.block(() => this.#inside(element)) : this.#inside(element);
    }
  }

  #item(element: Element): void {
    const mark = this.#list?.ordered ? `${this.#list.number++}. ` : "- ";
    const inner = textIn(element)
      .replace(/\n{2,}/g, "\n")
      .replaceAll("\n", "\n  ");
    this.block(() => this.#emit(mark + inner), 1);
  }
}

function textIn(element: Element): string {
  const inner = new Writer();
  for (const child of element.childNodes) inner.node(child);
  return inner.done();
}

/** In one line. */
const flatOf = (element: Element) => textIn(element).replace(/\s*\n\s*/g, " ");
