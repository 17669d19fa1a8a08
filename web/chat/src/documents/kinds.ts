/** What a file is: by its first bytes, by its name, and by its text, in this order. */

import { DocumentError, type Kind } from "./types.js";

/** What can be read, for messages and for an input's `accept`. */
export const READABLE = "PDF, DOCX, HTML, Markdown, CSV, JSON, plain text and code";

/**
 * Endings, or whole names, to what they mean. A map: nobody's file is called like what every object
 * has.
 */
function table<To extends string>(list: Partial<Record<To, string>>): ReadonlyMap<string, To> {
  const entries = Object.entries(list) as [To, string][];
  return new Map(entries.flatMap(([to, names]) => names.split(" ").map((name) => [name, to] as const)));
}

const PROSE = table<Kind>({
  text: "txt text log srt vtt rst adoc org eml ics vcf",
  markdown: "md markdown mdx qmd rmd",
  html: "htm html xhtml",
  csv: "csv tsv",
  json: "json jsonl ndjson geojson ipynb",
});

const CODE = table<string>({
  javascript: "js mjs cjs jsx",
  typescript: "ts mts cts tsx",
  python: "py pyi",
  ruby: "rb",
  php: "php",
  perl: "pl pm",
  lua: "lua",
  r: "r",
  julia: "jl",
  matlab: "m",
  tcl: "tcl",
  c: "c h",
  cpp: "cc cpp cxx hpp hh cu",
  csharp: "cs",
  java: "java",
  kotlin: "kt kts",
  scala: "scala",
  groovy: "groovy gradle",
  go: "go",
  rust: "rs",
  zig: "zig",
  swift: "swift",
  dart: "dart",
  haskell: "hs",
  ocaml: "ml",
  fsharp: "fs",
  clojure: "clj",
  elixir: "ex exs",
  erlang: "erl",
  elm: "elm",
  nim: "nim",
  bash: "sh bash zsh",
  fish: "fish",
  powershell: "ps1",
  dos: "bat cmd",
  awk: "awk",
  vim: "vim",
  lisp: "el lisp",
  scheme: "scm",
  css: "css",
  scss: "scss",
  sass: "sass",
  less: "less",
  vue: "vue",
  svelte: "svelte",
  astro: "astro",
  xml: "svg xml xsd xsl rss plist",
  yaml: "yaml yml",
  toml: "toml",
  ini: "ini cfg conf env",
  properties: "properties",
  sql: "sql",
  graphql: "graphql",
  protobuf: "proto",
  latex: "tex bib sty",
  cmake: "cmake",
  makefile: "mk",
  nix: "nix",
  terraform: "tf",
  wgsl: "wgsl",
  glsl: "glsl",
  hlsl: "hlsl",
  asm: "asm s",
  diff: "diff patch",
});

const BY_NAME = table<string>({
  makefile: "makefile",
  dockerfile: "dockerfile",
  cmake: "cmakelists.txt",
  ruby: "gemfile rakefile",
  groovy: "jenkinsfile",
});

const SHELLS: [RegExp, string][] = [
  [/^#!.*\bpython/, "python"],
  [/^#!.*\b(?:ba|z|da|k)?sh\b/, "bash"],
  [/^#!.*\b(?:node|deno|bun)\b/, "javascript"],
  [/^#!.*\bperl/, "perl"],
  [/^#!.*\bruby/, "ruby"],
  [/^#!/, "shell"],
];

/** Endings of names that can be read, with dots, for an input's `accept`. */
export const EXTENSIONS: readonly string[] = ["pdf", "docx", ...PROSE.keys(), ...CODE.keys()].map((ending) => `.${ending}`);

export const extensionOf = (name: string) => /\.([^.\\/]+)$/.exec(name)?.[1]?.toLowerCase() ?? "";

const starts = (head: Uint8Array, magic: string, at = 0) => [...magic].every((character, i) => head[at + i] === character.charCodeAt(0));

/** Formats that hold no text for us, by how they begin. */
const OTHERS: [magic: string, at: number, what: string, hint: string][] = [
  ["\x89PNG", 0, "PNG picture", ""],
  ["\xFF\xD8\xFF", 0, "JPEG picture", ""],
  ["GIF8", 0, "GIF picture", ""],
  ["WEBP", 8, "WebP picture", ""],
  ["BM", 0, "BMP picture", ""],
  ["II*\0", 0, "TIFF picture", ""],
  ["MM\0*", 0, "TIFF picture", ""],
  ["ftypavif", 4, "AVIF picture", ""],
  ["ftypheic", 4, "HEIC picture", ""],
  ["ftyp", 4, "video or sound", ""],
  ["OggS", 0, "video or sound", ""],
  ["ID3", 0, "sound", ""],
  ["fLaC", 0, "sound", ""],
  ["RIFF", 0, "video or sound", ""],
  ["\x1A\x45\xDF\xA3", 0, "video", ""],
  ["{\\rtf", 0, "RTF file", "Save it as DOCX or PDF"],
  ["%!PS", 0, "PostScript file", "Save it as PDF"],
  ["\x1F\x8B", 0, "packed file", "Unpack it first"],
  ["7z\xBC\xAF", 0, "packed file", "Unpack it first"],
  ["Rar!", 0, "packed file", "Unpack it first"],
  ["BZh", 0, "packed file", "Unpack it first"],
  ["\x28\xB5\x2F\xFD", 0, "packed file", "Unpack it first"],
  ["SQLite format 3", 0, "database", "Export it as CSV"],
  ["\0asm", 0, "program", ""],
  ["\x7FELF", 0, "program", ""],
  ["MZ", 0, "program", ""],
  ["wOF2", 0, "font", ""],
];

export type Container = "pdf" | "zip" | "ole" | "gguf" | "text";

/** What the first bytes say; throws for what is known and has no text. */
export function containerOf(head: Uint8Array, name: string): Container {
  if (starts(head, "GGUF")) return "gguf";
  if (starts(head, "PK\x03\x04") || starts(head, "PK\x05\x06")) return "zip";
  if (starts(head, "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1")) return "ole";
  // Some programs write a few lines before the mark; the standard lets readers look in the first
  // 1,024 bytes.
  const mark = new TextDecoder("latin1").decode(head.subarray(0, 1024)).indexOf("%PDF-");
  if (mark === 0 || (mark > 0 && extensionOf(name) === "pdf")) return "pdf";
  for (const [magic, at, what, hint] of OTHERS) {
    // Two letters may also begin a text.
    if (starts(head, magic, at) && (magic.length > 2 || head.includes(0))) throw unsupported(name, what, hint);
  }
  return "text";
}

/** The error for a file that holds no text for us. */
export function unsupported(name: string, what: string, hint = ""): DocumentError {
  const article = /^(?:[aeio]|RTF)/i.test(what) ? "an" : "a";
  return new DocumentError(
    "unsupported",
    `"${name}" is ${article} ${what}, which cannot be read. ${hint === "" ? "Choose one of these" : `${hint}, or choose one of these`}: ${READABLE}.`,
    what,
  );
}

/** The kind of a text by its name, else by what it says. */
export function kindOf(name: string, text: string): { kind: Kind; language?: string } {
  const extension = extensionOf(name);
  const named = BY_NAME.get(name.toLowerCase()) ?? CODE.get(extension);
  if (named) return { kind: "code", language: named };
  const kind = PROSE.get(extension);
  if (kind) return { kind };
  const start = text.slice(0, 1000).trimStart();
  if (/^(?:<!doctype html|<html[\s>])/i.test(start)) return { kind: "html" };
  if (start.startsWith("<?xml")) return { kind: "code", language: "xml" };
  const shell = SHELLS.find(([pattern]) => pattern.test(start));
  if (shell) return { kind: "code", language: shell[1] };
  if (/^[[{]/.test(start) && text.length < 5_000_000) {
    try {
      JSON.parse(text);
      return { kind: "json" };
    } catch {
      // It only begins like JSON.
    }
  }
  return { kind: "text" };
}
