/** What a model needs on the GPU, in words, and whether that is allowed. */

import { useSignal } from "@preact/signals";
import { longestContext, type ModelShape } from "peregrine";
import { useEffect, useRef } from "preact/hooks";
import { useApp } from "../app/app.js";
import { asOurs, titleOf } from "../app/faults.js";
import { budgetOf, readNeed, type Need } from "../app/footprint.js";
import type { Settings } from "../app/settings.js";
import { bytes, number, t } from "../i18n/index.js";

/** What is needed when a conversation begins, and when it is as long as it may be. */
export const needWords = ({ first, full, tokens }: Need): string => t("models.needs", { first: bytes(first), full: bytes(full), tokens: number(tokens) });

/**
 * Whether it fits what the person allows; nothing where there is no limit: of a GPU's memory
 * browsers say nothing.
 */
export function verdictOf(shape: ModelShape | undefined, { first, full }: Need, settings: Settings): string {
  const limit = budgetOf(settings);
  if (limit === null) return "";
  if (full <= limit) return t("models.fits");
  if (first > limit) return t("models.fitsNot", { limit: bytes(limit) });
  if (!shape) return t("models.fitsShorter");
  return t("models.fitsUpTo", { tokens: number(longestContext(shape, limit, settings.kvType)) });
}

/**
 * Reads a file's header before the file, and tells what it says: at once, or when it is asked for.
 */
export function HeaderCheck({ model, begin }: { model: string; begin: boolean }) {
  const { settings } = useApp();
  const busy = useSignal(false);
  const found = useSignal<(Need & { bytes: number }) | undefined>(undefined);
  const problem = useSignal("");
  const abort = useRef<AbortController | undefined>(undefined);
  const read = async () => {
    if (busy.value) return;
    busy.value = true;
    problem.value = "";
    const { signal } = (abort.current = new AbortController());
    try {
      found.value = await readNeed(model, settings.value, signal);
    } catch (error) {
      if (!signal.aborted) problem.value = t("models.headerFailed", { why: titleOf(asOurs(error), "load") });
    } finally {
      busy.value = false;
    }
  };
  useEffect(() => {
    if (begin) void read();
    return () => abort.current?.abort();
  }, []);
  const { value: header } = found;
  const size = header && header.bytes > 0 ? t("models.toDownload", { size: bytes(header.bytes) }) : "";
  const words = header ? [size, needWords(header), verdictOf(undefined, header, settings.value)].filter(Boolean).join(" · ") : "";
  return (
    <div class="header-check">
      {!busy.value && !header && (
        <button type="button" class="plain" onClick={() => void read()}>
          {t("models.readHeader")}
        </button>
      )}
      <p class="help" role="status">
        {busy.value ? t("models.readingHeader") : header ? t("models.headerSays", { words }) : problem.value}
      </p>
    </div>
  );
}
