/** Answers by a schema or a grammar: their wasm module, and the vocabularies that it knows. */

import { WebGrammars } from "../../wasm/grammar.js";
import type { WebEngine } from "../../wasm/peregrine.js";
import type { LoadRequest } from "../protocol.js";
import { beginGrammar } from "./wasm.js";

const made = new WeakMap<WebEngine, WebGrammars>();

/** What makes grammars for the engine's model. The first of them takes up to a second, while the vocabulary is sorted. */
export async function grammarsOf(engine: WebEngine, wasm: LoadRequest["grammarWasm"]): Promise<WebGrammars> {
  await beginGrammar(wasm);
  let grammars = made.get(engine);
  if (!grammars) {
    const vocabulary = engine.vocabulary();
    const { bytes, lengths, controls, ends } = vocabulary;
    vocabulary.free();
    grammars = new WebGrammars(bytes, lengths, controls, ends, (text: string) => engine.encodePlain(text));
    made.set(engine, grammars);
  }
  return grammars;
}

/** Before the engine is freed: what was made for it is, too. */
export function forgetGrammars(engine: WebEngine | undefined): void {
  const grammars = engine && made.get(engine);
  if (!grammars) return;
  made.delete(engine);
  grammars.free();
}
