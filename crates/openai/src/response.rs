//! What comes out: completions, chunks, models, counts; and their form as server-sent events.

mod calls;
mod models;

use peregrine::session::{Finish, Generated};
use serde::Serialize;

pub use self::calls::{CalledFunction, ToolCall};
pub use self::models::{Model, Models};

/// Why an answer ended: by itself, with calls of tools or without, or because `max_tokens` or the
/// context was used up. OpenAI's API has more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum FinishReason {
    /// The model's end token, or a stop text.
    Stop,
    /// As many tokens as were allowed, or as fit.
    Length,
    /// It ended by itself, and has called tools.
    ToolCalls,
}

impl FinishReason {
    /// None for an answer that was stopped from outside.
    pub fn of(finish: Finish) -> Option<Self> {
        match finish {
            Finish::Stop => Some(Self::Stop),
            Finish::Length | Finish::Context => Some(Self::Length),
            Finish::Cancelled => None,
        }
    }

    /// As it is in a response.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
        }
    }
}

/// A token and how likely it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct TokenLogprob {
    /// Its text; half a character is U+FFFD here, and right in `bytes`.
    pub token: String,
    /// Natural logarithm of its probability, before temperature and penalties.
    pub logprob: f32,
    /// UTF-8, or a part of a character. A control token has those of its name, which is no part of
    /// the answer; null is for the ids of a padded vocabulary that no token has.
    pub bytes: Option<Vec<u8>>,
}

/// A token of the answer, and the likeliest in its place.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ContentLogprob {
    /// The one that was sampled.
    #[serde(flatten)]
    pub token: TokenLogprob,
    /// The likeliest first.
    pub top_logprobs: Vec<TokenLogprob>,
}

/// How likely the tokens of a choice were.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Logprobs {
    /// In order.
    pub content: Vec<ContentLogprob>,
    /// Always null: nothing is refused.
    #[cfg_attr(test, ts(type = "null"))]
    pub refusal: Option<String>,
}

/// Token counts, and how long the parts took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Usage {
    /// Of the prompt.
    pub prompt_tokens: u64,
    /// Of all answers.
    pub completion_tokens: u64,
    /// Both.
    pub total_tokens: u64,
    /// What the prompt cost.
    pub prompt_tokens_details: PromptTokensDetails,
    /// Not OpenAI's.
    pub timings: Timings,
}

/// What the prompt cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct PromptTokensDetails {
    /// Tokens that were read in an earlier request and cost nothing now.
    pub cached_tokens: u64,
    /// Not OpenAI's: messages that were left out, see `truncation`.
    pub dropped_messages: u64,
}

/// Times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Timings {
    /// Reading the new part of the prompt, milliseconds.
    pub prefill_ms: f64,
    /// From the first token of an answer to its last, milliseconds.
    pub decode_ms: f64,
    /// Tokens a second in that time; 0 for answers too short to say.
    pub tokens_per_second: f64,
}

impl Usage {
    /// Of the answers to one request, `n` to each of its prompts, in order.
    pub fn of(answers: &[Generated], n: usize) -> Self {
        // The other answers to a prompt read it again, or what of it is not kept: it counts once.
        let firsts = || answers.iter().step_by(n.max(1));
        let prompt_tokens = firsts().map(|answer| u64::from(answer.prompt_tokens)).sum();
        let completion_tokens = answers.iter().map(|answer| answer.ids.len() as u64).sum();
        let decode: f64 = answers.iter().map(|answer| answer.decode_seconds).sum();
        let later: usize = answers.iter().map(|answer| answer.ids.len().saturating_sub(1)).sum();
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            prompt_tokens_details: PromptTokensDetails {
                cached_tokens: firsts().map(|answer| u64::from(answer.cached_tokens)).sum(),
                dropped_messages: firsts().map(|answer| u64::from(answer.dropped_messages)).sum(),
            },
            timings: Timings {
                prefill_ms: answers.iter().map(|answer| answer.prefill_seconds).sum::<f64>() * 1000.0,
                decode_ms: decode * 1000.0,
                tokens_per_second: if later > 0 && decode > 0.0 { later as f64 / decode } else { 0.0 },
            },
        }
    }
}

/// A whole answer to a conversation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ChatCompletion {
    /// Its own.
    pub id: String,
    /// `chat.completion`
    #[cfg_attr(test, ts(type = "\"chat.completion\""))]
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: u64,
    /// The model that answered.
    pub model: String,
    /// The answers.
    pub choices: Vec<ChatChoice>,
    /// What it took.
    pub usage: Usage,
    /// Not OpenAI's: fields of the request that changed nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, ts(optional, as = "Option<Vec<String>>"))]
    pub warnings: Vec<String>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ChatChoice {
    /// From 0.
    pub index: u32,
    /// What was said.
    pub message: AssistantMessage,
    /// Where they were asked for.
    pub logprobs: Option<Logprobs>,
    /// Always there.
    pub finish_reason: FinishReason,
    /// Where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub token_ids: Option<Vec<u32>>,
}

/// What was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct AssistantMessage {
    /// `assistant`
    #[cfg_attr(test, ts(type = "\"assistant\""))]
    pub role: &'static str,
    /// Without control tokens, stop texts and calls. Null where there is nothing but calls.
    pub content: Option<String>,
    /// Always null: nothing is refused.
    #[cfg_attr(test, ts(type = "null"))]
    pub refusal: Option<String>,
    /// Calls of tools.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, ts(optional, as = "Option<Vec<crate::types::ToolCall>>"))]
    pub tool_calls: Vec<ToolCall>,
}

/// A piece of a streamed answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ChatCompletionChunk {
    /// The same in all chunks of a response.
    pub id: String,
    /// `chat.completion.chunk`
    #[cfg_attr(test, ts(type = "\"chat.completion.chunk\""))]
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: u64,
    /// The model that answers.
    pub model: String,
    /// One; none in the chunk with the counts.
    pub choices: Vec<ChunkChoice>,
    /// Of the last chunk, and null in those before, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional = nullable, as = "Option<Usage>"))]
    pub usage: Option<Option<Usage>>,
    /// Not OpenAI's: of the first chunk, fields of the request that changed nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, ts(optional, as = "Option<Vec<String>>"))]
    pub warnings: Vec<String>,
}

/// A piece of one answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ChunkChoice {
    /// From 0.
    pub index: u32,
    /// What is new.
    pub delta: Delta,
    /// There where they were asked for; null in chunks without a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional = nullable, as = "Option<Logprobs>"))]
    pub logprobs: Option<Option<Logprobs>>,
    /// Of the last piece.
    pub finish_reason: Option<FinishReason>,
    /// Where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub token_ids: Option<Vec<u32>>,
}

/// What is new.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Delta {
    /// `assistant`, in the first piece of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional, type = "\"assistant\""))]
    pub role: Option<&'static str>,
    /// Text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub content: Option<String>,
    /// Pieces of calls: those of one call have its index.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, ts(optional, as = "Option<Vec<crate::types::ToolCallPiece>>"))]
    pub tool_calls: Vec<ToolCall>,
}

/// A plain completion, or a piece of one that is streamed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Completion {
    /// Its own.
    pub id: String,
    /// `text_completion`
    #[cfg_attr(test, ts(type = "\"text_completion\""))]
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: u64,
    /// The model that answers.
    pub model: String,
    /// The answers; none in the piece with the counts.
    pub choices: Vec<TextChoice>,
    /// Of whole completions, and of the last piece where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional = nullable, as = "Option<Usage>"))]
    pub usage: Option<Option<Usage>>,
    /// Not OpenAI's: fields of the request that changed nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, ts(optional, as = "Option<Vec<String>>"))]
    pub warnings: Vec<String>,
}

/// One answer, or a piece of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct TextChoice {
    /// From 0: all answers to the first prompt, then those to the second.
    pub index: u32,
    /// What is new.
    pub text: String,
    /// Always null.
    #[cfg_attr(test, ts(type = "null"))]
    pub logprobs: Option<Logprobs>,
    /// Null in pieces before the last.
    pub finish_reason: Option<FinishReason>,
    /// Where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub token_ids: Option<Vec<u32>>,
}

/// The end of a stream of events.
pub const DONE: &str = "data: [DONE]\n\n";

/// A chunk or an error as a server-sent event.
///
/// # Errors
/// None for what this crate makes.
pub fn event(value: &impl Serialize) -> serde_json::Result<String> {
    // JSON has no line ends of its own.
    Ok(format!("data: {}\n\n", serde_json::to_string(value)?))
}
