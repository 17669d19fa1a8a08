/** What a file is: by its first bytes, by its name, and by its text, in this order. */

import { DocumentError, type Kind } from "./types.js";

/** What can be read, for messages and for an input's `accept`. */
export const READABLE = "PDF, DOCX, HTML, Markdown, CSV, JSON, plain text and code";

const PROSE: Record<string, Kind> = {
  txt: "text", text: "text", log: "text", srt: "text", vtt: "text", rst: "text", adoc: "text", org: "text", eml: "text", ics: "text", vcf: "text",
  md: "markdown", markdown: "markdown", mdx: "markdown", qmd: "markdown", rmd: "markdown",
  htm: "html", html: "html", xhtml: "html",
  csv: "csv", tsv: "csv",
  json: "json", jsonl: "json", ndjson: "json", geojson: "json", ipynb: "json",
};

const CODE: Record<string, string> = {
  js: "javascript", mjs: "javascript", cjs: "javascript", jsx: "javascript", ts: "typescript", mts: "typescript", cts: "typescript", tsx: "typescript",
  py: "python", pyi: "python", rb: "ruby", php: "php", pl: "perl", pm: "perl", lua: "lua", r: "r", jl: "julia", m: "matlab", tcl: "tcl",
  c: "c", h: "c", cc: "cpp", cpp: "cpp", cxx: "cpp", hpp: "cpp", hh: "cpp", cs: "csharp", java: "java", kt: "kotlin", kts: "kotlin", scala: "scala", groovy: "groovy", gradle: "groovy",
  go: "go", rs: "rust", zig: "zig", swift: "swift", dart: "dart", hs: "haskell", ml: "ocaml", fs: "fsharp", clj: "clojure", ex: "elixir", exs: "elixir", erl: "erlang", elm: "elm", nim: "nim",
  sh: "bash", bash: "bash", zsh: "bash", fish: "fish", ps1: "powershell", bat: "dos", cmd: "dos", awk: "awk", vim: "vim", el: "lisp", lisp: "lisp", scm: "scheme",
  css: "css", scss: "scss", sass: "sass", less: "less", vue: "vue", svelte: "svelte", astro: "astro", svg: "xml", xml: "xml", xsd: "xml", xsl: "xml", rss: "xml", plist: "xml",
  yaml: "yaml", yml: "yaml", toml: "toml", ini: "ini", cfg: "ini", conf: "ini", env: "ini", properties: "properties", sql: "sql", graphql: "graphql", proto: "protobuf",
  tex: "latex", bib: "latex", sty: "latex", cmake: "cmake", mk: "makefile", nix: "nix", tf: "terraform", wgsl: "wgsl", glsl: "glsl", hlsl: "hlsl", cu: "cpp", asm: "asm", s: "asm", diff: "diff", patch: "diff",
};

const BY_NAME: Record<string, string> = { makefile: "makefile", dockerfile: "dockerfile", "cmakelists.txt": "cmake", gemfile: "ruby", rakefile: "ruby", jenkinsfile: "groovy" };

const SHELLS: [RegExp, string][] = [
  [/^#!.*\bpython/, "python"],
  [/^#!.*\b(?:ba|z|da|k)?sh\b/, "bash"],
  [/^#!.*\b(?:node|deno|bun)\b/, "javascript"],
  [/^#!.*\bperl/, "perl"],
  [/^#!.*\bruby/, "ruby"],
  [/^#!/, "shell"],
];

/** Endings of names that can be read, with dots, for an input's `accept`. */
export const EXTENSIONS: readonly string[] = ["pdf", "docx", ...Object.keys(PROSE), ...Object.keys(CODE)].map((ending) => `.${ending}`);

export const extensionOf = (name: string) => /\.([^.\\/]+)$/.exec(name)?.[1]?.toLowerCase() ?? "";

const starts = (head: Uint8Array, magic: string, at = 0) => [...magic].every((character, i) => head[at + i] === character.charCodeAt(0));

/** Formats that hold no text for us, by how they begin. */
const OTHERS: [magic: string, at: number, what: string, hint: string][] = [
  ["\x89PNG", 0, "PNG picture", ""], ["\xFF\xD8\xFF", 0, "JPEG picture", ""], ["GIF8", 0, "GIF picture", ""], ["WEBP", 8, "WebP picture", ""], ["BM", 0, "BMP picture", ""],
  ["II*\0", 0, "TIFF picture", ""], ["MM\0*", 0, "TIFF picture", ""], ["ftypavif", 4, "AVIF picture", ""], ["ftypheic", 4, "HEIC picture", ""], ["ftyp", 4, "video or sound", ""],
  ["OggS", 0, "video or sound", ""], ["ID3", 0, "sound", ""], ["fLaC", 0, "sound", ""], ["RIFF", 0, "video or sound", ""], ["\x1A\x45\xDF\xA3", 0, "video", ""],
  ["{\\rtf", 0, "RTF file", "Save it as DOCX or PDF"], ["%!PS", 0, "PostScript file", "Save it as PDF"], ["\x1F\x8B", 0, "packed file", "Unpack it first"],
  ["7z\xBC\xAF", 0, "packed file", "Unpack it first"], ["Rar!", 0, "packed file", "Unpack it first"], ["BZh", 0, "packed file", "Unpack it first"], ["\x28\xB5\x2F\xFD", 0, "packed file", "Unpack it first"],
  ["SQLite format 3", 0, "database", "Export it as CSV"], ["\0asm", 0, "program", ""], ["\x7FELF", 0, "program", ""], ["MZ", 0, "program", ""], ["wOF2", 0, "font", ""],
];

export type Container = "pdf" | "zip" | "ole" | "gguf" | "text";

/** What the first bytes say; throws for what is known and has no text. */
export function containerOf(head: Uint8Array, name: string): Container {
  if (starts(head, "GGUF")) return "gguf";
  if (starts(head, "PK\x03\x04") || starts(head, "PK\x05\x06")) return "zip";
  if (starts(head, "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1")) return "ole";
  // Some programs write a few lines before the mark; the standard lets readers look in the first 1,024 bytes.
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
  const article = /^[AEIOH]?[AEIO]/i.test(what) ? "an" : "a";
  return new DocumentError("unsupported", `"${name}" is ${article} ${what}, which cannot be read. ${hint === "" ? "Choose one of these" : `${hint}, or choose one of these`}: ${READABLE}.`, what);
}

/** The kind of a text by its name, else by what it says. */
export function kindOf(name: string, text: string): { kind: Kind; language?: string } {
  const extension = extensionOf(name);
  const named = BY_NAME[name.toLowerCase()] ?? CODE[extension];
  if (named) return { kind: "code", language: named };
  const kind = PROSE[extension];
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
