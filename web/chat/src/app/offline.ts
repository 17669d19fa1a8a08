/**
 * The service worker keeps the page for visits without a network; a newer version is offered, never
 * forced.
 */

import { t } from "../i18n/index.js";
import { tell } from "./notices.js";

/** Registers it. */
export async function keepOffline(): Promise<void> {
  // Not there in private windows, nor without https; the page works without.
  const registration = await navigator.serviceWorker?.register("./sw.js").catch(() => undefined);
  if (!registration) return;
  const offer = (worker: ServiceWorker) => {
    const reload = () => {
      navigator.serviceWorker.addEventListener("controllerchange", () => location.reload());
      worker.postMessage("take over");
    };
    tell(t("app.newer"), { stays: true, action: { label: t("app.reload"), go: reload } });
  };
  if (registration.waiting && navigator.serviceWorker.controller) offer(registration.waiting);
  registration.addEventListener("updatefound", () => {
    const worker = registration.installing;
    worker?.addEventListener("statechange", () => {
      // The very first one replaces nothing.
      if (worker.state === "installed" && navigator.serviceWorker.controller) offer(worker);
    });
  });
}
