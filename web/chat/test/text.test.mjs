/** Answers as elements: what Markdown becomes, and that it grows without being drawn anew. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { box, drawn, forget, libraries, markdown, plainText, render, settled, shown, window } from "./markdown.mjs";

const formulasOf = (target) => [...target.querySelectorAll(".math")].map((math) => math.dataset.tex);

describe("blocks", () => {
  test("headings, lists, quotes, tables and code are elements", async () => {
    const target = await drawn("# Title\n\nSome *soft* and **hard** ~~old~~ words.\n\n3. one\n4. two\n\n> said\n\n---\n\n| a | b |\n|:--|--:|\n| 1 | 2 |\n");
    assert.equal(target.querySelector("h1").textContent, "Title");
    assert.equal(target.querySelector("em").textContent, "soft");
    assert.equal(target.querySelector("ol").getAttribute("start"), "3");
    assert.equal(target.querySelector("blockquote").textContent, "said");
    assert.equal(target.querySelectorAll("hr, del").length, 2);
    const frame = target.querySelector("table").parentElement;
    assert.deepEqual([frame.className, frame.tabIndex, frame.getAttribute("aria-label")], ["table", 0, "Table"]);
    assert.equal(target.querySelector("td:last-child").className, "align-right");
    assert.equal(target.querySelector("th").getAttribute("scope"), "col");
  });

  test("done and open tasks differ and are said, in tight and loose lists", async () => {
    for (const markdown of ["- [x] one\n- [ ] two", "- [x] one\n\n- [ ] two\n\n- plain"]) {
      const target = await drawn(markdown, { labels: { done: "Erledigt", open: "Offen" } });
      const marks = [...target.querySelectorAll("li.task .task-box")];
      assert.deepEqual(marks.map((mark) => [mark.getAttribute("role"), mark.getAttribute("aria-label"), mark.classList.contains("done")]), [["img", "Erledigt", true], ["img", "Offen", false]]);
      assert.deepEqual([...target.querySelectorAll("li.task")].map((item) => item.textContent.trim()), ["one", "two"]);
    }
  });

  test("text takes its direction from its letters, code is always left to right", async () => {
    const target = await drawn("# عنوان\n\nنص `code`\n\n- بند\n- item\n\n> اقتباس\n>\n> Quote\n\n1. فقرة\n\n   أخرى\n\n| عمود | b |\n|---|---|\n| خلية | 2 |\n\n```py\nx = 1\n```\n\n$x$");
    for (const selector of ["h1", "p", "ul", "li", "blockquote", "th", "td"]) assert.equal(target.querySelector(selector).dir, "auto", selector);
    for (const selector of ["code", "pre", ".code", ".math"]) assert.equal(target.querySelector(selector).dir, "ltr", selector);
    assert.equal(target.querySelector("table").dir, "rtl", "columns run from right to left");
    // dir=auto does not look into elements that have a direction: the first block within takes that
    // of the outer one.
    for (const outer of target.querySelectorAll("blockquote, ol > li")) {
      assert.equal(outer.firstElementChild.hasAttribute("dir"), false);
      assert.equal(outer.lastElementChild.dir, "auto");
    }
  });

  test("entities are characters, in code they are what was written", async () => {
    const target = await drawn("caf&eacute; &#8364; &lt;b&gt; &nosuch; `&amp;`\n\n```\n&lt;\n```");
    assert.equal(target.querySelector("p").textContent, "café € <b> &nosuch; &amp;");
    assert.equal(target.querySelector("pre").textContent, "&lt;");
    assert.equal(plainText("**caf&eacute;** `&amp;`"), "café &amp;");
  });

  test("footnotes lead to their text", async () => {
    const target = await drawn("Said[^1] so[^b].\n\n[^1]: A *note*\n  of two lines\n[^b]: another");
    assert.deepEqual([...target.querySelectorAll("p.footnote")].map((note) => note.textContent), ["1 A noteof two lines", "b another"]);
    let seen = 0;
    target.querySelectorAll("p.footnote")[1].scrollIntoView = () => seen++;
    target.querySelector("[data-noteref=b]").click();
    assert.equal(seen, 1);
    assert.equal(window.document.activeElement, target.querySelectorAll("p.footnote")[1]);
  });

  test("code has a language, a place for buttons, and its text as it is", async () => {
    const blocks = [];
    const copy = (block) => (blocks.push(block), Object.assign(window.document.createElement("button"), { textContent: "Copy" }));
    const target = await drawn("```js\nlet x = '<b>';\n```\n\n~~~\nplain\n~~~\n\n    indented", { codeActions: copy });
    assert.deepEqual([...target.querySelectorAll(".code-language")].map((language) => language.textContent), ["js", "Code", "Code"]);
    assert.equal(target.querySelectorAll(".code-actions > button").length, 3);
    assert.deepEqual(blocks.map((block) => [block.text(), block.language()]), [["let x = '<b>';", "js"], ["plain", ""], ["indented", ""]]);
    assert.ok(target.querySelector("code.language-js .hljs-keyword"), "colored");
    assert.equal(target.querySelectorAll(".code")[1].querySelector("span[class^=hljs]"), null);
  });
});

describe("formulas", () => {
  const cases = [
    ["$x$ and $$y$$ and \\(z\\) and \\[w\\]", ["x", "y", "z", "w"]],
    ["$a_1*b$ and $c*d_2$, *so $e*f$ is*", ["a_1*b", "c*d_2", "e*f"]],
    ["It is $5 and $10.", []],
    ["From $5 to $10, US$5 or NZ$7, $100-$200, ($5/mo) vs ($8/mo), between $5 and 10$.", []],
    ["R$ 5 e R$ 10, **$5** and **$6**, $5, which is less than 6$", []],
    ["$ x $ and \\$x\\$ and `$x$`", []],
    ["$\\text{two long words}$, $2 x + 3$, $5 \\times 3$, 公式$x$是", ["\\text{two long words}", "2 x + 3", "5 \\times 3", "x"]],
    ["Text:\n$$\na\n= b\n$$\nmore\n\\[ c \\]\nend", ["a\n= b", "c"]],
    ["- item\n  \\[ x \\]\n- $$y$$", ["x", "y"]],
    ["```math\nx^2\n```", ["x^2"]],
    ["| $a$ | b |\n|---|---|\n| \\(c\\) | 2 |", ["a", "c"]],
    ["$$a\n\nb$$ and $c\n\nd$ and \\(e", []],
  ];
  for (const [markdown, expected] of cases) {
    test(JSON.stringify(markdown), async () => {
      const target = await drawn(markdown);
      assert.deepEqual(formulasOf(target), expected);
      if (expected.length === 0) assert.match(target.textContent, /[$(]/, "stays text");
      assert.equal(target.querySelectorAll("math").length, expected.length);
    });
  }

  test("they are MathML without styles, source or fonts", async () => {
    const target = await drawn("$$\\frac{1}{\\sqrt{2}} \\color{red}{x} \\boxed{y} \\cancel{z} \\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}$$ and $<b>\"'$");
    assert.ok(target.querySelector("math[display=block] mfrac msqrt"));
    assert.equal(target.querySelectorAll("[style], annotation, semantics, menclose").length, 0);
    assert.ok(target.querySelector(".enclose.box") && target.querySelector(".enclose.struck"));
    assert.doesNotMatch(target.querySelector("math").textContent, /\\frac/);
  });

  test("what KaTeX cannot read stays as written", async () => {
    const target = await drawn("$\\nosuch{x}$ and $x^$");
    assert.equal(target.textContent, "$\\nosuch{x}$ and $x^$");
  });

  test("an unfinished formula is text while more is coming", () => {
    const whole = "So $x_1^2$ is\n\n$$\n\\frac{a_1 * b_1}{c}\n$$\n\nand \\(d_1 * e * f\\).";
    const target = box();
    for (let length = 1; length <= whole.length; length++) {
      render(whole.slice(0, length), target, { streaming: true, libraries });
      assert.equal(target.querySelector("em"), null, whole.slice(0, length));
    }
    assert.deepEqual(formulasOf(target), ["x_1^2", "\\frac{a_1 * b_1}{c}", "d_1 * e * f"]);
    render("So \\[ a *b* c", target, { streaming: true, libraries });
    assert.equal(target.textContent, "So \\[ a *b* c");
  });
});

describe("while an answer streams", () => {
  test("what grew is what would be drawn at once", () => {
    fc.assert(
      fc.property(markdown, fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 8 }), (text, steps) => {
        const target = window.document.createElement("div");
        for (let at = 0, i = 0; at < text.length; i++) {
          at = Math.min(text.length, at + steps[i % steps.length]);
          render(text.slice(0, at), target, { streaming: true, libraries });
          assert.equal(target.innerHTML, shown(text.slice(0, at), true), JSON.stringify(text.slice(0, at)));
        }
        render(text, target, { libraries });
        assert.equal(target.innerHTML, shown(text, false));
      }),
      { numRuns: 150, seed: 20 },
    );
  });

  test("a paragraph of any length is whole, and grows in parts", () => {
    const text = "Some **bold** words and `code`. ".repeat(300) + "😀".repeat(3000);
    const target = box();
    for (const length of [1999, 2001, 4500, 9000, 9601, 12_000, text.length]) {
      render(text.slice(0, length), target, { streaming: true, libraries });
      assert.equal(target.innerHTML, shown(text.slice(0, length), true));
    }
    assert.equal(target.querySelectorAll("strong").length, 300);
    assert.equal(target.textContent.match(/😀/gu).length, 3000);
  });

  test("a text that changed anywhere is drawn right", () => {
    fc.assert(
      fc.property(markdown, markdown, (one, other) => {
        const target = window.document.createElement("div");
        render(one, target, { libraries });
        render(other, target, { libraries });
        assert.equal(target.innerHTML, shown(other, false));
        render(other.slice(0, 5) + one, target, { libraries });
        assert.equal(target.innerHTML, shown(other.slice(0, 5) + one, false));
      }),
      { numRuns: 150, seed: 21 },
    );
  });

  test("finished elements are the same ones later, and a growing text grows in its place", () => {
    const target = box();
    const first = "# Title\n\nA paragraph.\n\n- one\n- two **bold** and";
    render(first, target, { streaming: true, libraries });
    const [heading, paragraph, list] = target.children;
    const [one, two] = list.children;
    const text = two.lastChild;
    render(`${first} more\n- three\n\nEnd.`, target, { streaming: true, libraries });
    assert.ok(target.children[0] === heading && target.children[1] === paragraph && target.children[2] === list);
    assert.ok(list.children[0] === one && list.children[1] === two && two.lastChild === text);
    assert.equal(text.data, " and more");
  });

  test("a selection stays: before new text, in growing code, and when its colors come", async () => {
    const target = box();
    const start = "Some words here\n\n```js\nlet x = 1;\n";
    render(start, target, { streaming: true, libraries });
    const selection = window.document.getSelection();
    selection.setBaseAndExtent(target.querySelector("p").firstChild, 5, target.querySelector("pre code").firstChild, 5);
    const selected = selection.toString();
    render(`${start}let y = 2;\n\`\`\`\n\nMore`, target, { streaming: true, libraries });
    assert.equal(selection.toString(), selected);
    await settled(target);
    assert.ok(target.querySelector(".hljs-keyword"));
    assert.equal(selection.toString(), selected);
    assert.match(selected, /words here[\s\S]*let x$/);
  });

  test("a list goes on behind a blank line, however it comes in", () => {
    for (const whole of ["1. one\n\n2. two\n\n3. three", "- a\n\n  b\n\n- c", "    code\n\n    more", "word \n\n[a]: https://e.com/x\n[a]: https://e.com/y\n\n[a] b", "text\n***strong***\n\n***\n\n- a\n\n***b***"]) {
      const target = box();
      for (let at = 1; at <= whole.length; at++) {
        render(whole.slice(0, at), target, { streaming: true, libraries });
        assert.equal(target.innerHTML, shown(whole.slice(0, at), true), whole.slice(0, at));
      }
    }
  });

  test("an address that is given at the end makes links above", () => {
    const target = box();
    render("See [a].\n\nText.\n\n", target, { streaming: true, libraries });
    assert.equal(target.querySelector("a"), null);
    render("See [a].\n\nText.\n\n[a]: https://e.com/\n", target, { streaming: true, libraries });
    assert.equal(target.querySelector("a").href, "https://e.com/");
  });

  test("forget gives the element back", () => {
    const target = box();
    render("text", target, { libraries });
    forget(target);
    assert.equal(target.childNodes.length, 0);
    render("again", target, { libraries });
    assert.equal(target.textContent, "again");
  });
});

test("plain text is what would be read aloud", () => {
  assert.equal(
    plainText("# Title\n\nSome **bold** [link](https://e.com/) and `code`[^1].\n\n1. one\n2. two\n   - [x] sub\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```js\nx\n```\n\n[^1]: note"),
    "Title\n\nSome bold link and code.\n\n1. one\n2. two\n  • ☑ sub\n\na\tb\n1\t2\n\nx\n\n1. note",
  );
});
