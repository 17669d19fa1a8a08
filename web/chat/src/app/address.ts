/** Every chat has an address of its own: the part after `#`. */

/** The chat of an address; null: a new one. */
export function chatOfAddress(hash: string): string | null {
  const match = /^#\/chat\/([\w-]+)$/.exec(hash);
  if (match) return match[1] as string;
  const coded = /^#\/chat\/(.+)$/.exec(hash)?.[1];
  if (coded === undefined) return null;
  try {
    return decodeURIComponent(coded);
  } catch {
    return null;
  }
}

/** The address of a chat. */
export const addressOf = (chat: string | null): string => (chat === null ? "#/" : `#/chat/${encodeURIComponent(chat)}`);

/** Texts of which none stands there twice. */
export const joinedTexts = (parts: readonly string[]): string => [...new Set(parts.map((part) => part.trim()))].filter(Boolean).join("\n");

/** What this part of an address says is waiting: another app has shared it. */
export const sharedId = (search: string): string | null => new URLSearchParams(search).get("shared");

/**
 * What the address brings along: a link, or an app that shared with an earlier version of this
 * page, says it so.
 */
export function sharedText(search: string): string {
  const params = new URLSearchParams(search);
  return joinedTexts(["title", "text", "url"].map((name) => params.get(name) ?? ""));
}
