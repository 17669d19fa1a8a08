/** From a branch of a chat to what the engine is asked. */

import type { ChatMessage } from "peregrine";
import type { Message, Sampling } from "../store/types.js";
import { isDevice, type Answerer } from "./engine.js";
import { asOurs } from "./faults.js";
import type { Settings } from "./settings.js";

/** What the model reads of a message: documents come before the question. */
export function contentOf({ content, attachments = [] }: Pick<Message, "content" | "attachments">): string {
  return attachments.map(({ text }) => `${text}\n\n`).join("") + content;
}

/** A branch as the engine gets it, after the instructions. */
export function messagesOf(branch: readonly Message[], instructions: string): ChatMessage[] {
  const said = branch.map((message): ChatMessage => ({ role: message.role, content: contentOf(message) }));
  return instructions.trim() === "" ? said : [{ role: "system", content: instructions }, ...said];
}

/** The settings by the names of the engine's parameters. */
export function paramsOf(sampling: Sampling) {
  const { temperature, topP, topK, minP, repetitionPenalty, presencePenalty, frequencyPenalty, seed } = sampling;
  return {
    temperature,
    top_p: topP,
    top_k: topK,
    min_p: minP,
    repetition_penalty: repetitionPenalty,
    presence_penalty: presencePenalty,
    frequency_penalty: frequencyPenalty,
    ...(seed === null ? {} : { seed }),
  };
}

/** The adapters beside the model: all that were loaded act. A server's are its own business. */
export const loraOf = ({ info }: Answerer): { lora?: { id: string }[] } =>
  info.where === "device" && info.adapters.length > 0 ? { lora: info.adapters.map(({ id }) => ({ id })) } : {};

/** What streams of both kinds tell piece by piece. */
export interface Piece {
  text: string;
  /** Of a token; the last piece may have none. */
  token: boolean;
}

/** Where a stream tells at its end what it has cost. */
interface Counted {
  usage: { prompt_tokens: number; completion_tokens: number; prompt_tokens_details: { cached_tokens: number; dropped_messages: number }; timings: { tokens_per_second: number } } | undefined;
}

/** An answer as it comes. */
export interface Stream extends Counted, AsyncIterable<Piece> {
  /** It ended because it might not be longer. */
  readonly isCut: boolean;
}

function wrap<C extends { choices: { finish_reason: string | null }[] }>(stream: Counted & AsyncIterable<C>, piece: (chunk: C) => Piece | undefined): Stream {
  let isCut = false;
  return {
    get isCut() {
      return isCut;
    },
    get usage() {
      return stream.usage;
    },
    async *[Symbol.asyncIterator]() {
      for await (const chunk of stream) {
        isCut ||= chunk.choices[0]?.finish_reason === "length";
        const found = piece(chunk);
        if (found) yield found;
      }
    },
  };
}

/** Asks for an answer to a branch. */
export async function startAnswer(engine: Answerer, messages: ChatMessage[], settings: Settings, drop: boolean, signal: AbortSignal): Promise<Stream> {
  const ask = async (messages: ChatMessage[], truncation: "auto" | "disabled") => {
    const stream = await engine.chat.completions.create({ ...paramsOf(settings), ...loraOf(engine), messages, stream: true, max_completion_tokens: settings.maxTokens, truncation }, { signal });
    return wrap(stream, ({ choices: [choice] }) => {
      if (!choice || (choice.delta.role && !choice.delta.content)) return undefined;
      return { text: choice.delta.content ?? "", token: choice.finish_reason === null };
    });
  };
  if (isDevice(engine)) return ask(messages, drop ? "auto" : "disabled");
  const whole = await ask(messages, "disabled");
  return drop ? dropping(whole, messages, (fewer) => ask(fewer, "disabled")) : whole;
}

/** Without the oldest question and its answer; undefined where only one is left. */
function withoutOldest(messages: readonly ChatMessage[]): ChatMessage[] | undefined {
  const [first, next] = messages.flatMap(({ role }, i) => (role === "user" ? [i] : []));
  return first === undefined || next === undefined ? undefined : [...messages.slice(0, first), ...messages.slice(next)];
}

/**
 * Not every server leaves the oldest messages out: it is asked with fewer and fewer of them until
 * they fit.
 */
function dropping(whole: Stream, all: readonly ChatMessage[], ask: (messages: ChatMessage[]) => Promise<Stream>): Stream {
  let stream = whole;
  let messages = all;
  return {
    get isCut() {
      return stream.isCut;
    },
    get usage() {
      const { usage } = stream;
      const dropped_messages = all.length - messages.length;
      return usage && { ...usage, prompt_tokens_details: { ...usage.prompt_tokens_details, dropped_messages } };
    },
    async *[Symbol.asyncIterator]() {
      let began = false;
      for (;;) {
        try {
          for await (const piece of stream) {
            began = true;
            yield piece;
          }
          return;
        } catch (error) {
          const fewer = !began && asOurs(error).code === "context-full" ? withoutOldest(messages) : undefined;
          if (!fewer) throw error;
          messages = fewer;
          stream = await ask(fewer);
        }
      }
    },
  };
}

/** A conversation in the format in which Falcon-H1 models read it. */
export const chatml = (messages: readonly ChatMessage[]) => messages.map(({ role, content }) => `<|im_start|>${role}\n${content}<|im_end|>\n`).join("");

/**
 * The beginnings of a conversation that end with its first documents, as far as those are read as a
 * whole: other conversations may begin so.
 */
export function beginningsOf(branch: readonly Message[], messages: readonly ChatMessage[]): string[] {
  const [first] = branch;
  const at = messages.length - branch.length;
  const head = `${chatml(messages.slice(0, at))}<|im_start|>${first?.role}\n`;
  const whole = first?.attachments ?? [];
  const partly = whole.findIndex(({ part }) => part !== undefined);
  return whole.slice(0, partly < 0 ? whole.length : partly).map((_, i) => head + contentOf({ content: "", attachments: whole.slice(0, i + 1) }).trimEnd());
}

/**
 * Asks for more of an answer that was cut. The model goes on behind its last word where its format
 * is the known one, which is checked against what the engine itself makes of the conversation; else
 * it is asked in words.
 */
export async function continueAnswer(engine: Answerer, messages: ChatMessage[], begun: string, settings: Settings, signal: AbortSignal): Promise<Stream> {
  const { prompt_tokens: expected } = isDevice(engine) ? await engine.prefill(messages, { signal, ...loraOf(engine) }) : { prompt_tokens: -1 };
  for (const addBos of isDevice(engine) ? [false, true] : []) {
    const before = await engine.tokenizer.encode(chatml(messages), { addBos });
    if (before.length !== expected) continue;
    const answer = await engine.tokenizer.encode(`<|im_start|>assistant\n${begun}`);
    const prompt = [...before, ...answer];
    const stream = await engine.completions.create({ ...paramsOf(settings), ...loraOf(engine), prompt, stream: true, max_tokens: settings.maxTokens }, { signal });
    return wrap(stream, ({ choices: [choice] }) => choice && { text: choice.text, token: choice.finish_reason === null });
  }
  const asked: ChatMessage[] = [...messages, { role: "assistant", content: begun }, { role: "user", content: "Go on exactly where you stopped, without repeating anything." }];
  return startAnswer(engine, asked, settings, false, signal);
}
