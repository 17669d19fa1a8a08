/// <reference lib="esnext.disposable" preserve="true" />
/** The page's side: an engine is a worker with a model in it, or a server behind it. */

import type { ServerInfo } from "./behind.js";
import { ChatCompletions, Completions, type PrefillOptions } from "./completions.js";
import { answer } from "./fetch.js";
import type { Backend } from "./worker-client.js";
import type { EngineEvents, Listeners } from "./listeners.js";
import { LoraAdapters } from "./lora.js";
import type { ChatMessage, Loras, Usage } from "../openai.js";
import { boolean, callable, count, fields, number, ids as checkIds, text as checkText, wrong } from "../checks.js";
import { loras } from "./options.js";
import type { CheckReport, EngineInfo, ProfileStage } from "../protocol.js";
import { Requests } from "./requests.js";
import type { Router } from "./router.js";

/**
 * A model on the GPU; with the option `server` also one behind it:
 * `Engine<EngineInfo | ServerInfo>`.
 */
export class Engine<Info extends EngineInfo | ServerInfo = EngineInfo> implements AsyncDisposable {
  /** Chat completions in OpenAI's shape. */
  readonly chat: { readonly completions: ChatCompletions };
  /** Plain completions in OpenAI's shape. */
  readonly completions: Completions;
  /** The model's tokenizer. */
  readonly tokenizer: Tokenizer;
  /** LoRA adapters beside the model. */
  readonly lora: LoraAdapters;
  /**
   * A `fetch` for clients of OpenAI's API (`new OpenAI({ baseURL, apiKey, fetch: engine.fetch })`):
   * whatever the address before `/chat/completions`, `/completions` or `/models`, this engine
   * answers, and nothing leaves the device unless `info.where` is "server".
   */
  readonly fetch: (input: RequestInfo | URL, init?: RequestInit) => Promise<Response>;
  readonly #router: Router;
  readonly #listeners: Listeners;

  /** @internal Use {@link createEngine}. */
  constructor(router: Router, listeners: Listeners, refuseWhenBusy: boolean) {
    this.#router = router;
    this.#listeners = listeners;
    const requests = new Requests(router, router.info.model.name, refuseWhenBusy);
    this.chat = { completions: new ChatCompletions(requests) };
    this.completions = new Completions(requests);
    this.fetch = (input, init) => answer(requests, input, init);
    this.tokenizer = new Tokenizer(router);
    this.lora = new LoraAdapters(router);
  }

  /**
   * What is loaded, and where it runs: `info.where` is "device", or "server" for an engine with one
   * behind it.
   */
  get info(): Info {
    return this.#router.info as Info;
  }

  /**
   * Tells what happens to the engine: `"device-lost"`, `"reloaded"` after that, and `"where"` when
   * a server takes over. What is returned ends it.
   */
  on<E extends keyof EngineEvents>(event: E, listener: (payload: EngineEvents[E]) => void): () => void {
    return this.#listeners.add(event, listener);
  }

  /**
   * Where a step's time goes on the GPU: of one token, or of `tokens` that are read at once; with
   * adapters beside the model where `lora` names them.
   * @throws PeregrineError `unsupported` where the device has no timestamps.
   */
  async profile(options: { tokens?: number; lora?: Loras } = {}): Promise<ProfileStage[]> {
    PROFILE(options, "");
    const { tokens = 1, lora = [] } = options;
    return this.#router.call("profile", { tokens, lora }).result;
  }

  /**
   * The model's raw output, for comparison with other implementations: the logits after each of the
   * last `last` of the given tokens, one row of `info.model.vocabSize` numbers after the other.
   * Tokens are read in chunks of `chunk` (default: as many as the model takes at once), the last
   * `oneByOne` of them one by one as in an answer. The open conversation is not touched. `lora`:
   * adapters beside the model.
   */
  async logits(ids: readonly number[], options: { last?: number; oneByOne?: number; chunk?: number; lora?: Loras } = {}): Promise<Float32Array> {
    checkIds(ids, "ids");
    LOGITS(options, "");
    const { last = 1, oneByOne = 0, chunk = 0, lora = [] } = options;
    return this.#router.call("logits", { ids: [...ids], last, oneByOne, chunk, lora }).result;
  }

  /**
   * Compares every stage of the model and every state on this device with a computation on the CPU,
   * while `tokens` tokens are read: half of them at once, the rest one by one. Takes from seconds
   * to minutes, by the model's size; `onProgress` hears the number of comparisons. A difference is
   * not an error: the report names the first stage that differs. `lora`: adapters beside the model.
   */
  async check(options: { tokens?: number; onProgress?: (comparisons: number) => void; lora?: Loras } = {}): Promise<CheckReport> {
    CHECK(options, "");
    const { tokens = 12, onProgress, lora = [] } = options;
    return this.#router.call("check", { tokens, lora }, onProgress).result;
  }

  /**
   * Reads the beginning of conversations (a system message, or earlier turns), a text, or token
   * ids, and answers nothing: requests that begin so cost only the rest. With {@link saveState} it
   * becomes a file that is shipped with an app.
   * @throws as `chat.completions.create`
   */
  prefill(prompt: string | readonly number[] | readonly ChatMessage[], options: PrefillOptions = {}): Promise<Usage> {
    return this.completions.prefill(prompt, options);
  }

  /**
   * The state of the conversation (or text) that the engine has read and written last, as a file:
   * for the same model it goes on from there on any device, without reading anything again. Keep it
   * as you like; it holds the conversation's text.
   */
  saveState(): Promise<Blob> {
    return this.#router.call("save", null).result;
  }

  /**
   * Goes on from a saved state: the next request that continues it costs only what is new. `lora`:
   * the adapters that it was made with, where there were any, under whatever ids they have now.
   * @throws ModelFileError for what is damaged, of another model or other adapters, or no saved
   * state; then nothing has been read.
   */
  async restoreState(state: Blob, options: { lora?: Loras } = {}): Promise<void> {
    if (!(state instanceof Blob)) throw wrong("state", "a Blob, as saveState gives", state);
    RESTORE(options, "");
    await this.#router.call("restore", { state, lora: options.lora ?? [] }).result;
  }

  /**
   * Lets conversations have at least so many tokens from now on, also the one that there is, and an
   * answer that is being written: nothing is loaded or read again, and memory for keys and values
   * is taken as it is needed. Resolves with the tokens that they may have now, which
   * `info.model.contextLength` says, too; pages that share a worker share its context.
   * @throws RequestError for more than `info.model.longestContext`; OutOfMemoryError with `fit`
   * where `memoryBudget`, or what a processor can have, leaves no room. Then nothing has changed.
   */
  async growContext(contextLength: number): Promise<number> {
    LONGER(contextLength, "contextLength");
    return this.#router.call("growContext", { contextLength }).result;
  }

  /**
   * Frees the GPU's memory and ends the worker; open requests fail with `disposed`. Harmless when
   * done twice.
   */
  dispose(): Promise<void> {
    return this.#router.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

const PROFILE = fields({ tokens: count(1), lora: loras }, "profile");
const LOGITS = fields({ last: count(0), oneByOne: count(0), chunk: count(0), lora: loras }, "logits");
const CHECK = fields({ tokens: number(2, 512, true), onProgress: callable, lora: loras }, "check");
const LONGER = number(1, 2 ** 32 - 1, true);
const RESTORE = fields({ lora: loras }, "restoreState");
const ENCODE = fields({ addBos: boolean }, "encode");

/** `engine.tokenizer`. */
export class Tokenizer {
  readonly #router: Backend;

  /** @internal */
  constructor(router: Backend) {
    this.#router = router;
  }

  /** Token ids of a text; with `addBos` the token that begins a document comes first. */
  async encode(text: string, options: { addBos?: boolean } = {}): Promise<number[]> {
    checkText(text, "text");
    ENCODE(options, "");
    const { addBos = false } = options;
    return this.#router.call("encode", { text, addBos }).result;
  }

  /** Text of token ids. */
  async decode(ids: readonly number[]): Promise<string> {
    checkIds(ids, "ids");
    return this.#router.call("decode", { ids: [...ids] }).result;
  }

  /** How many tokens a text has. */
  async countTokens(text: string): Promise<number> {
    return (await this.encode(text)).length;
  }
}
