/**
 * Files to text: PDF with its layout, Word, web pages, texts in every encoding, and clear errors
 * for the others.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { Document, ImageRun, HeadingLevel, Packer, Paragraph, Table, TableCell, TableRow, TextRun } from "docx";
import { chinesePdf, docx, file, makePdf, pdf } from "./documents.mjs";
import { browser, load } from "./support.mjs";

const window = browser();
const { extract, fromText, isModelFile, DocumentError, EXTENSIONS } = await load("documents/index.ts");
const read = (content, name, options) => extract(file(content, name), { pdf, docx, ...options });
const refuses = async (content, name, code, message, options) => {
  await assert.rejects(read(content, name, options), (error) => {
    assert.ok(error instanceof DocumentError, String(error.stack));
    assert.equal(error.code, code, error.message);
    if (message) assert.match(error.message, message);
    assert.doesNotMatch(error.message, /\n/);
    return true;
  });
};
const bytes = (...parts) => Uint8Array.from(parts.flatMap((part) => (typeof part === "string" ? [...part].map((c) => c.charCodeAt(0)) : part)));

describe("PDF", () => {
  test("lines and paragraphs stay, pages are numbered", async () => {
    const made = await makePdf([
      [["First line of a paragraph", 50, 700], ["and its second line.", 50, 688], ["Another paragraph", 50, 660], ["that goes on.", 50, 648]],
      [["Heading", 50, 700, 18], ["Text below it.", 50, 680]],
    ]);
    const seen = [];
    const { kind, pages, text, warnings } = await read(made, "a.pdf", { onProgress: (progress) => seen.push(`${progress.done}/${progress.total} ${progress.unit}`) });
    assert.equal(kind, "pdf");
    assert.deepEqual(pages, [
      { number: 1, text: "First line of a paragraph\nand its second line.\n\nAnother paragraph\nthat goes on." },
      { number: 2, text: "Heading\n\nText below it." },
    ]);
    assert.equal(text, `${pages[0].text}\n\n${pages[1].text}`);
    assert.deepEqual(warnings, []);
    assert.deepEqual(seen, ["0/2 pages", "1/2 pages", "2/2 pages"]);
  });

  const line = (side, i) => [`This is the ${side} line ${String(i).padStart(2, "0")} of running prose`, side === "left" ? 50 : 310, 700 - 12 * i];
  const both = Array.from({ length: 12 }, (_, i) => [line("left", i), line("right", i)]).flat();

  test("columns are read one after another, under a title across both", async () => {
    const made = await makePdf([[["A title that stands across both of the columns of the page", 50, 740, 16], ...both, ["A footer that stands across both of the columns of this page, as footers do", 100, 60]]]);
    const { text } = await read(made, "a.pdf");
    const places = ["A title", "left line 00", "left line 11", "right line 00", "right line 11", "A footer"].map((part) => text.indexOf(part));
    assert.deepEqual(places, [...places].sort((a, b) => a - b), text);
    assert.ok(places.every((place) => place >= 0), text);
    assert.doesNotMatch(text, /left.*right/);
  });

  test("a table's rows stay rows", async () => {
    const rows = Array.from({ length: 9 }, (_, i) => [[`Item ${i}`, 60, 700 - 14 * i], [`${i * 7}`, 250, 700 - 14 * i], [`EUR ${i}`, 400, 700 - 14 * i]]).flat();
    const { text } = await read(await makePdf([rows]), "a.pdf");
    assert.equal(text.split("\n")[3], "Item 3\t21\tEUR 3");
    assert.equal(text.split("\n").length, 9);
  });

  test("a page of very many pieces, and letters that are twice there", async () => {
    const many = Array.from({ length: 6000 }, (_, i) => [`${i % 10}`, 20 + (i % 100) * 5.7, 780 - Math.floor(i / 100) * 12, 5]);
    assert.equal((await read(await makePdf([many]), "a.pdf")).text.replace(/\s/g, "").length, 6000);
    const bold = [["Bold", 50, 700], ["Bold", 50.3, 700], ["not", 80, 700], ["not", 50, 680]];
    assert.equal((await read(await makePdf([bold]), "a.pdf")).text.replace(/\n+/, "\n"), "Bold not\nnot");
  });

  test("first lines that stand in begin a paragraph", async () => {
    const made = await makePdf([[["Some first words.", 50, 700], ["They go on here.", 50, 688], ["A paragraph begins", 65, 676], ["and goes on", 50, 664], ["to its end.", 50, 652]]]);
    assert.equal((await read(made, "a.pdf")).text, "Some first words.\nThey go on here.\n\nA paragraph begins\nand goes on\nto its end.");
  });

  test("pieces of a line are put together in the order of their places, raised ones too", async () => {
    const made = await makePdf([[["world", 78, 700], ["Hello", 50, 700], ["2", 105, 704, 6], ["next", 50, 688]]]);
    assert.match((await read(made, "a.pdf")).text, /^Hello world ?2\nnext$/);
  });

  test("a page that lies on its side is read as it is seen", async () => {
    const made = await makePdf([[["First", 100, 100, 10, 90], ["Second", 120, 100, 10, 90]]], { rotate: 90 });
    assert.equal((await read(made, "a.pdf")).text, "First\n\nSecond");
  });

  test("turned text on an upright page is kept", async () => {
    const made = await makePdf([[["Upright", 100, 700], ["Turned", 50, 300, 10, 90]]]);
    assert.equal((await read(made, "a.pdf")).text, "Upright\n\nTurned");
  });

  test("a Chinese font that is not in the file", async () => {
    const { text } = await read(chinesePdf("C4E3BAC3CAC0BDE7"), "a.pdf");
    assert.equal(text, "你好世界");
  });

  test("a password is asked for, tried and taken", async () => {
    const locked = readFileSync(new URL("files/encrypted.pdf", import.meta.url));
    await refuses(locked, "a.pdf", "encrypted", /password/);
    await refuses(locked, "a.pdf", "wrong-password", /not the password/, { password: "wrong" });
    assert.equal((await read(locked, "a.pdf", { password: "falcon" })).text, "A secret text");
  });

  test("scans are said to be scans, single pages without text are named", async () => {
    await refuses(await makePdf([[], []], { picture: true }), "scan.pdf", "scanned", /OCR/);
    const { warnings } = await read(await makePdf([[["Text", 50, 50]], [], [["More", 50, 50]], []], { picture: true }), "a.pdf");
    assert.deepEqual(warnings.map(({ code, pages }) => [code, pages]), [["pages-without-text", [2, 4]]]);
  });

  test("damaged files: cut, overwritten, empty shells, and what only is named so", async () => {
    const whole = await makePdf([[["Text that is there", 50, 50]]]);
    await refuses("%PDF-1.7\nnothing of it", "a.pdf", "damaged", /damaged/);
    await refuses(whole.slice(0, 200), "a.pdf", "damaged");
    await refuses("just text", "a.pdf", "damaged", /downloaded whole/);
    await refuses(new Uint8Array(2000), "a.pdf", "damaged");
    // PDF.js finds the parts of a file whose list of them is gone.
    const plain = chinesePdf("C4E3BAC3");
    assert.equal((await read(plain.replace(/startxref\n\d+/, "startxref\n7"), "a.pdf")).text, "你好");
    let state = 7;
    for (let round = 0; round < 12; round++) {
      const broken = Uint8Array.from(whole);
      for (let i = 0; i < 40; i++) broken[(state = (state * 48271) % 2147483647) % broken.length] = state & 255;
      await read(broken, "a.pdf").catch((error) => assert.ok(error instanceof DocumentError, String(error.stack)));
    }
  });

  test("200 pages, and stopping in the middle", async () => {
    const made = await makePdf(Array.from({ length: 200 }, (_, i) => [[`This is page ${i + 1}`, 50, 700], ["with two lines", 50, 688]]));
    const { pages } = await read(made, "a.pdf");
    assert.equal(pages.length, 200);
    assert.ok(pages.every((page, i) => page.text === `This is page ${i + 1}\nwith two lines`));
    const stop = new AbortController();
    const reason = new Error("stopped by the person");
    let last = 0;
    const reading = read(made, "a.pdf", { signal: stop.signal, onProgress: ({ done }) => (last = done) === 20 && stop.abort(reason) });
    await assert.rejects(reading, (error) => error === reason);
    assert.equal(last, 20);
    await assert.rejects(read(made, "a.pdf", { signal: stop.signal }), (error) => error === reason, "already stopped");
  });

  test("a part of the page that does not load", async () => {
    const failing = async () => Promise.reject(new TypeError("Failed to fetch"));
    await refuses(await makePdf([[["x", 1, 1]]]), "a.pdf", "unavailable", /network/, { pdf: failing });
  });
});

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
    await read(`<html>${"<div>".repeat(6000)}x`, "a.html").catch((error) => assert.equal(error.code, "damaged"));
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
