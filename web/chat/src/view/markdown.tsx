/** An answer as it is read. */

import { useLayoutEffect, useRef } from "preact/hooks";
import { language, t } from "../i18n/index.js";
import { render, type CodeBlock } from "../text/index.js";
import { copy } from "./parts.js";

/** What stands in the head of a code block. */
function copyButton({ text }: CodeBlock): HTMLElement {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "small", textContent: t("talk.copyCode") });
  button.addEventListener("click", async () => {
    button.textContent = t((await copy(text())) ? "app.copied" : "app.copyRefused");
    setTimeout(() => (button.textContent = t("talk.copyCode")), 1600);
  });
  return button;
}

/**
 * Markdown as it is read; `live` while it still comes: then it is drawn at most once a frame,
 * however fast that is.
 */
export function Markdown({ text, live }: { text: string; live: boolean }) {
  const body = useRef<HTMLDivElement>(null);
  const frame = useRef(0);
  const latest = useRef({ text, live });
  latest.current = { text, live };
  const spoken = language.value;
  useLayoutEffect(() => {
    const draw = () => {
      frame.current = 0;
      const { text, live } = latest.current;
      const labels = { done: t("text.done"), open: t("text.open"), table: t("text.table"), code: t("text.code"), footnote: t("text.footnote") };
      if (body.current) render(text, body.current, { streaming: live, labels, codeActions: copyButton });
    };
    if (live) frame.current ||= requestAnimationFrame(draw);
    else {
      cancelAnimationFrame(frame.current);
      draw();
    }
  }, [text, live, spoken]);
  useLayoutEffect(() => () => cancelAnimationFrame(frame.current), []);
  return <div class="body prose" ref={body} />;
}
