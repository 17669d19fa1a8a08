/**
 * The page: loads a model, and lets a person talk with it. It uses only the public API of the
 * package `peregrine`.
 */

import { effect } from "@preact/signals";
import { render } from "preact";
import { App } from "./app/app.js";
import { keepOffline } from "./app/offline.js";
import { loadParts } from "./view/later.js";
import { Root } from "./view/page.js";

const app = new App();
render(<Root app={app} />, document.getElementById("app") as HTMLElement);
app.begin();
loadParts();

// Later than what this visit needs itself.
if (import.meta.env.PROD) {
  const stop = effect(() => {
    if (!app.models.engine.value) return;
    queueMicrotask(() => stop());
    void keepOffline();
  });
}
