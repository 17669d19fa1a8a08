/** Small parts that are used everywhere: dialogs, menus, copy buttons. */

import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { t } from "../i18n/index.js";
import { announce } from "../app/notices.js";
import { useApp, type DialogName } from "../app/app.js";
import { Icon } from "./icons.js";
import { later } from "./later.js";

/**
 * Whether an input method composes a character: then Enter chooses it. Safari ends that before it
 * tells of the key.
 */
export const composes = (event: KeyboardEvent): boolean => event.isComposing || event.keyCode === 229;

/**
 * A dialog over the page; Escape and a click beside it close it, and the focus goes back to where
 * it was.
 */
export function Dialog({ name, title, close, children }: { name: DialogName; title: string; close: string; children: ComponentChildren }) {
  const { dialog } = useApp();
  const element = useRef<HTMLDialogElement>(null);
  const open = dialog.value === name;
  // Who selects text in the dialog and lets go beside it has not clicked there.
  const beside = useRef(false);
  // Before anything else happens: the next key goes to what is open.
  useLayoutEffect(() => {
    const { current } = element;
    if (open && !current?.open) current?.showModal();
    if (!open && current?.open) current.close();
  }, [open]);
  return (
    <dialog
      id={name}
      ref={element}
      aria-labelledby={`${name}-title`}
      onClose={() => dialog.value === name && (dialog.value = undefined)}
      onPointerDown={(event) => (beside.current = event.target === element.current)}
      onClick={(event) => event.target === element.current && beside.current && element.current?.close()}
    >
      <div class="sheet">
        <div class="dialog-head">
          <h2 id={`${name}-title`} tabIndex={-1}>
            {title}
          </h2>
          <button type="button" class="icon" aria-label={close} onClick={() => element.current?.close()}>
            <Icon name="close" />
          </button>
        </div>
        {open && children}
      </div>
    </dialog>
  );
}

/** One line of a menu. */
export interface MenuItem {
  label: string;
  go: () => void;
  danger?: boolean;
}

const OpenMenu = later(async () => (await import("./menu.js")).OpenMenu);

/** A button with a menu, whose code comes when somebody is near it. */
export function Menu({ label, items }: { label: string; items: () => MenuItem[] }) {
  const open = useSignal(false);
  const button = useRef<HTMLButtonElement>(null);
  const close = (focus: boolean) => {
    open.value = false;
    if (focus) button.current?.focus();
  };
  return (
    <>
      <button
        type="button"
        class="more"
        ref={button}
        aria-label={label}
        aria-haspopup="menu"
        aria-expanded={open.value}
        onPointerEnter={() => void OpenMenu.load()}
        onFocus={() => void OpenMenu.load()}
        onClick={() => (open.value = !open.value)}
        onKeyDown={(event) => event.key === "ArrowDown" && (event.preventDefault(), (open.value = true))}
      >
        ⋯
      </button>
      {open.value && <OpenMenu label={label} items={items} button={button} close={close} />}
    </>
  );
}

/** Copies text; whether the browser let it. */
export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    announce(t("app.copied"));
    return true;
  } catch {
    return false;
  }
}

/** A button that copies text and says so for a moment. */
export function CopyButton({ label, text }: { label: string; text: () => string }) {
  const shown = useSignal<string | undefined>(undefined);
  const go = async () => {
    shown.value = t((await copy(text())) ? "app.copied" : "app.copyRefused");
    setTimeout(() => (shown.value = undefined), 1600);
  };
  return (
    <button type="button" class="small" onClick={() => void go()}>
      {shown.value ?? label}
    </button>
  );
}

/**
 * Where the focus goes when what had it is gone: to the message box, but on phones not, where a
 * keyboard would jump up.
 */
export function focusPage(): void {
  const touch = matchMedia("(hover: none)").matches;
  document.getElementById(touch ? "scroller" : "prompt")?.focus();
}
