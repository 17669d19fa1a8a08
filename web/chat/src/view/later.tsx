/**
 * Parts of the page that are not needed to read and write: they come when the page has nothing else
 * to do, or when they are first used.
 */

import { signal } from "@preact/signals";
import type { ComponentType } from "preact";
import { useEffect } from "preact/hooks";
import { t } from "../i18n/index.js";

const parts: (() => Promise<void>)[] = [];

/** A part that is loaded later. */
export type Later<P> = ComponentType<P> & { load: () => Promise<void> };

/**
 * Until the part is here nothing stands in its place; where it cannot be had that is told, and
 * tried again when it is used again.
 */
export function later<P extends object>(get: () => Promise<ComponentType<P>>): Later<P> {
  const part = signal<ComponentType<P> | undefined>(undefined);
  const failed = signal(false);
  const load = async () => {
    if (part.value) return;
    failed.value = false;
    try {
      part.value = await get();
    } catch {
      failed.value = true;
    }
  };
  parts.push(load);
  const Part = (props: P) => {
    useEffect(() => void load(), []);
    const { value: There } = part;
    if (There) return <There {...props} />;
    return failed.value ? (
      <p class="help" role="alert">
        {t("app.partMissing")}
      </p>
    ) : null;
  };
  return Object.assign(Part, { load });
}

/** Loads them all, one after the other, when there is time. */
export function loadParts(): void {
  const idle = globalThis.requestIdleCallback ?? ((act: () => void) => setTimeout(act, 500));
  const [next, ...rest] = parts.splice(0);
  if (!next) return;
  parts.push(...rest);
  idle(() => void next().then(loadParts));
}
