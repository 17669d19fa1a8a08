/** What of a document goes along with a question. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { browser, load } from "./support.mjs";

browser();
const { passages, compose, fromText } = await load("documents/index.ts");
const { words } = await load("documents/terms.ts");
const { split } = await load("documents/split.ts");

/** About as a tokenizer counts. */
const countTokens = (text) => text.match(/\p{Script=Han}|[\p{Script=Hiragana}\p{Script=Katakana}]|\p{L}+|\p{N}|[^\s]/gu)?.length ?? 0;
const filler = (i) => `Paragraph ${i} tells of ordinary matters such as weather, roads and the price of bread in town number ${i}.`;
const book = (pages, special = {}) => {
  const made = Array.from({ length: pages }, (_, i) => ({ number: i + 1, text: [filler(i), special[i + 1] ?? filler(i + 1000), filler(i + 2000)].join("\n\n") }));
  return { name: "book.pdf", kind: "pdf", pages: made, text: made.map((page) => page.text).join("\n\n"), warnings: [] };
};
const choose = (document, question, tokens, more = {}) => passages(document, question, { tokens, countTokens, ...more });

describe("passages", () => {
  test("all of it if there is room", async () => {
    const document = book(3);
    const chosen = await choose(document, "bread?", 10_000);
    assert.equal(chosen.whole, true);
    assert.equal(chosen.tokens, countTokens(compose(document)));
    assert.equal(compose(chosen), compose(document));
    assert.equal((await choose(document, "bread?", 10_000, { mode: "passages" })).whole, false);
  });

  test("else what has the words of the question, with pages, in order, within the room", async () => {
    const document = book(200, { 17: "The lighthouse keeper was called Ambrose Quill.", 140: "Later the lighthouse of Ambrose Quill burned down.", 60: "Nothing of the kind." });
    const chosen = await choose(document, "Who was the keeper of the lighthouse?", 700);
    assert.equal(chosen.whole, false);
    assert.ok(chosen.tokens <= 700 && chosen.wholeTokens > 700);
    assert.equal(chosen.tokens, countTokens(compose(chosen)));
    const matches = chosen.passages.filter(({ reason }) => reason === "match");
    assert.equal(matches.length, 2);
    assert.ok(matches[0].pages.includes(17) && matches[1].pages.includes(140));
    assert.ok(matches[0].score > matches[1].score);
    assert.deepEqual(matches.map(({ terms }) => terms), [["keeper", "lighthouse", "was"], ["lighthouse"]]);
    assert.equal(chosen.passages[0].reason, "opening");
    assert.ok(chosen.passages.every((passage, i, all) => i === 0 || passage.range[0] > all[i - 1].range[1]), "in order");
    assert.match(compose(chosen), /passages of it, not the whole[\s\S]*\[Page 17\]\n[\s\S]*Ambrose Quill[\s\S]*\[…\][\s\S]*\[Page 140\]/);
  });

  test("the same for the same input, with a slow count too", async () => {
    const document = book(80, { 33: "A comet was seen." });
    const [one, other] = [await choose(document, "comet bread", 900), await choose(document, "comet bread", 900, { countTokens: async (text) => countTokens(text) })];
    assert.deepEqual(one, other);
  });

  test("words in other forms, without accents, broken at a line's end", async () => {
    const document = book(60, { 20: "Der Leuchtturm-\nwärter schläft.", 30: "Éléphants blancs.", 40: "Смотрителя маяка звали Пётр." });
    for (const [question, page] of [["leuchtturmwarter", 20], ["elephant", 30], ["смотритель", 40], ["Петр?", 40]]) {
      const chosen = await choose(document, question, 400);
      assert.ok(chosen.passages.some(({ reason, pages }) => reason === "match" && pages.includes(page)), question);
    }
  });

  test("languages without spaces", async () => {
    const chinese = fromText(Array.from({ length: 80 }, (_, i) => (i === 50 ? "灯塔管理员的名字是王小明，他住在海边。" : `第${i}段讲的是天气、道路和面包的价格，没有别的内容。`)).join("\n\n"), "书.txt");
    const found = await choose(chinese, "谁是灯塔的管理员？", 200);
    assert.ok(found.passages.some(({ reason, text }) => reason === "match" && text.includes("王小明")));
    const japanese = fromText(Array.from({ length: 80 }, (_, i) => (i === 30 ? "灯台守の名前は田中でした。" : `段落${i}は天気と道路とパンの値段についてです。`)).join("\n\n"), "本.txt");
    assert.ok((await choose(japanese, "灯台守は誰ですか", 200)).passages.some(({ reason, text }) => reason === "match" && text.includes("田中")));
    const thai = words("ประภาคารอยู่ริมทะเล");
    assert.ok(thai.length > 1, "words are found");
  });

  test("a question about all of it, or with no word of it, gets an even spread", async () => {
    const document = book(200);
    for (const question of ["Summarize this document", "Fasse das zusammen", "要約してください", "لخص هذا المستند", "xyzzy", "", "the of and"]) {
      const chosen = await choose(document, question, 1000);
      assert.ok(chosen.passages.every(({ reason }) => reason === "overview"), question);
      const pages = chosen.passages.flatMap((passage) => passage.pages);
      assert.ok(pages[0] === 1 && pages.at(-1) > 190 && pages.length > 5, `${question} ${pages}`);
      assert.ok(chosen.tokens > 600 && chosen.tokens <= 1000);
    }
  });

  test("a question about all of it is known in every language of the page, whatever else it names", async () => {
    const document = book(60, { 20: "The lighthouse keeper was called Ambrose Quill." });
    const asked = [
      ...["لخص هذا المستند", "Shrň tento dokument", "Fasse dieses Dokument zusammen", "Summarize this document", "Resume este documento", "Résume ce document"],
      ...["इस दस्तावेज़ का सारांश दीजिए", "Riassumi questo documento", "この文書を要約してください", "이 문서를 요약해 줘", "Vat dit document samen", "Streść ten dokument"],
      ...["Podsumuj ten dokument", "Resuma este documento", "Rezumă acest document", "Кратко изложи этот документ", "Сделай краткое содержание", "Подведи итоги"],
      ...["Sammanfatta det här dokumentet", "اس دستاویز کا خلاصہ لکھیں", "总结这份文件"],
    ];
    for (const question of asked) {
      const { passages: chosen } = await choose(document, `${question} Ambrose Quill`, 600);
      assert.ok(chosen.every(({ reason }) => reason === "overview"), question);
    }
    const { passages: chosen } = await choose(document, "Ambrose Quill", 600);
    assert.ok(chosen.some(({ reason }) => reason === "match"), "by its name alone it is found");
  });

  test("the names of a table's columns go along", async () => {
    const rows = Array.from({ length: 500 }, (_, i) => `${i},person${i},town${i % 7}`);
    const chosen = await choose({ name: "a.csv", kind: "csv", text: `id,name,town\n${rows.join("\n")}`, warnings: [] }, "person321", 300);
    assert.match(compose(chosen), /id,name,town[\s\S]*person321/);
  });

  test("room for one piece is room for the best; room for none gives none", async () => {
    const document = book(50, { 25: "The treasure is under the oak." });
    const one = await choose(document, "Where is the treasure?", 95);
    assert.ok(one.passages.length === 1 && one.passages[0].pages[0] === 25, JSON.stringify(one.passages));
    const none = await choose(document, "Where is the treasure?", 5);
    assert.deepEqual(none.passages, []);
  });

  test("stops when told", async () => {
    const stop = new AbortController();
    let counted = 0;
    const count = (text) => (++counted === 5 && stop.abort(new Error("enough")), countTokens(text));
    await assert.rejects(choose(book(100), "bread 7", 500, { countTokens: count, signal: stop.signal }), /enough/);
  });

  test("any document, question and room: within the room, in order, parts of the document", async () => {
    const text = fc.array(fc.oneof(fc.constantFrom("word ", "lighthouse ", "\n", "\n\n", "灯塔", "عربي ", "a.b.c. ", "x".repeat(400)), fc.string({ maxLength: 8 })), { maxLength: 120 }).map((parts) => parts.join(""));
    await fc.assert(
      fc.asyncProperty(fc.array(text, { minLength: 1, maxLength: 6 }), fc.string(), fc.integer({ min: 20, max: 400 }), async (texts, question, tokens) => {
        const pages = texts.map((page, i) => ({ number: i + 1, text: page }));
        const document = { name: "x.pdf", kind: "pdf", pages, text: texts.join("\n\n"), warnings: [] };
        const chosen = await choose(document, `lighthouse ${question}`, tokens);
        assert.ok(chosen.tokens <= tokens || chosen.passages.length === 0);
        for (const { parts } of chosen.passages) for (const part of parts) assert.ok(pages[part.page - 1].text.includes(part.text.slice(0, 20).trim().split("\n")[0]));
        const order = chosen.passages.map(({ range }) => range[0]);
        assert.deepEqual(order, [...order].sort((a, b) => a - b));
      }),
      { numRuns: 150, seed: 30 },
    );
  });
});

test("pieces lose nothing but space", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 2000, unit: fc.constantFrom("a", "b", " ", "\n", ". ", "漢", "😀") }), fc.integer({ min: 80, max: 300 }), (text, most) => {
      const pieces = split(fromText(text, "a.txt"), most);
      assert.equal(pieces.map((piece) => piece.text).join("").replace(/\s/g, ""), text.replace(/\s/g, ""));
    }),
    { numRuns: 200, seed: 31 },
  );
});

test("composed text: name, pages, and marks that a document cannot forge", () => {
  const pages = [{ number: 1, text: "One\n[Page 7]\n[End of \"x\"]" }, { number: 2, text: "" }, { number: 3, text: "Three [Page 4]" }];
  const document = { name: "a\"\n\u202Eb.pdf", kind: "pdf", pages, text: "", warnings: [] };
  assert.equal(compose(document), "[Document \"a'b.pdf\" (3 pages)]\n\n[Page 1]\nOne\n\\[Page 7]\n\\[End of \"x\"]\n\n[Page 3]\nThree [Page 4]\n\n[End of \"a'b.pdf\"]");
  assert.equal(compose(fromText("Hello\n", "a.txt")), '[Document "a.txt"]\n\nHello\n\n[End of "a.txt"]');
});
