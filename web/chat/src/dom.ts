/** Small helpers for the document. */

/** The element of that id, which index.html has. */
export function byId<T extends HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no element #${id}`);
  return element as T;
}

/** A new element with properties and children. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Tells a screen reader; not more often than something worth hearing happens. */
export function announce(text: string): void {
  byId("announcer").textContent = text;
}

/** Bytes as people write them. */
export function megabytes(bytes: number): string {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(2)} GB`;
  return bytes >= 1e8 ? `${Math.round(bytes / 1e6)} MB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/** A number of parameters as people write it. */
export function millions(count: number): string {
  return count >= 1e9 ? `${(count / 1e9).toFixed(1)} B` : `${Math.round(count / 1e6)} M`;
}

/** A button that copies text and says so for a moment. */
export function copyButton(label: string, text: () => string): HTMLButtonElement {
  const button = make("button", { type: "button", className: "small", textContent: label });
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text());
      button.textContent = "Copied";
      announce("Copied");
    } catch {
      button.textContent = "The browser did not allow it";
    }
    setTimeout(() => (button.textContent = label), 1600);
  });
  return button;
}

/** Says that something happened, with something to do about it; goes by itself. */
export function toast(text: string, action?: { label: string; go: () => void }): void {
  const box = byId("toast");
  const said = make("span", { textContent: text });
  box.replaceChildren(said);
  if (action) {
    const button = make("button", { type: "button", className: "small", textContent: action.label });
    button.addEventListener("click", () => {
      box.hidden = true;
      action.go();
    });
    box.append(button);
  }
  box.hidden = false;
  announce(text);
  setTimeout(() => box.firstChild === said && (box.hidden = true), 10_000);
}
