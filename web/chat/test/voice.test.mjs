/**
 * Dictating and reading aloud: only where the browser does it on this device, and never in any
 * other way.
 */

import assert from "node:assert/strict";
import { after, afterEach, describe, test } from "node:test";
import { closeTabs, end, platform, profile, until } from "./tab.mjs";

after(end);
afterEach(async () => {
  await closeTabs();
  for (const name of ["SpeechRecognition", "speechSynthesis", "SpeechSynthesisUtterance"]) delete globalThis[name];
  delete platform.languages;
});

/** A browser that recognizes speech; `available` is what it says about a language. */
function recognizer(available) {
  const asked = [];
  class SpeechRecognition {
    static open = [];
    static async available(options) {
      asked.push(options);
      return available[options.langs[0]] ?? "unavailable";
    }
    static async install({ langs }) {
      available[langs[0]] = "available";
      return true;
    }
    get processLocally() {
      return this.local;
    }
    set processLocally(local) {
      this.local = local;
    }
    start() {
      if (!this.local) throw new Error("a service would hear it");
      SpeechRecognition.open.push(this);
    }
    stop() {
      this.stopped = true;
      this.onend();
    }
  }
  globalThis.SpeechRecognition = SpeechRecognition;
  return { asked, open: SpeechRecognition.open };
}
const says = (words, isFinal = true) => Object.assign([{ transcript: words }], { isFinal });

describe("dictation", () => {
  test("is there where the language is recognized here, and nowhere else", async () => {
    platform.languages = ["en-GB", "de"];
    const { asked, open } = recognizer({ "en-GB": "available" });
    const tab = await profile().tab();
    const dictation = new tab.Dictation(tab.language);
    await until(() => dictation.state.value === "ready");
    assert.deepEqual(asked, [{ langs: ["en-GB"], processLocally: true }]);
    const said = [];
    dictation.toggle((words) => said.push(words));
    assert.equal(dictation.listening.value, true);
    const [recognition] = open;
    assert.deepEqual([recognition.local, recognition.lang], [true, "en-GB"]);
    recognition.onresult({ resultIndex: 0, results: [says(" A heron. ")] });
    recognition.onresult({ resultIndex: 1, results: [says("A heron."), says("An ow", false)] });
    recognition.onresult({ resultIndex: 1, results: [says("A heron."), says("An owl.")] });
    assert.deepEqual(said, ["A heron.", "An owl."], "each once, when it is certain");
    tab.language.value = "de";
    await until(() => asked.length === 2);
    assert.equal(recognition.stopped, true, "in another language it does not go on");
    assert.deepEqual([dictation.state.value, dictation.listening.value], ["none", false]);
  });

  test("a browser that only has a service has none", async () => {
    const tab = await profile().tab();
    assert.equal(new tab.Dictation(tab.language).state.value, "none");
    const { asked } = recognizer({ en: "available" });
    delete globalThis.SpeechRecognition.prototype.processLocally;
    const dictation = new tab.Dictation(tab.language);
    await new Promise(setImmediate);
    assert.deepEqual([dictation.state.value, asked.length], ["none", 0]);
    globalThis.webkitSpeechRecognition = globalThis.SpeechRecognition;
    delete globalThis.SpeechRecognition;
    assert.equal(new tab.Dictation(tab.language).state.value, "none");
    delete globalThis.webkitSpeechRecognition;
  });

  test("a language that has to be downloaded is, when the person wants it", async () => {
    const { open } = recognizer({ en: "downloadable" });
    const tab = await profile().tab();
    const dictation = new tab.Dictation(tab.language);
    await until(() => dictation.state.value === "downloadable");
    dictation.toggle(() => {});
    assert.deepEqual([dictation.listening.value, open.length], [false, 0]);
    assert.match(tab.notice.value.text, /download a language pack once: English/);
    tab.notice.value.action.go();
    await until(() => dictation.state.value === "ready");
    assert.match(tab.notice.value.text, /you can dictate now/);
  });

  test("no microphone, or no words: that is told", async () => {
    const { open } = recognizer({ en: "available" });
    const tab = await profile().tab();
    const dictation = new tab.Dictation(tab.language);
    await until(() => dictation.state.value === "ready");
    for (const [error, told] of [["not-allowed", /does not let this page listen/], ["no-speech", /No words/]]) {
      dictation.toggle(() => {});
      open.at(-1).onerror({ error });
      open.at(-1).onend();
      assert.match(tab.notice.value.text, told);
      assert.equal(dictation.listening.value, false);
    }
  });
});

/** A browser that speaks. */
function speaker(voices) {
  const said = [];
  globalThis.SpeechSynthesisUtterance = class {
    constructor(text) {
      this.text = text;
    }
  };
  globalThis.speechSynthesis = { getVoices: () => voices, addEventListener: () => {}, speak: (words) => said.push(words), cancel: () => said.splice(0) };
  return said;
}
const voice = (lang, localService = true) => ({ lang, localService, default: false, name: lang });

describe("reading aloud", () => {
  test("by a voice of this device for the language of the answer, paragraph by paragraph", async () => {
    const said = speaker([voice("en-US", false), voice("en-GB"), voice("hi_IN")]);
    const tab = await profile().tab();
    const aloud = new tab.Aloud();
    assert.equal(aloud.voiceFor("de"), undefined);
    assert.equal(aloud.voiceFor("hi").lang, "hi_IN");
    aloud.read("a", "A heron.\n\nAn owl.", "en");
    assert.deepEqual(said.map(({ text, voice }) => [text, voice.lang]), [["A heron.", "en-GB"], ["An owl.", "en-GB"]]);
    assert.equal(aloud.reading.value, "a");
    said[1].onend();
    assert.equal(aloud.reading.value, undefined);
    aloud.read("a", "One.", "en");
    aloud.read("b", "Two.", "en");
    assert.deepEqual(said.map(({ text }) => text), ["Two."], "one at a time");
    window.dispatchEvent(new window.Event("pagehide"));
    assert.deepEqual([said.length, aloud.reading.value], [0, undefined]);
  });

  test("a browser without voices of its own reads nothing", async () => {
    const tab = await profile().tab();
    assert.equal(new tab.Aloud().voiceFor("en"), undefined);
    const said = speaker([voice("en-US", false)]);
    const aloud = new tab.Aloud();
    aloud.read("a", "A heron.", "en");
    assert.deepEqual([aloud.voiceFor("en"), said.length, aloud.reading.value], [undefined, 0, undefined]);
  });

  test("the language of an answer by its letters, else the page's", async () => {
    const { languageOf } = await profile().tab();
    const of = (text, page = "de") => languageOf(text, page);
    assert.deepEqual(
      [of("Der Reiher"), of("مرحبا بالعالم"), of("یہ بگلا ہے"), of("एक बगुला"), of("サギはどこ"), of("왜가리"), of("Цапля"), of("苍鹭在哪里")],
      ["de", "ar", "ur", "hi", "ja", "ko", "ru", "zh"],
    );
    assert.equal(of("A heron", "ar"), "en");
    assert.equal(of("Use `x` in Цапля и выпь живут в тростнике"), "ru");
    assert.equal(of("42"), "de");
  });
});
