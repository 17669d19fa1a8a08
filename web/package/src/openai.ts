/** OpenAI's completions. Made from the types of the crate peregrine-openai by `make types`. */

/** Who says a message. "developer" is OpenAI's newer word for "system". */
export type Role = "system" | "developer" | "user" | "assistant" | "tool";

/** A paragraph of a message. */
export interface TextPart {
  /** There are only texts. */
  type: "text";
  /** What it says. */
  text: string;
}

/** What is called. */
export interface CalledFunction {
  /** Its name. */
  name: string;
  /** JSON, as the model wrote it. */
  arguments: string;
}

/** A call of a tool. */
export interface ToolCall {
  /** No other call of any response has it. */
  id: string;
  /** There are only functions. */
  type: "function";
  /** What is called. */
  function: CalledFunction;
}

/** A piece of a call that is streamed: the first has all fields, those after it the index and more
 * of the arguments. */
export interface ToolCallPiece {
  /** Which of the answer's calls, from 0. */
  index: number;
  /** Of the first piece. */
  id?: string;
  /** Of the first piece. */
  type?: "function";
  /** What is called. */
  function: { name?: string; arguments: string };
}

/** A message of the conversation. */
export interface ChatMessage {
  /** Who says it. */
  role: Role;
  /** A text, or parts of one. Null, or left out: an assistant who has said nothing. */
  content?: string | readonly TextPart[] | null;
  /** Of an assistant: what it called. */
  tool_calls?: readonly ToolCall[] | null;
  /** Of a tool: the call that it answers. */
  tool_call_id?: string;
}

/** What the model is told of a function. */
export interface ToolFunction {
  /** 1 to 64 letters, digits, `_` and `-`; no other tool has it. */
  name: string;
  /** What it is for. */
  description?: string;
  /** A JSON schema of its arguments, an object's. Left out: it has none. */
  parameters?: Record<string, unknown>;
  /** Whether the schema is to be obeyed exactly. */
  strict?: boolean | null;
}

/** A function that the model may call. */
export interface Tool {
  /** There are only functions. */
  type: "function";
  /** The function. */
  function: ToolFunction;
}

/** What may be called. */
export type Tools = readonly Tool[];

/** Whether the model may call a tool ("auto"), must ("required"), must call this, or must not. */
export type ToolChoice = "none" | "auto" | "required" | { type: "function"; function: { name: string } };

/** How calls are written between their tags: as the model's template has it ("auto"), an object for
 * each call, or one array of all. */
export type ToolCallFormat = "auto" | "object" | "array";

/** A schema of an answer. */
export interface JsonSchemaFormat {
  /** 1 to 64 letters, digits, `_` and `-`. */
  name: string;
  /** What it is for. */
  description?: string;
  /** JSON Schema, draft 2020-12. */
  schema: Record<string, unknown> | boolean;
  /** Refuse a schema that cannot be enforced as a whole. Default false: what cannot is named in
   * `warnings`. */
  strict?: boolean | null;
}

/** What an answer must look like. The last three are not OpenAI's: a regular expression, one of
 * several texts, a grammar in Lark's syntax. */
export type ResponseFormat = { type: "text" } | { type: "json_object" } | { type: "json_schema"; json_schema: JsonSchemaFormat } | { type: "regex"; regex: string } | { type: "choice"; choice: readonly string[] } | { type: "grammar"; grammar: string };

/** One text, or several. */
export type Stop = string | readonly string[];

/** Token ids and what is added to their logits. */
export type LogitBias = Record<string, number>;

/** A LoRA adapter that answers beside the model. */
export interface LoraChoice {
  /** Its name. */
  id: string;
  /** -1000 to 1000: multiplied to what it adds. Default 1; 0 is without it. */
  scale?: number | null;
}

/** Adapters beside the model. */
export type Loras = readonly LoraChoice[];

/** `stream_options` */
export interface StreamOptions {
  /** A last chunk with the counts, `usage`. */
  include_usage?: boolean;
}

/** Fields of both kinds of request. */
export interface GenerationParams {
  /** An adapter's name answers with it. Any other name changes nothing, and is named in
   * `warnings`. */
  model?: string;
  /** Chunks as they come (true), or the whole answer at the end. */
  stream?: boolean | null;
  /** What comes with a stream. */
  stream_options?: StreamOptions | null;
  /** 0 to 2; 0 always takes the likeliest token. Default 1. */
  temperature?: number | null;
  /** 0 to 1: only the likeliest tokens that have this share of the probability. Default 1: off. */
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
  logit_bias?: LogitBias | null;
  /** Up to four texts that end the answer; it comes without them. */
  stop?: Stop | null;
  /** The same seed gives the same answer on the same device. A fresh one when left out. */
  seed?: number | null;
  /** What the answers must look like; a text where there is none. */
  response_format?: ResponseFormat | null;
  /** Not OpenAI's: adapters beside the model. Default: none. */
  lora?: Loras | null;
  /** How many answers, 1 to 128: made one after the other, with seeds that follow each other. */
  n?: number | null;
  /** Not OpenAI's: goes on after the model's end token, up to `max_tokens`; for measurements. */
  ignore_eos?: boolean | null;
  /** Not OpenAI's: adds `token_ids` to the choices. */
  return_token_ids?: boolean | null;
}

/** What to do with a conversation that does not fit the context: OpenAI's field of the Responses
 * API. */
export type Truncation = "auto" | "disabled";

/** Body of `POST /v1/chat/completions`, and of `engine.chat.completions.create`. */
export interface ChatCompletionParams {
  /** The conversation. */
  messages: readonly ChatMessage[];
  /** Functions that the model may call. */
  tools?: Tools | null;
  /** Whether it may, or must. Default "auto" where there are tools. */
  tool_choice?: ToolChoice | null;
  /** Several calls in one answer. Default true. */
  parallel_tool_calls?: boolean | null;
  /** Not OpenAI's: how calls are written between their tags, an object for each or one array of
   * all. Default "auto": as the model's template has it. */
  tool_call_format?: ToolCallFormat | null;
  /** At most this many new tokens; as many as fit when left out. */
  max_completion_tokens?: number | null;
  /** The older name of `max_completion_tokens`, which is obeyed where both are there. */
  max_tokens?: number | null;
  /** As in OpenAI's Responses API: "auto" leaves out the oldest turns of a conversation that does
   * not fit the context, but not the system's, and `usage` says how many messages; an answer
   * that fills the context then goes on, too. "disabled" (default) is an error, and ends the
   * answer. */
  truncation?: Truncation | null;
  /** How likely each token was. */
  logprobs?: boolean | null;
  /** 0 to 20: so many of the likeliest tokens with each token; needs `logprobs`. */
  top_logprobs?: number | null;
  /** An adapter's name answers with it. Any other name changes nothing, and is named in
   * `warnings`. */
  model?: string;
  /** Chunks as they come (true), or the whole answer at the end. */
  stream?: boolean | null;
  /** What comes with a stream. */
  stream_options?: StreamOptions | null;
  /** 0 to 2; 0 always takes the likeliest token. Default 1. */
  temperature?: number | null;
  /** 0 to 1: only the likeliest tokens that have this share of the probability. Default 1: off. */
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
  logit_bias?: LogitBias | null;
  /** Up to four texts that end the answer; it comes without them. */
  stop?: Stop | null;
  /** The same seed gives the same answer on the same device. A fresh one when left out. */
  seed?: number | null;
  /** What the answers must look like; a text where there is none. */
  response_format?: ResponseFormat | null;
  /** Not OpenAI's: adapters beside the model. Default: none. */
  lora?: Loras | null;
  /** How many answers, 1 to 128: made one after the other, with seeds that follow each other. */
  n?: number | null;
  /** Not OpenAI's: goes on after the model's end token, up to `max_tokens`; for measurements. */
  ignore_eos?: boolean | null;
  /** Not OpenAI's: adds `token_ids` to the choices. */
  return_token_ids?: boolean | null;
}

/** Body of `POST /v1/completions`, and of `engine.completions.create`. */
export interface CompletionParams {
  /** A text to go on with, or its token ids; or several of either. */
  prompt: string | readonly number[] | readonly string[] | readonly (readonly number[])[];
  /** At most this many new tokens. Default 16. */
  max_tokens?: number | null;
  /** An adapter's name answers with it. Any other name changes nothing, and is named in
   * `warnings`. */
  model?: string;
  /** Chunks as they come (true), or the whole answer at the end. */
  stream?: boolean | null;
  /** What comes with a stream. */
  stream_options?: StreamOptions | null;
  /** 0 to 2; 0 always takes the likeliest token. Default 1. */
  temperature?: number | null;
  /** 0 to 1: only the likeliest tokens that have this share of the probability. Default 1: off. */
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
  logit_bias?: LogitBias | null;
  /** Up to four texts that end the answer; it comes without them. */
  stop?: Stop | null;
  /** The same seed gives the same answer on the same device. A fresh one when left out. */
  seed?: number | null;
  /** What the answers must look like; a text where there is none. */
  response_format?: ResponseFormat | null;
  /** Not OpenAI's: adapters beside the model. Default: none. */
  lora?: Loras | null;
  /** How many answers, 1 to 128: made one after the other, with seeds that follow each other. */
  n?: number | null;
  /** Not OpenAI's: goes on after the model's end token, up to `max_tokens`; for measurements. */
  ignore_eos?: boolean | null;
  /** Not OpenAI's: adds `token_ids` to the choices. */
  return_token_ids?: boolean | null;
}

/** Why an answer ended: by itself, with calls of tools or without, or because `max_tokens` or the
 * context was used up. OpenAI's API has more. */
export type FinishReason = "stop" | "length" | "tool_calls";

/** What the prompt cost. */
export interface PromptTokensDetails {
  /** Tokens that were read in an earlier request and cost nothing now. */
  cached_tokens: number;
  /** Not OpenAI's: messages that were left out, see `truncation`. */
  dropped_messages: number;
}

/** Times. */
export interface Timings {
  /** Reading the new part of the prompt, milliseconds. */
  prefill_ms: number;
  /** From the first token of an answer to its last, milliseconds. */
  decode_ms: number;
  /** Tokens a second in that time; 0 for answers too short to say. */
  tokens_per_second: number;
}

/** Token counts, and how long the parts took. */
export interface Usage {
  /** Of the prompt. */
  prompt_tokens: number;
  /** Of all answers. */
  completion_tokens: number;
  /** Both. */
  total_tokens: number;
  /** What the prompt cost. */
  prompt_tokens_details: PromptTokensDetails;
  /** Not OpenAI's. */
  timings: Timings;
}

/** A token and how likely it was. */
export interface TokenLogprob {
  /** Its text; half a character is U+FFFD here, and right in `bytes`. */
  token: string;
  /** Natural logarithm of its probability, before temperature and penalties. */
  logprob: number;
  /** UTF-8, or a part of a character. A control token has those of its name, which is no part of
   * the answer; null is for the ids of a padded vocabulary that no token has. */
  bytes: Array<number> | null;
}

/** A token of the answer, and the likeliest in its place. */
export interface ContentLogprob {
  /** The likeliest first. */
  top_logprobs: Array<TokenLogprob>;
  /** Its text; half a character is U+FFFD here, and right in `bytes`. */
  token: string;
  /** Natural logarithm of its probability, before temperature and penalties. */
  logprob: number;
  /** UTF-8, or a part of a character. A control token has those of its name, which is no part of
   * the answer; null is for the ids of a padded vocabulary that no token has. */
  bytes: Array<number> | null;
}

/** How likely the tokens of a choice were. */
export interface Logprobs {
  /** In order. */
  content: Array<ContentLogprob>;
  /** Always null: nothing is refused. */
  refusal: null;
}

/** What is new. */
export interface Delta {
  /** `assistant`, in the first piece of an answer. */
  role?: "assistant";
  /** Text. */
  content?: string;
  /** Pieces of calls: those of one call have its index. */
  tool_calls?: Array<ToolCallPiece>;
}

/** A piece of one answer. */
export interface ChunkChoice {
  /** From 0. */
  index: number;
  /** What is new. */
  delta: Delta;
  /** There where they were asked for; null in chunks without a token. */
  logprobs?: Logprobs | null;
  /** Of the last piece. */
  finish_reason: FinishReason | null;
  /** Where they were asked for. */
  token_ids?: Array<number>;
}

/** A piece of a streamed answer. */
export interface ChatCompletionChunk {
  /** The same in all chunks of a response. */
  id: string;
  /** `chat.completion.chunk` */
  object: "chat.completion.chunk";
  /** Seconds since 1970. */
  created: number;
  /** The model that answers. */
  model: string;
  /** One; none in the chunk with the counts. */
  choices: Array<ChunkChoice>;
  /** Of the last chunk, and null in those before, where it was asked for. */
  usage?: Usage | null;
  /** Not OpenAI's: of the first chunk, fields of the request that changed nothing. */
  warnings?: Array<string>;
}

/** What was said. */
export interface AssistantMessage {
  /** `assistant` */
  role: "assistant";
  /** Without control tokens, stop texts and calls. Null where there is nothing but calls. */
  content: string | null;
  /** Always null: nothing is refused. */
  refusal: null;
  /** Calls of tools. */
  tool_calls?: Array<ToolCall>;
}

/** One answer. */
export interface ChatChoice {
  /** From 0. */
  index: number;
  /** What was said. */
  message: AssistantMessage;
  /** Where they were asked for. */
  logprobs: Logprobs | null;
  /** Always there. */
  finish_reason: FinishReason;
  /** Where they were asked for. */
  token_ids?: Array<number>;
}

/** A whole answer to a conversation. */
export interface ChatCompletion {
  /** Its own. */
  id: string;
  /** `chat.completion` */
  object: "chat.completion";
  /** Seconds since 1970. */
  created: number;
  /** The model that answered. */
  model: string;
  /** The answers. */
  choices: Array<ChatChoice>;
  /** What it took. */
  usage: Usage;
  /** Not OpenAI's: fields of the request that changed nothing. */
  warnings?: Array<string>;
}

/** One answer, or a piece of it. */
export interface TextChoice {
  /** From 0: all answers to the first prompt, then those to the second. */
  index: number;
  /** What is new. */
  text: string;
  /** Always null. */
  logprobs: null;
  /** Null in pieces before the last. */
  finish_reason: FinishReason | null;
  /** Where they were asked for. */
  token_ids?: Array<number>;
}

/** A plain completion, or a piece of one that is streamed. */
export interface Completion {
  /** Its own. */
  id: string;
  /** `text_completion` */
  object: "text_completion";
  /** Seconds since 1970. */
  created: number;
  /** The model that answers. */
  model: string;
  /** The answers; none in the piece with the counts. */
  choices: Array<TextChoice>;
  /** Of whole completions, and of the last piece where it was asked for. */
  usage?: Usage | null;
  /** Not OpenAI's: fields of the request that changed nothing. */
  warnings?: Array<string>;
}
