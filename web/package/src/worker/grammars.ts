/**
 * Answers by a schema or a grammar: their wasm module, and what is made with it for one request.
 */

import { __wbg_reset_state as beginAnew, WebGrammars } from "../../wasm/grammar.js";
import type { WebEngine, WebRequest } from "../../wasm/peregrine.js";
import type { Log } from "../log.js";
import type { LoadRequest } from "../protocol.js";
import { beginGrammar, isTrap } from "./wasm.js";

/** For the vocabularies of models. */
let made = new WeakMap<WebEngine, WebGrammars>();
/** How often the module has been begun anew. What was made before is gone with its memory. */
let age = 0;
/** It has failed, and was not begun anew yet. */
let isBroken = false;

/**
 * So often one request may take the module down: the second time tells which of several tools does
 * it.
 */
const MOST_FAULTS = 2;

/**
 * What is thrown to the runtime: `place` says that it is an error of a grammar, not of the engine.
 */
const wrong = (message: string): Error => Object.assign(new Error(message), { place: "the module of grammars" });

/** The compiled module is still there; its memory is a new one. */
function renew(): void {
  if (!isBroken) return;
  beginAnew();
  isBroken = false;
}

/** The first for a model takes up to a second, while its vocabulary is sorted. */
function grammarsOf(engine: WebEngine): WebGrammars {
  renew();
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

/** What the runtime asks of an answer's constraint, and gets from the module. */
interface Constraint {
  mask(): Uint32Array;
  accept(token: number): void;
  forced(): Uint32Array;
  mayEnd(): boolean;
  isFinished(): boolean;
}

/**
 * Makes the grammars of one request, for the runtime to use while it answers. The module must have
 * been loaded.
 */
export class Grammars {
  readonly #engine: WebEngine;
  /** What is in the module's memory, and since which age. */
  readonly #held: { age: number; object: { free(): void } }[] = [];
  #faults = 0;
  #fault: Error | undefined;

  constructor(engine: WebEngine) {
    this.#engine = engine;
  }

  /** `spec`: JSON of what an answer must be. */
  compile(spec: string): { warnings(): string[]; begin(): Constraint } {
    const grammar = this.#guarded(() => this.#hold(grammarsOf(this.#engine).compile(spec)));
    const since = age;
    const warnings = this.#guarded(() => grammar.warnings(), since);
    return { warnings: () => warnings, begin: () => this.#begin(() => grammar.begin(), since) };
  }

  #begin(begin: () => Constraint & { free(): void }, since: number): Constraint {
    const constraint = this.#guarded(() => this.#hold(begin()), since);
    return {
      mask: () => this.#guarded(() => constraint.mask(), since),
      accept: (token) => this.#guarded(() => constraint.accept(token), since),
      forced: () => this.#guarded(() => constraint.forced(), since),
      mayEnd: () => this.#guarded(() => constraint.mayEnd(), since),
      isFinished: () => this.#guarded(() => constraint.isFinished(), since),
    };
  }

  /** At the end of the request, however it ended. */
  free(): void {
    for (const { age: since, object } of this.#held.splice(0).reverse()) {
      if (since !== age) continue;
      try {
        object.free();
      } catch {
        this.#fail();
      }
    }
  }

  #hold<T extends { free(): void }>(object: T): T {
    this.#held.push({ age, object });
    return object;
  }

  /** Does something in the module, with what was made `since` then. */
  #guarded<T>(work: () => T, since = age): T {
    if (this.#fault && (this.#faults >= MOST_FAULTS || since !== age)) throw this.#fault;
    if (since !== age) throw wrong("it was begun anew for another request's grammar: ask again");
    try {
      return work();
    } catch (thrown) {
      if (!isTrap(thrown)) throw typeof (thrown as { place?: unknown }).place === "string" ? thrown : wrong((thrown as Error).message);
      this.#fault = wrong(`this is too deep or too complicated (${(thrown as Error).message}): make it simpler`);
      this.#fail();
      throw this.#fault;
    }
  }

  #fail(): void {
    this.#faults++;
    age++;
    made = new WeakMap();
    isBroken = true;
    try {
      renew();
    } catch {
      // There may be no memory for it now. The next one tries again.
    }
  }
}

/** Before the engine is freed: what was made for it is, too. */
export function forgetGrammars(engine: WebEngine | undefined): void {
  const grammars = engine && made.get(engine);
  if (!grammars) return;
  made.delete(engine);
  grammars.free();
}

/** The module itself, which is loaded when the first request needs it. */
export class GrammarModule {
  readonly #log: Log;
  /** Why it could not be loaded, and has not been since. */
  #missing: string | undefined;

  constructor(log: Log) {
    this.#log = log;
  }

  /**
   * Loads it, before the request takes its place in the queue: nobody else waits for it. Whether it
   * is there; what can be answered without is.
   */
  async isThere(request: WebRequest, wasm: LoadRequest["grammarWasm"]): Promise<boolean> {
    const loading = beginGrammar(wasm).then(() => (this.#missing = undefined));
    if (request.insistsOnGrammars) return loading.then(() => true);
    // Once it could not be had it is tried again beside the answers.
    if (this.#missing === undefined) await loading.catch((error: Error) => (this.#missing = error.message));
    else loading.catch(() => {});
    if (this.#missing === undefined) return true;
    const line = `tools: calls are not enforced, since the module of grammars is not there: ${this.#missing}`;
    this.#log("warn", line);
    request.warn(line);
    return false;
  }
}
