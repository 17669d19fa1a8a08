/** PDF files to text: lines, paragraphs, columns, rows, scripts, and clear errors. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { chinesePdf, DocumentError, makePdf, read, refuses } from "./documents.mjs";
import { load } from "./support.mjs";

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

  test("a table under two columns is read by rows, stretched lines are prose", async () => {
    const row = (y, ...cells) => cells.map((cell, i) => [cell, [50, 200, 400][i], y]);
    const words = "words that are set wide apart".split(" ").map((word, i) => [word, 50 + i * 42, 556]);
    const width = { words: 28, that: 18, are: 15, set: 13, wide: 21, apart: 25 };
    let x = 50;
    for (const [i, [word]] of words.entries()) (words[i][1] = x), (x += width[word] + 20);
    const made = await makePdf([[...both.filter(([text]) => !/right line (10|11)|left line (10|11)/.test(text)), ...words, ...row(500, "Name", "Speed", "Remarks"), ...row(486, "Falcon", "389", "dives"), ...row(472, "Kestrel", "63", "hovers")]]);
    const { text } = await read(made, "a.pdf");
    assert.match(text, /Name\tSpeed\tRemarks\nFalcon\t389\tdives\nKestrel\t63\thovers$/);
    assert.match(text, /words that are set wide apart/);
    assert.ok(text.indexOf("left line 09") < text.indexOf("right line 00"));
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

  test("the shapes of Arabic letters and ligatures are letters", async () => {
    const { letters } = await load("documents/decode.ts");
    assert.equal(letters("\uFEEB\uFEAC\u0627 o\uFB03ce x\u00B2"), "هذا office x²");
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
