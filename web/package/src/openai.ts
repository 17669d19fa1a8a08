/** The shapes of OpenAI's completions, as far as generation alone goes. */

/** A message of the conversation. Only text. */
export interface ChatMessage {
  /** "developer" is OpenAI's newer word for "system". */
  role: "system" | "developer" | "user" | "assistant";
  /** A text, or parts of one. Null: an assistant who has said nothing. */
  content: string | readonly { type: "text"; text: string }[] | null;
}

/** What both kinds of completion take. Names, defaults and ranges are OpenAI's where OpenAI has the field. */
export interface GenerationParams {
  /** Chunks as they come (true), or the whole answer at the end. */
  stream?: boolean | null;
  stream_options?: { include_usage?: boolean } | null;
  /** 0 to 2; 0 always takes the likeliest token. Default 1. */
  temperature?: number | null;
  /** 0 to 1. Default 1: off. */
  top_p?: number | null;
  /** Not OpenAI's: only the k likeliest tokens. Default 0: off. */
  top_k?: number | null;
  /** Not OpenAI's: drops tokens less likely than this share of the likeliest. Default 0: off. */
  min_p?: number | null;
  /** -2 to 2: taken off the logit of every token that the answer has already. Default 0. */
  presence_penalty?: number | null;
  /** -2 to 2: taken off a token's logit for each time that the answer has it already. Default 0. */
  frequency_penalty?: number | null;
  /** Not OpenAI's: above 1 makes tokens that are already there less likely. Default 1: off. */
  repetition_penalty?: number | null;
  /** Token ids and what is added to their logits, -100 to 100. */
  logit_bias?: Record<string, number> | null;
  /** Up to four texts that end the answer; it is told without them. */
  stop?: string | readonly string[] | null;
  /** The same seed gives the same answer on the same device. A fresh one when left out. */
  seed?: number | null;
  /** How many answers, 1 to 128. They are made one after the other, with seeds that follow each other. */
  n?: number | null;
  /** Not OpenAI's: goes on after the model's end token, up to `max_tokens`; for measurements. */
  ignore_eos?: boolean | null;
  /** Not OpenAI's: adds `token_ids` to the choices. */
  return_token_ids?: boolean | null;
  /** There is one model in an engine: another name changes nothing, and is told in `warnings`. */
  model?: string;
}

/** Body of `engine.chat.completions.create`. */
export interface ChatCompletionParams extends GenerationParams {
  messages: readonly ChatMessage[];
  /** At most this many new tokens; as many as fit when left out. */
  max_completion_tokens?: number | null;
  /** The older name of `max_completion_tokens`. */
  max_tokens?: number | null;
  /**
   * As in OpenAI's Responses API: "auto" leaves out the oldest turns of a conversation that does not fit the context, but not the
   * system's, and `usage` says how many messages; an answer that fills the context then goes on, too. "disabled" (default) is an error,
   * and ends the answer.
   */
  truncation?: "auto" | "disabled" | null;
  /** How likely each token was. */
  logprobs?: boolean | null;
  /** 0 to 20: so many of the likeliest tokens with each token; needs `logprobs`. */
  top_logprobs?: number | null;
}

/** Body of `engine.completions.create`. */
export interface CompletionParams extends GenerationParams {
  /** A text to go on with, or its token ids; or several of either. */
  prompt: string | readonly number[] | readonly string[] | readonly (readonly number[])[];
  /** At most this many new tokens. Default 16. */
  max_tokens?: number | null;
}

/** Why an answer ended: by itself, or because `max_tokens` or the context was used up. */
export type FinishReason = "stop" | "length";

/** Token counts, OpenAI's shape, and how long the parts took. */
export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  /** Tokens of the prompt that were read in an earlier request and cost nothing now. */
  prompt_tokens_details: { cached_tokens: number; /** Not OpenAI's: see {@link ChatCompletionParams.truncation}. */ dropped_messages: number };
  timings: {
    /** Reading the new part of the prompt, milliseconds. */
    prefill_ms: number;
    /** From the first token of the answer to the last, milliseconds. */
    decode_ms: number;
    /** Tokens a second in that time; 0 for answers too short to say. */
    tokens_per_second: number;
  };
}

/** A token and how likely it was. */
export interface TokenLogprob {
  /** Its text; half a character is U+FFFD here, and right in `bytes`. */
  token: string;
  /** Natural logarithm of its probability, before temperature and penalties. */
  logprob: number;
  bytes: number[] | null;
}

/** How likely the tokens of a choice were. */
export interface Logprobs {
  content: (TokenLogprob & { top_logprobs: TokenLogprob[] })[];
  refusal: null;
}

/** A piece of a streamed answer. */
export interface ChatCompletionChunk {
  id: string;
  object: "chat.completion.chunk";
  /** Seconds since 1970. */
  created: number;
  model: string;
  choices: {
    index: number;
    delta: { role?: "assistant"; content?: string };
    logprobs?: Logprobs | null;
    finish_reason: FinishReason | null;
    token_ids?: number[];
  }[];
  /** On the last chunk, when `stream_options.include_usage` asks for it. */
  usage?: Usage | null;
  /** Not OpenAI's, on the first chunk: fields that were let through though nothing is done with them. */
  warnings?: string[];
}

/** A whole answer. */
export interface ChatCompletion {
  id: string;
  object: "chat.completion";
  /** Seconds since 1970. */
  created: number;
  model: string;
  choices: {
    index: number;
    message: { role: "assistant"; content: string; refusal: null };
    logprobs: Logprobs | null;
    finish_reason: FinishReason;
    token_ids?: number[];
  }[];
  usage: Usage;
  /** Not OpenAI's: fields that were let through though nothing is done with them. */
  warnings?: string[];
}

/** A plain completion, or a piece of one that is streamed. */
export interface Completion {
  id: string;
  object: "text_completion";
  /** Seconds since 1970. */
  created: number;
  model: string;
  choices: {
    index: number;
    text: string;
    logprobs: null;
    /** Null in pieces before the last. */
    finish_reason: FinishReason | null;
    token_ids?: number[];
  }[];
  /** Of whole completions, and of the last piece when `stream_options.include_usage` asks for it. */
  usage?: Usage | null;
  /** Not OpenAI's: fields that were let through though nothing is done with them. */
  warnings?: string[];
}
