/** A document for tests, and the sources as they are, without a build. */

import { fileURLToPath } from "node:url";
import { JSDOM } from "jsdom";
import { runnerImport } from "vite";

/** Gives the global scope what a page has of a document. Scripts that got into it would run. */
export function browser() {
  const { window } = new JSDOM("<!doctype html><html><body></body></html>", { runScripts: "dangerously", pretendToBeVisual: true, url: "https://page.example/" });
  for (const name of ["window", "document", "Node", "NodeFilter", "Element", "HTMLElement", "DocumentFragment", "DOMParser", "XMLSerializer"]) globalThis[name] = window[name] ?? window;
  return window;
}

/** A module of web/chat/src. */
export async function load(path) {
  const { module } = await runnerImport(fileURLToPath(new URL(`../src/${path}`, import.meta.url)), { logLevel: "silent" });
  return module;
}
