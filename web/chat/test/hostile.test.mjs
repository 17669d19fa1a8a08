/**
 * What a model may say is not what a page may do: nothing hostile survives, and nothing stops the
 * page.
 */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { drawn, libraries, PIECES, plainText, render, settled, window } from "./markdown.mjs";

const TAGS = new Set(
  "a blockquote br button code del div em h1 h2 h3 h4 h5 h6 hr li ol p pre span strong sup table tbody td th thead tr ul".split(" "),
);
const ATTRIBUTES = new Set("aria-label class data-language data-note data-noteref data-tex dir href rel role scope start tabindex target type".split(" "));
const MATHML = /^(m[a-z]+|math)$/;
const MATH_ATTRIBUTES = /^(?!on|href|style|id|src|xlink)[a-z-]+$/;

/** Looks at every element for what no answer may have. */
function assertInert(target, what) {
  for (const element of target.querySelectorAll("*")) {
    const math = element.namespaceURI === "http://www.w3.org/1998/Math/MathML";
    const name = element.localName;
    assert.ok(math ? MATHML.test(name) : TAGS.has(name), `${what}: element <${name}>`);
    for (const { name: attribute, value } of element.attributes) {
      assert.ok(math ? MATH_ATTRIBUTES.test(attribute) : ATTRIBUTES.has(attribute), `${what}: attribute ${attribute} of <${name}>`);
      if (attribute === "href") assert.match(value, /^(https?:\/\/|mailto:)/i, what);
    }
    if (name === "a" && element.hasAttribute("href")) assert.equal(element.getAttribute("rel"), "noopener noreferrer nofollow");
  }
  assert.equal(window.hacked, undefined, what);
}

describe("hostile input", () => {
  const VECTORS = [
    "<script>window.hacked = 1</script>", "<img src=x onerror='window.hacked = 1'>", "<svg onload='window.hacked = 1'></svg>", "<svg><script>window.hacked=1</script></svg>",
    "<iframe srcdoc='<script>parent.hacked=1</script>'></iframe>", "<style>*{display:none}</style>", "<form action=http://e.com><input name=q><button formaction=javascript:hacked=1>",
    "<p style='position:fixed' id=send onclick='window.hacked = 1'>", "<a href='javascript:window.hacked=1'>x</a>", "<base href=//e.com>", "<meta http-equiv=refresh content='0;url=//e.com'>",
    "<object data=x><embed src=x>", "<math><mtext><table><mglyph><style><img src=x onerror=window.hacked=1>", "<noscript><p title='</noscript><img src=x onerror=hacked=1>'>", "<template><img src=x onerror=hacked=1>",
    "<details open ontoggle=window.hacked=1>", "<textarea></textarea><script>window.hacked=1</script>", "</textarea><script>window.hacked=1</script>", "<!--><img src=x onerror=window.hacked=1>-->", "<![CDATA[<img src=x onerror=window.hacked=1>]]>",
    "[x](javascript:window.hacked=1)", "[x](JaVaScRiPt:window.hacked=1)", "[x](javascript&colon;window.hacked=1)", "[x](&#106;avascript:window.hacked=1)", "[x](&#x6A;avascript&#58;window.hacked=1)", "[x](java\tscript:x)",
    "[x](<java\nscript:x>)", "[x](\u0001javascript:x)", "[x](data:text/html,<script>window.hacked=1</script>)", "[x](vbscript:x)", "[x](blob:https://page.example/1)", "[x](file:///etc/passwd)", "[x](//e.com/)", "[x](/send)", "[x](#send)",
    "[x](https://e.com/\"onmouseover=\"window.hacked=1)", "[x](https://e.com/ \"t' onclick='window.hacked=1\")", "[x]: javascript:window.hacked=1\n\n[x]", "<javascript:window.hacked=1>", "<https://e.com/\"><img>",
    "![x](http://e.com/pixel.png)", "![x\"onerror=\"window.hacked=1](x)", "![x](javascript:x)", "[![x](http://e.com/p.png)](javascript:x)", "![<img src=x onerror=window.hacked=1>](x)",
    "```js\"onload=\"window.hacked=1\n</code></pre><script>window.hacked=1</script>\n```", "```<img src=x onerror=window.hacked=1>\nx\n```", "```html\n<img src=x onerror=window.hacked=1><script>hacked=1</script>\n```", "```xml\n<a b=\"]]><script>\">\n```", "`<img src=x onerror=window.hacked=1>`",
    "$\\href{javascript:window.hacked=1}{x}$", "$\\url{javascript:x}$", "$\\htmlStyle{position:fixed}{x}$", "$\\htmlId{send}{x}$", "$\\htmlData{x=1}{x}$", "$\\includegraphics{http://e.com/x.png}$", "$\\text{<img src=x onerror=window.hacked=1>}$",
    "$\\text{</annotation></semantics></math><script>window.hacked=1</script>}$", "$\\text{\" style=\"x\" onclick=\"window.hacked=1}$", "$$\\def\\a{\\a\\a}\\a$$", "$\\color{red;background:url(http://e.com)}{x}$", "$\\rule{1000em}{1000em}$",
    "| <img src=x onerror=window.hacked=1> | b |\n|---|---|\n| <script>window.hacked=1</script> | [x](javascript:x) |", "- [x] <img src=x onerror=window.hacked=1>", "> <script>window.hacked=1</script>", "# <img src=x onerror=window.hacked=1>",
    "[^<img>]: x\n[^\"onclick=hacked=1]\n\n[^\"onclick=hacked=1]: <script>window.hacked=1</script>", "[__proto__]\n\n[__proto__]: https://e.com/", "[constructor][toString]", "\0<script>\0</script>", "&lt;script&gt;window.hacked=1&lt;/script&gt;", "&#60;img src=x onerror=window.hacked=1&#62;",
  ];

  for (const vector of VECTORS) {
    test(JSON.stringify(vector), async () => {
      for (const text of [vector, `a ${vector} b`, `${vector}\n\n${vector}`]) {
        const target = await drawn(text);
        assertInert(target, text);
        // Also when the same words stream in piece by piece.
        for (let at = 0; at < text.length; at += 3) render(text.slice(0, at), target, { streaming: true, libraries });
        await settled(target);
        assertInert(target, text);
      }
    });
  }

  test("links that are allowed work and tell nothing", async () => {
    const target = await drawn("[a](https://e.com/?a=1&amp;b=2) <mailto:a@e.com> https://e.com/x [b](javascript:x)");
    assert.deepEqual([...target.querySelectorAll("a[href]")].map((link) => [link.getAttribute("href"), link.target]), [["https://e.com/?a=1&b=2", "_blank"], ["mailto:a@e.com", "_blank"], ["https://e.com/x", "_blank"]]);
  });

  test("random Markdown with hostile pieces is inert, and never throws", async () => {
    const hostile = fc.array(fc.oneof(fc.constantFrom(...PIECES, ...VECTORS), fc.string({ maxLength: 6 }), fc.string({ unit: "binary", maxLength: 4 })), { maxLength: 25 });
    await fc.assert(
      fc.asyncProperty(hostile, async (pieces) => {
        const text = pieces.join("");
        assertInert(await drawn(text), JSON.stringify(text));
        plainText(text);
        window.document.body.replaceChildren();
      }),
      { numRuns: 300, seed: 22 },
    );
  });
});

describe("a model that goes round in circles", () => {
  const LOOPS = [
    ">", "> ", "- ", "- a\n  ", "1. ", "> - ", "* [ ] ", "[", "![", "[a](", "[a][", "[^1]", "[^1]: ", "*", "**a", "*a_ ", "`", "``a", "```\n", "$", "$a\n$", "$$", "\\(", "\\[", "~~", "<", "<a ", "<!--", "&", "|", "| a ",
    "a|b\n-|-\n", "#", "    ", "\t", "\\", "a@", "http://", "\n", "=\n", "word. ", "字",
  ];
  const depthOf = (element) => 1 + Math.max(0, ...[...element.children].map(depthOf));

  for (const loop of LOOPS) {
    test(JSON.stringify(loop), async () => {
      const text = `Before.\n\n${loop.repeat(Math.ceil(6000 / loop.length))}`;
      for (const streaming of [true, false]) {
        const target = window.document.createElement("div");
        render(text, target, { streaming, libraries });
        assert.match(target.textContent, /^Before\./);
        assert.ok(depthOf(target) < 120, "as deep as a browser can lay out");
        assertInert(target, loop);
      }
      plainText(text);
    });
  }

  test("quotes that get shallower line by line, which marked reads in exponential time", async () => {
    const target = await drawn(Array.from({ length: 40 }, (_, i) => `${"> ".repeat(40 - i)}line ${i}`).join("\n"));
    for (let i = 0; i < 40; i++) assert.match(target.textContent, new RegExp(`line ${i}`));
    assert.ok(depthOf(target) < 120);
  });

  test("what is nested too deeply is there, as written", async () => {
    const target = await drawn(`${"> ".repeat(40)}deep\n\n${"> ".repeat(400)}deeper\n\n- next`);
    assert.match(target.textContent, /deep[\s\S]*deeper[\s\S]*next/);
  });
});
