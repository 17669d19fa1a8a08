/**
 * An open menu. The keys are a library's, @primer/behaviors: arrows, Home and End go round, and one
 * line at a time can be tabbed to.
 */

import "../dialogs.css";
import { FocusKeys, focusZone } from "@primer/behaviors";
import type { RefObject } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import type { MenuItem } from "./parts.js";

export interface OpenMenuProps {
  label: string;
  items: () => MenuItem[];
  /** What it hangs from. */
  button: RefObject<HTMLElement | null>;
  /** Ends it; whether the focus goes back to the button. */
  close: (focus: boolean) => void;
}

const linesOf = (menu: HTMLElement) => [...menu.querySelectorAll<HTMLElement>("[role=menuitem]")];

/** Puts it under the button, or over it, within the window. */
function place(menu: HTMLElement, by: HTMLElement): void {
  const { left, right, top, bottom } = by.getBoundingClientRect();
  const { offsetWidth, offsetHeight } = menu;
  const start = document.documentElement.dir === "rtl" ? left : right - offsetWidth;
  menu.style.left = `${Math.max(4, Math.min(start, innerWidth - offsetWidth - 4))}px`;
  menu.style.top = `${Math.max(4, bottom + offsetHeight > innerHeight - 4 ? top - offsetHeight : bottom)}px`;
}

export function OpenMenu({ label, items, button, close }: OpenMenuProps) {
  const list = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const [menu, by] = [list.current, button.current];
    if (!menu || !by) return;
    menu.showPopover();
    place(menu, by);
    const keys = focusZone(menu, { bindKeys: FocusKeys.ArrowVertical | FocusKeys.HomeAndEnd, focusOutBehavior: "wrap" });
    linesOf(menu)[0]?.focus();
    return () => keys.abort();
  }, []);
  const end = (focus: boolean) => {
    if (list.current?.matches(":popover-open")) list.current.hidePopover();
    close(focus);
  };
  /**
   * What the library has not: Escape, Tab, and letters, which go to the next line that begins so.
   */
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Tab") return end(true);
    const all = linesOf(event.currentTarget as HTMLElement);
    if (event.key === "Escape") end(true);
    else if (event.key.length === 1 && event.key !== " " && !event.ctrlKey && !event.metaKey) {
      const letter = event.key.toLocaleLowerCase();
      const at = all.indexOf(document.activeElement as HTMLElement);
      const order = [...all.slice(at + 1), ...all.slice(0, at + 1)];
      order.find((line) => line.textContent?.toLocaleLowerCase().startsWith(letter))?.focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <div class="menu" role="menu" popover="auto" aria-label={label} ref={list} onKeyDown={onKeyDown} onToggle={(event) => event.newState === "closed" && event.currentTarget === list.current && close(false)}>
      {items().map(({ label, go, danger }) => (
        <button
          key={label}
          type="button"
          role="menuitem"
          class={danger ? "danger" : undefined}
          onClick={() => {
            end(true);
            go();
          }}
        >
          {label}
        </button>
      ))}
    </div>
  );
}
