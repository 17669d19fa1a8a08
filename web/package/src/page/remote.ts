/**
 * An OpenAI-compatible server, asked as a worker is: the same calls, the same events, the same
 * errors.
 */

import { Pieces, usageOf, wholeOf } from "./answers.js";
import { askedOf, needsToKnow, programOf, type Asked, type Program } from "./dialect.js";
import { makeError, PeregrineError } from "../errors.js";
import type { Backend, Pending } from "./worker-client.js";
import type { Log } from "../log.js";
import type { ApiRequest, ApiResult, CallName, Calls } from "../protocol.js";
import { diagnose } from "./reach.js";
import { failed, mediaType, refusalOf, refused, type Told } from "./refusals.js";
import { ATTEMPTS, mayPass, pause } from "../download/retry.js";
import { eventsOf } from "./sse.js";

/** What a {@link Remote} is made of. */
export interface RemoteOptions {
  base: URL;
  apiKey?: string | undefined;
  model: string;
  log: Log;
  /** Waits before an attempt; tests have another one. */
  wait?: typeof pause;
  /**
   * Milliseconds after which a server that does not say which program it is counts as one that is
   * not known; Infinity: never.
   */
  introduction?: number;
}

/** What a server that answers has not, and what to do instead. */
const LACKING: Partial<Record<CallName, readonly [what: string, instead: string]>> = {
  encode: ["tokenizer", "an answer's usage has the number of tokens"],
  decode: ["tokenizer", "an answer has its text"],
  save: ["saveState", "send the whole conversation with each request"],
  restore: ["restoreState", "send the whole conversation with each request"],
  logits: ["logits", "ask for logprobs"],
  check: ["check", "there is no device to check"],
  profile: ["profile", "an answer's usage has the times"],
  growContext: ["growContext", "it is the server that has a context"],
  addLora: ["lora", "load the adapter into the server, and name it in a request"],
  listLora: ["lora", "ask the server for its models"],
  removeLora: ["lora", "it is the server that has adapters"],
};

/** Something that another attempt may mend. */
class MayPass extends Error {
  constructor(
    readonly error: PeregrineError,
    readonly response?: Response,
  ) {
    super(error.message);
  }
}

/** Errors of requests that were made again and again: doing it once more is not for the client. */
export const exhausted = new WeakSet<Error>();

/** The server's side of an engine. */
export class Remote implements Backend {
  /** Where it is, as it may be shown: without what may be secret in it. */
  readonly address: string;
  readonly model: string;
  readonly #base: URL;
  readonly #headers: Record<string, string>;
  readonly #told: Told;
  readonly #log: Log;
  readonly #wait: typeof pause;
  readonly #introduction: number;
  readonly #open = new Set<AbortController>();
  #program: Program | undefined;
  #isClosed = false;
  /** Some answer could be read. */
  #wasRead = false;

  constructor({ base, apiKey, model, log, wait = pause, introduction = 5000 }: RemoteOptions) {
    this.#base = base;
    this.address = base.origin + base.pathname.replace(/\/+$/, "");
    this.model = model;
    this.#headers = apiKey === undefined ? {} : { Authorization: `Bearer ${apiKey}` };
    this.#told = { address: this.address, hide: (text) => (apiKey === undefined ? text : text.replaceAll(apiKey, "…")) };
    this.#log = (level, text) => log(level, this.#told.hide(text));
    this.#wait = wait;
    this.#introduction = introduction;
  }

  call<C extends CallName>(call: C, request: Calls[C]["request"], onEvent?: (event: Calls[C]["event"]) => void): Pending<Calls[C]["result"]> {
    const stop = new AbortController();
    this.#open.add(stop);
    const result = this.#answer(call, request, onEvent as (event: string) => void, stop.signal).finally(() => this.#open.delete(stop));
    return { result: result as Promise<Calls[C]["result"]>, abort: () => stop.abort() };
  }

  close(): Promise<void> {
    this.#isClosed = true;
    for (const stop of this.#open) stop.abort();
    return Promise.resolve();
  }

  async #answer(call: CallName, request: unknown, onEvent: (event: string) => void, signal: AbortSignal): Promise<unknown> {
    if (this.#isClosed) throw makeError("disposed", "the engine has been disposed");
    if (call === "models") return this.#models(signal);
    if (call !== "respond") throw this.#lacking(...(LACKING[call] ?? [call, "load the model on a device"]));
    const asked = request as ApiRequest;
    if (asked.onlyRead) throw this.#lacking("prefill", "leave it out: what it has read a server keeps, or not, by itself");
    const needs = needsToKnow(asked);
    this.#program ??= await this.#patiently(signal, () => this.#introduced(needs, signal));
    const sent = askedOf(asked, this.#program ?? "other", this.model);
    let told = false;
    const tell = (event: string) => ((told ||= event !== ""), onEvent(event));
    return this.#patiently(signal, () => this.#respond(asked.kind, sent, tell, () => told, signal));
  }

  #lacking(what: string, instead: string): PeregrineError {
    return makeError("not-supported", `${what}: this engine's answers come from a server (${this.address}), which has no such thing; ${instead}`);
  }

  /**
   * Does it once more while that may help; the work says so, and only as long as nothing of an
   * answer has been told.
   */
  async #patiently<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await work();
      } catch (thrown) {
        if (signal.aborted) throw makeError(this.#isClosed ? "disposed" : "cancelled", this.#isClosed ? "the engine has been disposed" : "stopped");
        if (!(thrown instanceof MayPass)) throw thrown;
        const { error, response } = thrown;
        if (attempt === ATTEMPTS) {
          const { code, message, cause, api } = error;
          const last = makeError(code, `${message} (tried ${ATTEMPTS} times)`, { ...(cause === undefined ? {} : { cause }), ...(api && { api }) });
          exhausted.add(last);
          throw last;
        }
        this.#log("info", `${error.message}; asking again`);
        // Whether it was stopped meanwhile the next attempt sees at once.
        await this.#wait(attempt, response, signal).catch(() => {});
      }
    }
  }

  /** One attempt. @throws MayPass for what another one may mend */
  async #send(path: string, body: string | undefined, signal: AbortSignal): Promise<Response> {
    const url = new URL(this.#base);
    url.pathname = `${url.pathname.replace(/\/+$/, "")}${path}`;
    const headers = body === undefined ? this.#headers : { ...this.#headers, "Content-Type": "application/json" };
    let response: Response;
    try {
      // A conversation goes to the address that the app has named, and to no other.
      response = await fetch(url, { method: body === undefined ? "GET" : "POST", headers, body: body ?? null, signal, redirect: "manual", cache: "no-store" });
    } catch (cause) {
      if (signal.aborted) throw cause;
      const { error, isFinal } = await diagnose(url, this.#told, cause, signal, this.#wasRead);
      throw isFinal ? error : new MayPass(error);
    }
    this.#wasRead = true;
    if (response.ok) return response;
    const error = await refused(response, this.#told);
    throw mayPass(response.status) || response.status === 409 ? new MayPass(error, response) : error;
  }

  /** The body as JSON. */
  async #json(response: Response): Promise<unknown> {
    let text: string;
    try {
      text = await response.text();
    } catch (cause) {
      throw new MayPass(failed(this.#told, `the connection broke in the middle of an answer: ${(cause as Error).message}`, 502, cause));
    }
    try {
      return JSON.parse(text);
    } catch {
      throw this.#foreign(response, "application/json");
    }
  }

  #foreign(response: Response, expected: string): PeregrineError {
    const found = mediaType(response) || "something that it does not name";
    return failed(this.#told, `the server answered with ${found} where ${expected} was expected; is server.baseURL the address of its API, as https://server/v1?`);
  }

  async #models(signal: AbortSignal): Promise<string> {
    const list = await this.#patiently(signal, async () => this.#json(await this.#send("/models", undefined, signal)));
    if (!Array.isArray((list as { data?: unknown } | null)?.data)) throw failed(this.#told, "/models is no list of models");
    return JSON.stringify(list);
  }

  /**
   * Which program it is; undefined where it does not say now: then the request that follows tells
   * what is wrong, unless it `needs` to know first.
   */
  async #introduced(needs: boolean, signal: AbortSignal): Promise<Program | undefined> {
    const stop = new AbortController();
    const end = () => stop.abort();
    // A timer without an end would end at once.
    const timer = this.#introduction === Infinity ? undefined : setTimeout(end, this.#introduction);
    signal.addEventListener("abort", end, { once: true });
    if (signal.aborted) end();
    try {
      return programOf(await this.#json(await this.#send("/models", undefined, stop.signal)), this.model);
    } catch (thrown) {
      const status = thrown instanceof PeregrineError ? thrown.api?.status : undefined;
      // Whoever has no such path is none of the three.
      if (status === 404 || status === 405) return "other";
      if (needs) throw stop.signal.aborted ? failed(this.#told, "the server does not say which program it is, and the request has fields that not all have") : thrown;
      return undefined;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
    }
  }

  async #respond(kind: ApiRequest["kind"], sent: Asked, tell: (event: string) => void, hasTold: () => boolean, signal: AbortSignal): Promise<ApiResult> {
    const times = { asked: performance.now(), first: 0, last: 0 };
    const response = await this.#send(kind === "chat" ? "/chat/completions" : "/completions", sent.body, signal);
    const { warnings } = sent;
    if (!sent.isStream) {
      const said = await this.#json(response);
      const shaped = wholeOf(kind, said);
      // Some say with status 200 that something went wrong.
      if (typeof shaped === "string") throw this.#oddity(said, shaped);
      times.first = times.last = performance.now();
      const { answer, hasIds } = shaped;
      this.#checkIds(sent, hasIds);
      const usage = usageOf(answer["usage"], answer["timings"], times);
      const whole = { ...answer, ...(usage && { usage }), ...this.#warned(answer, warnings) };
      return { whole: JSON.stringify(whole), usage, cancelled: false };
    }
    if (mediaType(response) !== "text/event-stream" || !response.body) {
      void response.body?.cancel().catch(() => {});
      throw this.#foreign(response, "text/event-stream");
    }
    tell("");
    const pieces = new Pieces(kind);
    let [usage, timings]: unknown[] = [];
    let held: string[] = [];
    let isFirst = true;
    let count = 0;
    try {
      for await (const event of eventsOf(response.body)) {
        if (event === "[DONE]") break;
        const said = this.#parsed(event);
        const piece = pieces.read(said);
        if (!piece) throw this.#oddity(said, "a piece of the answer has no choices");
        usage = piece.usage ?? usage;
        timings = piece.timings ?? timings;
        if (!piece.chunk) continue;
        held.push(JSON.stringify(isFirst ? { ...piece.chunk, ...this.#warned(piece.chunk, warnings) } : piece.chunk));
        isFirst = false;
        if (!piece.weighs) continue;
        times.last = performance.now();
        if (count++ === 0) times.first = times.last;
        // As long as nothing of the answer has been told it can still be asked for again.
        for (const chunk of held) tell(chunk);
        held = [];
      }
    } catch (thrown) {
      if (signal.aborted) throw makeError("cancelled", "stopped");
      const error = thrown instanceof PeregrineError ? thrown : failed(this.#told, this.#told.hide(`the connection broke after ${count} pieces of the answer: ${(thrown as Error).message}`), 502, thrown);
      const isPassing = thrown instanceof PeregrineError ? mayPass(error.api?.status ?? 400) : true;
      throw isPassing && !hasTold() ? new MayPass(error) : error;
    }
    if (signal.aborted) throw makeError("cancelled", "stopped");
    if (!pieces.isWhole) {
      const error = failed(this.#told, `the server ended the answer after ${count} pieces without a finish_reason: it is not whole`);
      throw hasTold() ? error : new MayPass(error);
    }
    this.#checkIds(sent, pieces.hasIds);
    const counts = usageOf(usage, timings, times);
    if (sent.wantsUsage && counts) tell(JSON.stringify({ ...pieces.head, choices: [], usage: counts }));
    return { usage: counts, cancelled: false };
  }

  #parsed(event: string): unknown {
    try {
      return JSON.parse(event);
    } catch {
      throw failed(this.#told, "a piece of the answer is not JSON, or not whole");
    }
  }

  /** What came instead of an answer: an error in its object, or nothing that is known. */
  #oddity(said: unknown, otherwise: string): PeregrineError {
    const error = (said as { error?: { code?: unknown; type?: unknown } } | null)?.error;
    if (!error) return failed(this.#told, otherwise);
    const status = Number(error.code);
    const isFault = error.type === "invalid_request_error" || error.type === "exceed_context_size_error";
    return refusalOf(said, status >= 400 && status < 600 ? status : isFault ? 400 : 500, this.#told);
  }

  /** Ids that were asked for and are not there are no answer to the request. */
  #checkIds({ wantsIds }: Asked, hasIds: boolean): void {
    if (!wantsIds || hasIds) return;
    const api = { status: 400, type: "invalid_request_error", param: "return_token_ids", code: "unsupported_parameter" };
    throw makeError("not-supported", `return_token_ids: the server (${this.address}) gives no ids`, { api });
  }

  #warned(answer: Record<string, unknown>, own: string[]): { warnings?: string[] } {
    const theirs = Array.isArray(answer["warnings"]) ? (answer["warnings"] as string[]) : [];
    return theirs.length + own.length > 0 ? { warnings: [...own, ...theirs] } : {};
  }
}
