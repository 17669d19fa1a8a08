/** Named and numbered characters such as &eacute; and &#8364;. */

const ENTITY = /&(?:#\d{1,7}|#x[\da-f]{1,6}|[a-z][\da-z]{1,31});/gi;
const known = new Map<string, string>();
let decoder: HTMLTextAreaElement | undefined;

/**
 * A text with its entities as characters. The browser knows them all; a text area holds text only,
 * whatever is put in.
 */
export function decode(text: string): string {
  if (!text.includes("&")) return text;
  return text.replace(ENTITY, (entity) => {
    let character = known.get(entity);
    if (character === undefined) {
      decoder ??= document.implementation.createHTMLDocument("").createElement("textarea");
      decoder.innerHTML = entity;
      character = decoder.value;
      known.set(entity, character);
    }
    return character;
  });
}
