/** Words of a text for searching, in languages with and without spaces between them. */

const WIDE = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]/u;
const segmenter = new Intl.Segmenter(undefined, { granularity: "word" });

/**
 * One form for the ways to write a word: case, width, accents and marks that are often left out.
 */
export function fold(word: string): string {
  return word
    .normalize("NFKD")
    .replace(/[\p{Mn}\u0640]/gu, "")
    .normalize("NFKC")
    .toLocaleLowerCase("en");
}

/** The words of a text, folded. */
export function words(text: string): string[] {
  // A word that was broken at a line's end is one word.
  const whole = text.replace(/(\p{L})[-\u2010]\n(\p{Ll})/gu, "$1$2");
  const found: string[] = [];
  let wide = "";
  const pairs = () => {
    // Where words begin in Chinese and Japanese depends on what is around them; pairs of characters
    // do not.
    const characters = [...wide];
    for (let i = 0; i + 1 < characters.length; i++) found.push(`${characters[i]}${characters[i + 1]}`);
    wide = "";
  };
  for (const { segment, isWordLike } of segmenter.segment(whole)) {
    if (!isWordLike) {
      pairs();
      continue;
    }
    const word = fold(segment);
    if (WIDE.test(word)) wide += word;
    else pairs();
    if (word !== "") found.push(word);
  }
  pairs();
  return found;
}
