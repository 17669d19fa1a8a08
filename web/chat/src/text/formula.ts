/**
 * Formulas, as MathML: the browser sets it, so it needs no fonts, no styles in attributes and no
 * weaker policy. Loaded lazily.
 */

import DOMPurify from "dompurify";
import katex from "katex";

const made = new Map<string, DocumentFragment | undefined>();

/** A formula; undefined when it cannot be read, its source stays in view then. */
export function formula(tex: string, display: boolean): DocumentFragment | undefined {
  const key = `${display} ${tex}`;
  if (!made.has(key)) {
    if (made.size >= 500) made.clear();
    made.set(key, make(tex, display));
  }
  return made.get(key)?.cloneNode(true) as DocumentFragment | undefined;
}

function make(tex: string, display: boolean): DocumentFragment | undefined {
  let markup;
  try {
    markup = katex.renderToString(tex, {
      output: "mathml",
      displayMode: display,
      throwOnError: true,
      strict: "ignore",
      trust: false,
      maxSize: 20,
      maxExpand: 300,
    });
  } catch {
    return undefined;
  }
  // KaTeX writes quotes in text as entities, so this is an attribute wherever it stands: the policy
  // would complain of it.
  const fragment = DOMPurify.sanitize(markup.replace(/ style="[^"]*"/g, ""), {
    USE_PROFILES: { mathMl: true },
    // MathML Core has no menclose and browsers leave its lines out; classes draw them.
    ADD_TAGS: ["menclose"],
    ADD_ATTR: ["notation"],
    FORBID_ATTR: ["style", "href", "id", "class"],
    ADD_FORBID_CONTENTS: ["annotation"],
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
  });
  for (const enclosed of fragment.querySelectorAll("menclose")) {
    const row = enclosed.ownerDocument.createElementNS(enclosed.namespaceURI, "mrow");
    const notation = enclosed.getAttribute("notation") ?? "";
    row.setAttribute("class", `enclose ${/box/.test(notation) || notation === "" ? "box" : "struck"}`);
    row.append(...enclosed.childNodes);
    enclosed.replaceWith(row);
  }
  return fragment;
}
