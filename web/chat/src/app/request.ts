/** From a branch of a chat to what the engine is asked. */

import type { ChatMessage, Engine } from "peregrine";
import type { Message, Sampling } from "../store/types.js";
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

/** The adapters beside the model: all that were loaded act. An engine whose answers come from a server has none. */
export const loraOf = (engine: Engine) => ({ lora: (engine.info.adapters ?? []).map(({ id }) => ({ id })) });

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
export interface Stream extends Counted, AsyncIterable<Piece> {}

const wrap = <C>(stream: Counted & AsyncIterable<C>, piece: (chunk: C) => Piece | undefined): Stream => ({
  get usage() {
    return stream.usage;
  },
  async *[Symbol.asyncIterator]() {
    for await (const chunk of stream) {
      const found = piece(chunk);
      if (found) yield found;
    }
  },
});

/** Asks for an answer to a branch. */
export async function startAnswer(engine: Engine, messages: ChatMessage[], settings: Settings, drop: boolean, signal: AbortSignal): Promise<Stream> {
  const stream = await engine.chat.completions.create(
    { ...paramsOf(settings), ...loraOf(engine), messages, stream: true, max_completion_tokens: settings.maxTokens, truncation: drop ? "auto" : "disabled" },
    { signal },
  );
  return wrap(stream, ({ choices: [choice] }) => {
    if (!choice || choice.delta.role) return undefined;
    return { text: choice.delta.content ?? "", token: choice.finish_reason === null };
  });
}

/** A conversation in the format in which Falcon-H1 models read it. */
export const chatml = (messages: readonly ChatMessage[]) => messages.map(({ role, content }) => `<|im_start|>${role}\n${content}<|im_end|>\n`).join("");

/** The beginnings of a conversation that end with its first documents, as far as those are read as a whole: other conversations may begin so. */
export function beginningsOf(branch: readonly Message[], messages: readonly ChatMessage[]): string[] {
  const [first] = branch;
  const at = messages.length - branch.length;
  const head = `${chatml(messages.slice(0, at))}<|im_start|>${first?.role}\n`;
  const whole = first?.attachments ?? [];
  const partly = whole.findIndex(({ part }) => part !== undefined);
  return whole.slice(0, partly < 0 ? whole.length : partly).map((_, i) => head + contentOf({ content: "", attachments: whole.slice(0, i + 1) }).trimEnd());
}

/**
 * Asks for more of an answer that was cut. The model goes on behind its last word where its format is the known one, which is checked
 * against what the engine itself makes of the conversation; else it is asked in words.
 */
export async function continueAnswer(engine: Engine, messages: ChatMessage[], begun: string, settings: Settings, signal: AbortSignal): Promise<Stream> {
  const { prompt_tokens: expected } = await engine.prefill(messages, { signal, ...loraOf(engine) });
  for (const addBos of [false, true]) {
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
