/**
 * What an answer shall look like, as plain values, and how a document is brought there with as few
 * changes as can be. Nothing here parses HTML: an element is made by its name and text is set as
 * text, so a model's words cannot become markup.
 */

/** Something that is drawn as its source at once, and better when a library has come. */
export type Late =
  | { readonly kind: "code"; readonly text: string; readonly language: string; readonly closed: boolean }
  | { readonly kind: "math"; readonly tex: string; readonly display: boolean; readonly source: string };

export interface Drawn {
  readonly tag: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: readonly Child[];
  readonly late?: Late;
  /** The caller's own nodes are put in when the element is made, and are never looked at again. */
  readonly slot?: "code-actions";
}
export type Child = string | Drawn;

/** Told about elements that need more than their attributes and children. */
export interface Hooks {
  late(element: HTMLElement, late: Late): void;
  slot(element: HTMLElement): void;
}

/** An element; neighboring texts become one, as the document would have it. */
export function element(
  tag: string,
  attributes: Record<string, string>,
  children: readonly Child[] = [],
  more: Pick<Drawn, "late" | "slot"> = {},
): Drawn {
  const merged: Child[] = [];
  for (const child of children) {
    const before = merged.at(-1);
    if (typeof child === "string" && typeof before === "string") merged[merged.length - 1] = before + child;
    else if (child !== "") merged.push(child);
  }
  return { tag, attributes, children: merged, ...more };
}

const sourceOf = (late: Late) => (late.kind === "code" ? late.text : late.source);

function create(child: Child, document: Document, hooks: Hooks): Node {
  if (typeof child === "string") return document.createTextNode(child);
  const made = document.createElement(child.tag);
  for (const [name, value] of Object.entries(child.attributes)) made.setAttribute(name, value);
  if (child.late) {
    made.textContent = sourceOf(child.late);
    hooks.late(made, child.late);
  } else {
    for (const inner of child.children) made.append(create(inner, document, hooks));
  }
  if (child.slot) hooks.slot(made);
  return made;
}

/** Changes only the part of a text that differs: a selection before and behind it stays. */
export function changeText(node: Text, text: string): void {
  const old = node.data;
  if (old === text) return;
  let start = 0;
  const shorter = Math.min(old.length, text.length);
  while (start < shorter && old.charCodeAt(start) === text.charCodeAt(start)) start++;
  let end = 0;
  while (end < shorter - start && old.charCodeAt(old.length - 1 - end) === text.charCodeAt(text.length - 1 - end)) end++;
  node.replaceData(start, old.length - start - end, text.slice(start, text.length - end));
}

function changeAttributes(target: HTMLElement, old: Drawn, next: Drawn): void {
  for (const name of Object.keys(old.attributes)) if (!(name in next.attributes)) target.removeAttribute(name);
  for (const [name, value] of Object.entries(next.attributes)) if (old.attributes[name] !== value) target.setAttribute(name, value);
}

function changeLate(target: HTMLElement, old: Late, next: Late, hooks: Hooks): void {
  const text = sourceOf(next);
  const only = target.childNodes.length === 1 ? target.firstChild : null;
  if (sourceOf(old) !== text) {
    if (old.kind === "code" && only?.nodeType === 3) changeText(only as Text, text);
    else target.textContent = text;
  }
  hooks.late(target, next);
}

const sameLate = (a: Late, b: Late) =>
  sourceOf(a) === sourceOf(b) &&
  (a.kind === "code"
    ? b.kind === "code" && a.closed === b.closed && a.language === b.language
    : b.kind === "math" && a.display === b.display);

/**
 * Brings the children of `parent` from `old` to `next`. `old` is what the last call was given as
 * `next`.
 */
export function patch(parent: HTMLElement, old: readonly Child[], next: readonly Child[], hooks: Hooks): void {
  if (old === next) return;
  const document = parent.ownerDocument;
  // Blocks are nearly always added or changed at the end, so children are compared by their place.
  let node = parent.firstChild;
  for (let i = 0; i < next.length; i++) {
    const was = old[i];
    const child = next[i] as Child;
    if (was === undefined || node === null) {
      parent.append(create(child, document, hooks));
      continue;
    }
    const following: ChildNode | null = node.nextSibling;
    if (was !== child) patchNode(node, was, child, document, hooks);
    node = following;
  }
  while (node) {
    const following: ChildNode | null = node.nextSibling;
    node.remove();
    node = following;
  }
}

function patchNode(node: ChildNode, was: Child, child: Child, document: Document, hooks: Hooks): void {
  if (typeof was === "string" && typeof child === "string") return changeText(node as Text, child);
  const alike =
    typeof was !== "string" &&
    typeof child !== "string" &&
    was.tag === child.tag &&
    was.late?.kind === child.late?.kind &&
    was.slot === child.slot;
  if (!alike) return node.replaceWith(create(child, document, hooks));
  const target = node as HTMLElement;
  changeAttributes(target, was, child);
  if (was.late && child.late) {
    if (!sameLate(was.late, child.late)) changeLate(target, was.late, child.late, hooks);
  } else if (!child.slot) {
    patch(target, was.children, child.children, hooks);
  }
}
