/** What a file becomes, and what can go wrong with it. */

export type Kind = "pdf" | "docx" | "html" | "markdown" | "text" | "csv" | "json" | "code";

export interface Page {
  /** From 1, as a reader counts. */
  readonly number: number;
  readonly text: string;
}

/** Something that the person should know, though the file could be read. */
export interface Warning {
  readonly code: "encoding-guessed" | "pages-without-text" | "pages-unreadable" | "odd-characters" | "parts-left-out";
  /** One line in English; say it in the person's language by `code`, `pages` and `detail`. */
  readonly message: string;
  readonly pages?: readonly number[];
  readonly detail?: string;
}

/** The text of a file. A plain value: it can be kept in a database as it is. */
export interface ReadDocument {
  readonly name: string;
  readonly kind: Kind;
  /** Of code: the language. */
  readonly language?: string;
  /** Of a PDF: each page, an empty one too. */
  readonly pages?: readonly Page[];
  readonly text: string;
  readonly warnings: readonly Warning[];
}

export type DocumentErrorCode =
  | "model-file"
  | "unsupported"
  | "encrypted"
  | "wrong-password"
  | "scanned"
  | "damaged"
  | "empty"
  | "too-large"
  | "unreadable"
  | "unavailable";

/** A file that cannot become text. `message` is one line in English that says what to do next. */
export class DocumentError extends Error {
  override readonly name = "DocumentError";

  constructor(
    readonly code: DocumentErrorCode,
    message: string,
    /** What the file is, "PNG picture" say, where that is known. */
    readonly detail?: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** How far reading is. */
export interface Progress {
  readonly done: number;
  readonly total: number;
  readonly unit: "pages" | "file";
}
