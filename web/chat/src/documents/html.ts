/** The text of HTML. It is parsed into a document that runs and loads nothing, and only text is taken out. */

const BLOCKS = new Set(
  "address article aside blockquote body caption dd details div dl dt fieldset figcaption figure footer form header hgroup hr legend main menu nav ol p section summary table ul".split(" "),
);
const UNSEEN = new Set("audio button canvas datalist dialog embed head iframe input link map math meta noscript object option script select style svg template textarea title video".split(" "));

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

/** Text with the marks of Markdown for headings, lists and tables, which say what was where. Needs DOMParser. */
export function textOfHtml(html: string): string {
  const parsed = new DOMParser().parseFromString(html, "text/html");
  const writer = new Writer();
  const title = parsed.title.trim();
  if (title !== "" && !parsed.querySelector("h1")) writer.block(() => writer.text(`# ${title}`));
  for (const child of parsed.body?.childNodes ?? []) writer.node(child);
  return writer.done();
}

class Writer {
  #out = "";
  #lists: { ordered: boolean; number: number }[] = [];
  #preformatted = false;

  done(): string {
    return this.#out.replace(/[ \t]+\n/g, "\n").replace(/\n{3,}/g, "\n\n").trim();
  }

  text(text: string): void {
    if (this.#preformatted) this.#out += text;
    else {
      const flat = text.replace(/[\s\u00A0]+/g, " ");
      this.#out += /(?:^|\s)$/.test(this.#out) ? flat.trimStart() : flat;
    }
  }

  #line(lines: number): void {
    if (this.#out === "") return;
    this.#out = this.#out.replace(/[ \t]+$/, "");
    const have = /\n*$/.exec(this.#out)?.[0].length ?? 0;
    if (have < lines) this.#out += "\n".repeat(lines - have);
  }

  block(write: () => void, lines = 2): void {
    this.#line(lines);
    write();
    this.#line(lines);
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
      return this.block(() => {
        this.text(`${"#".repeat(Number(name[1]))} `);
        this.#inside(element);
      });
    }
    switch (name) {
      case "br":
        this.#out += "\n";
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
        const lines = this.#lists.length > 0 ? 1 : 2;
        return this.block(() => {
          this.#lists.push({ ordered: name === "ol", number: Number(element.getAttribute("start")) || 1 });
          this.#inside(element);
          this.#lists.pop();
        }, lines);
      }
      case "li":
        return this.#item(element);
      case "tr":
        return this.#row(element);
      default:
        return BLOCKS.has(name) ? this.block(() => this.#inside(element)) : this.#inside(element);
    }
  }

  #item(element: Element): void {
    const list = this.#lists.at(-1);
    const mark = list?.ordered ? `${list.number++}. ` : "- ";
    this.#line(1);
    const indent = "  ".repeat(Math.max(0, this.#lists.length - 1));
    const start = this.#out.length;
    this.#inside(element);
    const inner = this.#out.slice(start).trim().replace(/\n{2,}/g, "\n");
    this.#out = this.#out.slice(0, start) + indent + mark + inner;
    this.#line(1);
  }

  #row(element: Element): void {
    const cells = [...element.children].filter((cell) => cell.localName === "td" || cell.localName === "th");
    const texts = cells.map((cell) => {
      const inner = new Writer();
      for (const child of cell.childNodes) inner.node(child);
      return inner.done().replace(/\s*\n\s*/g, " ");
    });
    this.block(() => this.text(`| ${texts.join(" | ")} |`), 1);
  }
}
