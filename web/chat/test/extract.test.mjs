/** Files to text: Word, web pages, texts in every encoding, and clear errors for the others. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Document, ImageRun, HeadingLevel, Packer, Paragraph, Table, TableCell, TableRow, TextRun } from "docx";
import fc from "fast-check";
import { bytes, DocumentError, extract, EXTENSIONS, file, fromText, isModelFile, read, refuses, window } from "./documents.mjs";

describe("Word", () => {
  const paragraph = (text, more = {}) => new Paragraph({ children: [new TextRun(text)], ...more });
  const picture = new ImageRun({ type: "png", data: Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64"), transformation: { width: 10, height: 10 } });
  const make = (children) => Packer.toBuffer(new Document({ sections: [{ children }] }));

  test("headings, paragraphs, lists and tables; pictures are told", async () => {
    const cell = (text) => new TableCell({ children: [paragraph(text)] });
    const made = await make([
      paragraph("Title", { heading: HeadingLevel.HEADING_1 }), paragraph("Some text — with ünïcode."), paragraph("one", { bullet: { level: 0 } }), paragraph("two", { bullet: { level: 0 } }),
      new Table({ rows: [new TableRow({ children: [cell("a"), cell("b")] }), new TableRow({ children: [cell("1"), cell("2")] })] }), new Paragraph({ children: [picture] }),
    ]);
    const read1 = await read(made, "a.docx");
    assert.equal(read1.kind, "docx");
    assert.equal(read1.text, "# Title\n\nSome text — with ünïcode.\n\n- one\n- two\n\n| a | b |\n| 1 | 2 |");
    assert.deepEqual(read1.warnings.map(({ code, detail }) => [code, detail]), [["parts-left-out", "1"]]);
    assert.equal((await read(made, "without an ending")).kind, "docx", "by what is in it");
  });

  test("damaged, empty, locked and old ones", async () => {
    const made = await make([paragraph("text")]);
    await refuses(made.subarray(0, made.length / 2), "a.docx", "damaged");
    await refuses("text", "a.docx", "damaged");
    await refuses(await make([]), "a.docx", "empty");
    const broken = Uint8Array.from(made);
    broken.fill(0, 60, made.length - 2000);
    await read(broken, "a.docx").catch((error) => assert.ok(error instanceof DocumentError, String(error.stack)));
    const ole = [0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1];
    const wide = (text) => [...text].flatMap((c) => [c.charCodeAt(0), 0]);
    await refuses(bytes(ole, wide("EncryptedPackage")), "a.docx", "encrypted", /password/);
    await refuses(bytes(ole, wide("WordDocument")), "a.doc", "unsupported", /Save it as DOCX/);
    await refuses(bytes(ole), "a.xls", "unsupported", /CSV/);
  });

  test("what unpacks to more than memory holds is not unpacked", async () => {
    const made = await make([paragraph("text")]);
    const bomb = Uint8Array.from(made);
    const view = new DataView(bomb.buffer);
    const end = bomb.findLastIndex((byte, i) => byte === 0x50 && view.getUint32(i, true) === 0x06054b50);
    view.setUint32(view.getUint32(end + 16, true) + 24, 0x7fffffff, true);
    await refuses(bomb, "a.docx", "too-large", /unpacks/);
  });

  test("other packed files are named", async () => {
    const zip = (name) => {
      const list = bytes("PK\x01\x02", new Array(24).fill(0), [name.length, 0], new Array(16).fill(0), name);
      const start = bytes("PK\x03\x04", new Array(26).fill(0));
      return bytes([...start], [...list], "PK\x05\x06", new Array(4).fill(0), [1, 0, 1, 0], [list.length, 0, 0, 0], [start.length, 0, 0, 0], [0, 0]);
    };
    await refuses(zip("xl/workbook.xml"), "a.xlsx", "unsupported", /spreadsheet.*CSV/);
    await refuses(zip("ppt/presentation.xml"), "a.pptx", "unsupported", /presentation.*PDF/);
    await refuses(zip("some/file"), "a.zip", "unsupported", /packed/);
  });
});

describe("web pages", () => {
  test("only what is seen, and nothing runs", async () => {
    const html = "<!doctype html><title>Title</title><style>p{}</style><script>window.hacked=1</script><p>One <b>two</b>&nbsp;&amp; three<br>four</p><img src=x onerror='window.hacked=1'><img alt='A cat'><ul><li>a<ul><li>b</li></ul></li><li>c</li></ul><ol start=3><li>x</li></ol><pre>  a\n b</pre><table><tr><th>h</th><th>i</th></tr><tr><td>1</td><td><p>2</p></td></tr></table><div hidden>no</div><noscript>no</noscript><template>no</template><textarea>no</textarea>";
    const { kind, text } = await read(html, "a.html");
    assert.equal(kind, "html");
    assert.equal(text, "# Title\n\nOne two & three\nfour\n\n[picture: A cat]\n\n- a\n  - b\n- c\n\n3. x\n\n  a\n b\n\n| h | i |\n| 1 | 2 |");
    assert.equal(window.hacked, undefined);
    assert.equal((await read("<html><body><p>x</p></body></html>", "page")).kind, "html", "by what it says");
  });

  test("a large page, and one that is nested without end", async () => {
    const large = await read(`<html>${"<p>A paragraph <b>with</b> words</p>".repeat(2000)}`, "a.html");
    assert.equal(large.text.split("\n\n").length, 2000);
    await read(`<html>${"<div>".repeat(3500)}x`, "a.html").catch((error) => assert.equal(error.code, "damaged"));
  });

  test("the encoding that the page names", async () => {
    const page = bytes("<meta charset=windows-1251><p>", [0xcf, 0xf0, 0xe8, 0xe2, 0xe5, 0xf2], "</p>");
    assert.equal((await read(page, "a.htm")).text, "Привет");
  });
});

describe("texts", () => {
  test("kinds by name, and by content where the name says nothing", async () => {
    const cases = [
      ["a.txt", "x", "text"], ["a.md", "# x", "markdown"], ["a.csv", "a,b\n1,2", "csv"], ["a.json", "{}", "json"], ["a.rs", "fn main() {}", "code", "rust"], ["Makefile", "all:", "code", "makefile"],
      ["unknown.xyz", "x", "text"], ["script", "#!/usr/bin/env python3\nx", "code", "python"], ["data", '{"a": [1]}', "json"], ["not", "{ not json", "text"], ["a.svg", "<svg/>", "code", "xml"], ["MZ.txt", "MZ is a text", "text"],
      ["constructor", "x", "text"], ["a.constructor", "x", "text"], ["a.__proto__", "x", "text"],
    ];
    for (const [name, content, kind, language] of cases) {
      const document = await read(content, name);
      assert.deepEqual([document.kind, document.language, document.text], [kind, language, content], name);
    }
    assert.ok(EXTENSIONS.includes(".pdf") && EXTENSIONS.includes(".rs"));
    assert.deepEqual(fromText("a\r\nb", "Pasted text"), { name: "Pasted text", kind: "text", text: "a\nb", warnings: [] });
  });

  test("encodings: marked, guessed by zeros, told, and the last resort with a warning", async () => {
    const text = "Größe: 5 €\nзначение";
    const le = [...text].flatMap((c) => [c.charCodeAt(0) & 255, c.charCodeAt(0) >> 8]);
    const be = [...text].flatMap((c) => [c.charCodeAt(0) >> 8, c.charCodeAt(0) & 255]);
    const ascii = [..."plain text"].flatMap((c) => [c.charCodeAt(0), 0]);
    for (const content of [text, `\uFEFF${text}`, bytes([0xff, 0xfe], le), bytes([0xfe, 0xff], be)]) {
      const document = await read(content, "a.txt");
      assert.deepEqual([document.text, document.warnings], [text, []]);
    }
    assert.equal((await read(bytes(ascii), "a.txt")).text, "plain text");
    const latin = await read(bytes("Gr", [0xf6, 0xdf], "e"), "a.txt");
    assert.equal(latin.text, "Größe");
    assert.deepEqual(latin.warnings.map(({ code }) => code), ["encoding-guessed"]);
    assert.equal((await read(bytes([0x93, 0xfa, 0x96, 0x7b]), "a.txt", { encoding: "shift_jis" })).text, "日本");
    assert.equal((await read("a\r\nb\rc", "a.txt")).text, "a\nb\nc");
  });

  test("everything else is refused with what can be read", async () => {
    await refuses(bytes([0x89], "PNG\r\n", new Array(40).fill(0)), "a.png", "unsupported", /PNG picture.*PDF, DOCX/);
    await refuses(bytes([0x89], "PNG\r\n", new Array(40).fill(0)), "a.txt", "unsupported", /PNG picture/);
    await refuses(bytes([0xff, 0xd8, 0xff, 0xe0], new Array(40).fill(0)), "a.jpg", "unsupported", /JPEG/);
    await refuses("{\\rtf1 text}", "a.rtf", "unsupported", /Save it as DOCX/);
    await refuses(bytes("MZ", new Array(40).fill(0)), "a.exe", "unsupported", /program/);
    await refuses(Uint8Array.from({ length: 999 }, (_, i) => (i * 73) % 256), "a.dat", "unsupported", /without text/);
    await refuses("", "a.txt", "empty");
    await refuses(" \n ", "a.txt", "empty");
    await refuses("x".repeat(24_000_001), "a.txt", "too-large", /MB/);
    const folder = { name: "folder", size: 4096, slice: () => ({ arrayBuffer: () => Promise.reject(new DOMException("", "NotFoundError")) }) };
    await assert.rejects(extract(folder), (error) => error.code === "unreadable");
  });

  test("a model is a model by what it is, not by its name", async () => {
    const model = bytes("GGUF", [3, 0, 0, 0], new Array(40).fill(0));
    assert.equal(await isModelFile(file(model, "a.txt")), true);
    for (const content of ["", "GGU", "text", "gguf"]) assert.equal(await isModelFile(file(content, "a.gguf")), false, content);
    await refuses(model, "notes.txt", "model-file", /Models/);
    assert.equal((await read("text", "a.gguf")).kind, "text");
  });
});

test("any bytes under any name: a document or a clear error", async () => {
  const starts = ["", "%PDF-1.4\n1 0 obj<<>>endobj trailer<</Root 1 0 R>>", "PK\x03\x04", "PK\x03\x04word/document.xml", "GGUF", "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", "\xFF\xFE", "\xFE\xFF", "\xEF\xBB\xBF", "<html>", "{\\rtf", "\x89PNG"];
  const ends = ["", `PK\x05\x06${"\0".repeat(18)}`, `PK\x05\x06${"\xFF".repeat(18)}`, "%%EOF"];
  const names = ["", "a.pdf", "a.docx", "a.txt", "a.html", "a.json", "noending", "a\nb.csv", "\u2028.md"];
  const content = fc.tuple(fc.constantFrom(...starts), fc.uint8Array({ maxLength: 300 }), fc.constantFrom(...ends));
  await fc.assert(
    fc.asyncProperty(content, fc.constantFrom(...names), async ([start, middle, end], name) => {
      try {
        const document = await read(bytes(start, [...middle], end), name);
        assert.ok(document.text.trim() !== "" && !/[\r\0]/.test(document.text));
      } catch (error) {
        assert.ok(error instanceof DocumentError, String(error.stack));
        assert.doesNotMatch(error.message, /[\n\r\u2028]/);
      }
    }),
    { numRuns: 300, seed: 40 },
  );
});
