/**
 * Speech, where the browser recognizes and speaks it on this device. Where only a service would,
 * there is none.
 */

import { effect, signal, type ReadonlySignal } from "@preact/signals";
import { t } from "../i18n/index.js";
import { plainText } from "../text/plain.js";
import { announce, tell } from "./notices.js";

/** Whether the browser can recognize a language here. */
type Availability = "unavailable" | "downloadable" | "downloading" | "available";

/** What of the Web Speech API is used; types of browsers do not have it yet. */
interface Recognition {
  lang: string;
  continuous: boolean;
  processLocally?: boolean;
  onresult: ((event: { resultIndex: number; results: ArrayLike<ArrayLike<{ transcript: string }> & { isFinal: boolean }> }) => void) | null;
  onerror: ((event: { error: string }) => void) | null;
  onend: (() => void) | null;
  start(): void;
  stop(): void;
}

interface Recognizer {
  new (): Recognition;
  available?(options: { langs: string[]; processLocally: true }): Promise<Availability>;
  install?(options: { langs: string[]; processLocally: true }): Promise<boolean>;
}

/** The browser's name of the page's language, with the region that the person's browser has. */
const inFull = (code: string): string => navigator.languages?.find((one) => one.split("-")[0] === code) ?? code;

/** Writes what a person says. */
export class Dictation {
  /**
   * Whether the page's language can be dictated here; `downloadable`: after a download by the
   * browser.
   */
  readonly state = signal<"none" | "downloadable" | "ready">("none");
  readonly listening = signal(false);
  readonly #language: ReadonlySignal<string>;
  #open: Recognition | undefined;

  constructor(language: ReadonlySignal<string>) {
    this.#language = language;
    effect(() => void this.#look(language.value));
  }

  get #recognizer(): Recognizer | undefined {
    const { SpeechRecognition } = globalThis as { SpeechRecognition?: Recognizer };
    // Without both, words might be recognized by a service.
    return SpeechRecognition?.available && "processLocally" in SpeechRecognition.prototype ? SpeechRecognition : undefined;
  }

  async #look(code: string): Promise<void> {
    this.stop();
    this.state.value = "none";
    const found = await this.#recognizer?.available?.({ langs: [inFull(code)], processLocally: true }).catch(() => undefined);
    if (this.#language.peek() !== code) return;
    if (found === "available") this.state.value = "ready";
    else if ((found === "downloadable" || found === "downloading") && this.#recognizer?.install) this.state.value = "downloadable";
  }

  /** Begins, or ends; `write` gets what was said, sentence by sentence. */
  toggle(write: (text: string) => void): void {
    if (this.listening.value) return this.stop();
    if (this.state.value === "downloadable") return this.#offer();
    const Recognizer = this.#recognizer;
    if (!Recognizer) return;
    const recognition = (this.#open = new Recognizer());
    recognition.lang = inFull(this.#language.value);
    recognition.continuous = true;
    recognition.processLocally = true;
    recognition.onresult = ({ resultIndex, results }) => {
      for (const result of Array.from(results).slice(resultIndex)) if (result.isFinal) write(result[0]?.transcript.trim() ?? "");
    };
    recognition.onerror = ({ error }) => {
      if (error === "aborted") return;
      tell(t(error === "no-speech" ? "voice.nothing" : "voice.refused"));
    };
    recognition.onend = () => this.#open === recognition && this.#end();
    try {
      recognition.start();
    } catch {
      this.#end();
      return tell(t("voice.refused"));
    }
    this.listening.value = true;
    announce(t("voice.listening"));
  }

  stop(): void {
    // What was said before is still written.
    this.#open?.stop();
    this.#end();
  }

  #end(): void {
    this.#open = undefined;
    this.listening.value = false;
  }

  /** The browser downloads a language only when the person wants it. */
  #offer(): void {
    const code = this.#language.value;
    const name = new Intl.DisplayNames([code], { type: "language" }).of(code) ?? code;
    const get = async () => {
      const got = await this.#recognizer?.install?.({ langs: [inFull(code)], processLocally: true }).catch(() => false);
      tell(t(got ? "voice.got" : "voice.gotNot"));
      await this.#look(this.#language.value);
    };
    tell(t("voice.download", { language: name }), { stays: true, action: { label: t("models.download"), go: () => void get() } });
  }
}

/**
 * Scripts that say which language a text is in, as far as a voice needs to know; Latin says
 * nothing.
 */
const SCRIPTS: readonly (readonly [RegExp, string])[] = [
  [/[\u0679\u0688\u0691\u06ba\u06be\u06c1\u06d2]/u, "ur"],
  [/\p{Script=Arabic}/u, "ar"],
  [/\p{Script=Devanagari}/u, "hi"],
  [/[\p{Script=Hiragana}\p{Script=Katakana}]/u, "ja"],
  [/\p{Script=Hangul}/u, "ko"],
  [/\p{Script=Cyrillic}/u, "ru"],
  [/\p{Script=Han}/u, "zh"],
];

/**
 * The language of a text: by its letters, else the page's, or English where that is written in
 * other letters.
 */
export function languageOf(text: string, page: string): string {
  const letters = [...text.slice(0, 2000)].filter((letter) => /\p{L}/u.test(letter));
  const latin = letters.filter((letter) => /\p{Script=Latin}/u.test(letter)).length;
  if (latin * 2 <= letters.length) {
    const found = SCRIPTS.find(([script]) => script.test(letters.join("")));
    if (found) return found[1];
  }
  return latin > 0 && SCRIPTS.some(([, code]) => code === page) ? "en" : page;
}

/** Reads answers aloud. */
export class Aloud {
  /** Voices of this device. */
  readonly #voices = signal<readonly SpeechSynthesisVoice[]>([]);
  /** The message that is read. */
  readonly reading = signal<string | undefined>(undefined);

  constructor() {
    const look = () => (this.#voices.value = speech()?.getVoices().filter(({ localService }) => localService) ?? []);
    look();
    speech()?.addEventListener?.("voiceschanged", look);
    // Browsers read on after the page has gone.
    addEventListener("pagehide", () => this.stop());
  }

  /** A voice of this device for a language. */
  voiceFor(code: string): SpeechSynthesisVoice | undefined {
    const fits = this.#voices.value.filter(({ lang }) => lang.split(/[-_]/)[0]?.toLowerCase() === code);
    return fits.find((voice) => voice.lang === inFull(code)) ?? fits.find((voice) => voice.default) ?? fits[0];
  }

  /** Reads an answer, paragraph by paragraph. */
  read(id: string, markdown: string, code: string): void {
    const voice = this.voiceFor(code);
    const parts = plainText(markdown).split(/\n+/).filter((part) => part.trim() !== "");
    this.stop();
    if (!voice || parts.length === 0) return;
    this.reading.value = id;
    const done = () => this.reading.value === id && (this.reading.value = undefined);
    for (const [i, part] of parts.entries()) {
      const words = Object.assign(new SpeechSynthesisUtterance(part), { voice, lang: voice.lang, onerror: done });
      if (i === parts.length - 1) words.onend = done;
      speech()?.speak(words);
    }
  }

  stop(): void {
    if (this.reading.value === undefined) return;
    this.reading.value = undefined;
    speech()?.cancel();
  }
}

const speech = () => (globalThis as { speechSynthesis?: SpeechSynthesis }).speechSynthesis;
