/**
 * The text of a page from where its pieces stand: columns one after another, lines, paragraphs,
 * cells of a row apart.
 */

/**
 * A piece of text on a page. Places are in points from the top left, `y` is the line that letters
 * stand on.
 */
export interface Piece {
  readonly text: string;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  /** Of the letters. */
  readonly size: number;
  /** Whether the file says that a line ends with it. */
  readonly ends: boolean;
  /** Neither turned nor set from top to bottom. */
  readonly upright: boolean;
}

/** Pieces of one line that stand together. */
interface Run {
  readonly text: string;
  readonly x: number;
  readonly right: number;
  readonly y: number;
  readonly size: number;
}

const RTL = /[\p{Script=Arabic}\p{Script=Hebrew}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}]/u;
const WIDE = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\u3000-\u303F\uFF00-\uFFEF]/u;
const BULLET = /^(?:[•◦▪‣·*–—-]|\(?\p{L}?\d{0,3}[.)])\s/u;

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;

/** The text of one page. */
export function textOfPage(pieces: readonly Piece[]): string {
  const upright = withoutDoubles(pieces.filter((piece) => piece.upright));
  const blocks = columns(runsOf(upright)).map(textOfBlock);
  const turned = inOrder(pieces.filter((piece) => !piece.upright));
  return joinBlocks([...blocks, turned].filter((text) => text !== ""));
}

/** Bold letters are at times the same letters twice, a hair apart. */
function withoutDoubles(pieces: readonly Piece[]): Piece[] {
  const seen = new Set<string>();
  const near = [-1, 0, 1].flatMap((dx) => [-1, 0, 1].map((dy) => [dx, dy] as const));
  return pieces.filter((piece) => {
    if (piece.text.trim() === "") return true;
    const step = piece.size * 0.12;
    const [x, y] = [Math.round(piece.x / step), Math.round(piece.y / step)];
    const key = (dx: number, dy: number) => `${x + dx} ${y + dy} ${piece.text}`;
    if (near.some(([dx, dy]) => seen.has(key(dx, dy)))) return false;
    seen.add(key(0, 0));
    return true;
  });
}

/** Turned and vertical text, as the file has it. */
function inOrder(pieces: readonly Piece[]): string {
  return pieces
    .map((piece) => piece.text + (piece.ends ? "\n" : ""))
    .join("")
    .trim();
}

/** Lines of things that stand at about the same height, from the top. */
function linesOf<T extends { x: number; y: number; size: number }>(things: readonly T[]): T[][] {
  const lines: { y: number; size: number; things: T[] }[] = [];
  for (const thing of [...things].sort((a, b) => a.y - b.y || a.x - b.x)) {
    // Raised and lowered letters are smaller and stand a little off; they may come before the line
    // that they belong to.
    const line = lines.slice(-3).find((one) => {
      const small = Math.min(one.size, thing.size) < 0.85 * Math.max(one.size, thing.size);
      return Math.abs(thing.y - one.y) <= (small ? 0.5 : 0.3) * Math.max(one.size, thing.size);
    });
    if (!line) {
      lines.push({ y: thing.y, size: thing.size, things: [thing] });
      continue;
    }
    line.things.push(thing);
    if (thing.size > line.size) {
      line.size = thing.size;
      line.y = thing.y;
    }
  }
  return lines.map((line) => line.things.sort((a, b) => a.x - b.x));
}

function runsOf(pieces: readonly Piece[]): Run[] {
  const runs: Run[] = [];
  for (const line of linesOf(pieces.filter((piece) => piece.text.trim() !== ""))) {
    let group: Piece[] = [];
    const close = () => {
      if (group.length > 0) runs.push(runOf(group));
      group = [];
    };
    for (const piece of line) {
      const before = group.at(-1);
      if (before && piece.x - (before.x + before.width) > Math.max(before.size, piece.size)) close();
      group.push(piece);
    }
    close();
  }
  return runs;
}

const isRtl = (text: string) => (text.match(new RegExp(RTL, "gu"))?.length ?? 0) > (text.match(/\p{Script=Latin}/gu)?.length ?? 0);

function runOf(group: readonly Piece[]): Run {
  const rtl = isRtl(group.map((piece) => piece.text).join(""));
  const ordered = rtl ? [...group].reverse() : group;
  let text = "";
  ordered.forEach((piece, i) => {
    const before = ordered[i - 1];
    if (before) {
      const gap = rtl ? before.x - (piece.x + piece.width) : piece.x - (before.x + before.width);
      const wide = WIDE.test(text.at(-1) ?? "") || WIDE.test(piece.text[0] ?? "");
      if (gap > (wide ? 0.6 : 0.17) * Math.min(before.size, piece.size) && !/\s$/.test(text) && !/^\s/.test(piece.text)) text += " ";
    }
    text += piece.text;
  });
  const size = Math.max(...group.map((piece) => piece.size));
  return {
    text: text.replace(/[ \t\u00A0]+/g, " ").trim(),
    x: Math.min(...group.map((piece) => piece.x)),
    right: Math.max(...group.map((piece) => piece.x + piece.width)),
    y: group.find((piece) => piece.size === size)?.y ?? 0,
    size,
  };
}

/**
 * Blocks in the order they are read: what spans the page, then its columns from the side where
 * reading begins.
 */
function columns(runs: readonly Run[]): Run[][] {
  const gutter = gutterOf(runs);
  if (gutter === undefined) return runs.length > 0 ? [[...runs]] : [];
  const rtl = isRtl(runs.map((run) => run.text).join(""));
  const spans = (run: Run) => run.x < gutter && run.right > gutter;
  const blocks: Run[][] = [];
  let band: Run[] = [];
  let across: Run[] = [];
  const closeBand = () => {
    const [above, columned, below] = withoutTables(band, gutter);
    if (above.length > 0) blocks.push(above);
    const sides = [columned.filter((run) => run.right <= gutter), columned.filter((run) => run.x >= gutter)];
    if (rtl) sides.reverse();
    for (const side of sides) blocks.push(...columns(side));
    if (below.length > 0) blocks.push(below);
    band = [];
  };
  const closeAcross = () => {
    if (across.length > 0) blocks.push(across);
    across = [];
  };
  for (const line of linesOf(runs)) {
    if (line.some(spans)) {
      closeBand();
      across.push(...line);
    } else {
      closeAcross();
      band.push(...line);
    }
  }
  closeBand();
  closeAcross();
  return blocks;
}

/** Tables over and under two columns, whose rows go across without a piece that does. */
function withoutTables(band: readonly Run[], gutter: number): [Run[], Run[], Run[]] {
  const lines = linesOf(band);
  const left = Math.min(...band.map((run) => run.x));
  const right = Math.max(...band.map((run) => run.right));
  const isNarrow = (run: Run) => run.right - run.x < 0.5 * (run.right <= gutter ? gutter - left : right - gutter);
  const onBoth = (line: readonly Run[]) => line.some((run) => run.right <= gutter) && line.some((run) => run.x >= gutter);
  const start = rowsAt(lines);
  const end = lines.length - rowsAt(lines.slice(start).reverse());
  return [lines.slice(0, start).flat(), lines.slice(start, end).flat(), lines.slice(end).flat()];

  /**
   * How many of these lines are a table with what stands beyond it; a gap parts it from the
   * columns.
   */
  function rowsAt(from: readonly Run[][]): number {
    const heights = from.map((line) => line[0]?.y ?? 0);
    const steps = heights.slice(1).map((y, k) => Math.abs(y - (heights[k] ?? 0)));
    const usual = median(steps);
    let rows = 0;
    let taken = 0;
    for (let at = 0; at < from.length;) {
      let next = at + 1;
      while (next < from.length && (steps[next - 1] ?? 0) <= 1.35 * usual) next++;
      const group = from.slice(at, next);
      const isTable = group.every((line) => onBoth(line) && line.every(isNarrow));
      if (isTable) {
        rows += group.length;
        taken = next;
      } else if (group.length > 2 || group.some(onBoth)) break;
      at = next;
    }
    // One such line may be the short last lines of two paragraphs.
    return rows < 2 ? 0 : taken;
  }
}

/**
 * Where the gap between two columns of prose is; a table's columns are narrow, and its rows are
 * read across.
 */
function gutterOf(runs: readonly Run[]): number | undefined {
  if (runs.length < 8) return undefined;
  const size = median(runs.map((run) => run.size));
  const left = Math.min(...runs.map((run) => run.x));
  const right = Math.max(...runs.map((run) => run.right));
  let best: { at: number; crossing: number; gap: number } | undefined;
  // Edges that are nearly the same are one: a page of many thousand pieces has no more places than
  // others.
  const edges = new Map<number, number>();
  for (const { right: edge } of runs) {
    const place = Math.floor((2 * edge) / size);
    edges.set(place, Math.max(edge, edges.get(place) ?? edge));
  }
  for (const edge of edges.values()) {
    if (edge < left + 8 * size || edge > right - 8 * size) continue;
    const before = runs.filter((run) => run.right <= edge);
    const after = runs.filter((run) => run.x > edge);
    const start = after.length > 0 ? Math.min(...after.map((run) => run.x)) : edge;
    const gap = start - edge;
    const crossing = runs.length - before.length - after.length;
    if (gap < 0.8 * size || crossing > 0.3 * runs.length || before.length < 4 || after.length < 4) continue;
    const fills = (side: readonly Run[], width: number) => {
      const usual = median(side.map((run) => run.right - run.x));
      return usual >= 0.5 * width && usual >= 8 * size;
    };
    if (!fills(before, edge - left) || !fills(after, right - start) || !besides(before, after)) continue;
    if (!best || crossing < best.crossing || (crossing === best.crossing && gap > best.gap)) best = { at: edge + gap / 2, crossing, gap };
  }
  return best?.at;
}

/** Whether two groups stand beside one another for a good part of their height. */
function besides(one: readonly Run[], other: readonly Run[]): boolean {
  const heights = [one, other].map((runs) => [Math.min(...runs.map((run) => run.y)), Math.max(...runs.map((run) => run.y))] as const);
  const [a, b] = heights as [readonly [number, number], readonly [number, number]];
  return Math.min(a[1], b[1]) - Math.max(a[0], b[0]) >= 0.3 * Math.min(a[1] - a[0], b[1] - b[0]);
}

/**
 * Whether a line was set with wide spaces to fill its column: they are all the same, which a
 * table's are not.
 */
function isStretched(line: readonly Run[]): boolean {
  const gaps = line.slice(1).map((run, i) => run.x - (line[i]?.right ?? 0));
  return line.length > 2 && Math.max(...gaps) < 1.3 * Math.min(...gaps) && Math.max(...gaps) < 4 * (line[0]?.size ?? 1);
}

function textOfBlock(runs: readonly Run[]): string {
  const lines = linesOf(runs).map((line) => {
    const rtl = isRtl(line.map((run) => run.text).join(""));
    const ordered = rtl ? [...line].reverse() : line;
    const text = ordered.map((run) => run.text).join(isStretched(line) ? " " : "\t");
    return { text, x: line[0]?.x ?? 0, y: Math.max(...line.map((run) => run.y)), size: Math.max(...line.map((run) => run.size)) };
  });
  const steps = lines.slice(1).map((line, i) => line.y - (lines[i]?.y ?? 0));
  const usual = median(steps.filter((step, i) => step < 3 * (lines[i]?.size ?? 0)));
  const left = median(lines.map((line) => line.x));
  let out = lines[0]?.text ?? "";
  for (let i = 1; i < lines.length; i++) {
    const [before, line, after] = [lines[i - 1], lines[i], lines[i + 1]];
    if (!before || !line) continue;
    const step = line.y - before.y;
    // Among few lines there is no usual distance; a page may be set with wide ones.
    const apart =
      step > Math.max(steps.length < 4 ? Math.min(1.35 * usual, 1.6 * line.size) : 1.35 * usual, 1.25 * line.size) ||
      Math.abs(line.size - before.size) > 0.15 * before.size;
    const indented = line.x - left > 0.8 * line.size && line.x - left < 4 * line.size && before.x - left < 0.5 * line.size;
    const begins = indented && !BULLET.test(before.text) && after !== undefined && after.x - left < 0.5 * line.size;
    // A hyphen that was put in only because the line ends there.
    if (out.endsWith("\u00AD")) out = out.slice(0, -1) + line.text;
    else out += (apart || begins ? "\n\n" : "\n") + line.text;
  }
  return out;
}

/** A sentence goes on from one column to the next without a paragraph's end. */
function joinBlocks(blocks: readonly string[]): string {
  let out = "";
  for (const block of blocks) {
    const goesOn = /[\p{Ll},;-]$/u.test(out) && /^\p{Ll}/u.test(block);
    out += (out === "" ? "" : goesOn ? "\n" : "\n\n") + block;
  }
  return out;
}
