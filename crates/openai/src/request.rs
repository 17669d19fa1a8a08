//! Requests: OpenAI's names, defaults and ranges, and fields of our own. What this version does not
//! do is refused by name; what changes no answer is let through, with a warning.

mod calls;
mod check;
mod fields;
mod format;
mod generation;
mod lora;
mod messages;
mod prompts;
mod tools;

use std::borrow::Cow;

use peregrine::chat::{CallFormat, ChatTemplate, Message};
use peregrine::session::Overflow;
use serde::Serialize;
use serde_json::Value;

pub(crate) use self::check::MOST_WARNINGS;
use self::check::{Body, boolean, one_of, whole, wrong};
use self::fields::{CHAT, COMPLETION};
pub use self::format::ResponseFormat;
pub use self::generation::{Generation, StreamOptions};
pub use self::lora::Lora;
pub use self::prompts::Prompt;
pub use self::tools::{Tool, ToolChoice};
use crate::error::{ApiError, Code};

/// Most answers to one request.
pub const MOST_ANSWERS: u32 = 128;

/// Body of `POST /v1/chat/completions`, and of `engine.chat.completions.create`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(rename = "ChatCompletionParams"))]
pub struct ChatRequest {
    /// The conversation.
    #[cfg_attr(test, ts(type = "readonly ChatMessage[]"))]
    pub messages: Vec<Message>,
    /// Functions that the model may call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, ts(optional = nullable, as = "Option<crate::types::Tools>"))]
    pub tools: Vec<Tool>,
    /// Whether it may, or must. Default "auto" where there are tools.
    #[serde(skip_serializing_if = "is_auto")]
    #[cfg_attr(test, ts(optional = nullable, as = "Option<crate::types::ToolChoice>"))]
    pub tool_choice: ToolChoice,
    /// Several calls in one answer. Default true.
    #[serde(skip_serializing_if = "is_true")]
    #[cfg_attr(test, ts(optional = nullable, as = "Option<_>"))]
    pub parallel_tool_calls: bool,
    /// Not OpenAI's: how calls are written between their tags, an object for each or one array of
    /// all. Default "auto": as the model's template has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional = nullable, as = "Option<crate::types::CallFormat>"))]
    pub tool_call_format: Option<CallFormat>,
    /// At most this many new tokens; as many as fit when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional = nullable))]
    pub max_completion_tokens: Option<u32>,
    /// The older name of `max_completion_tokens`, which is obeyed where both are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional = nullable))]
    pub max_tokens: Option<u32>,
    /// As in OpenAI's Responses API: "auto" leaves out the oldest turns of a conversation that does
    /// not fit the context, but not the system's, and `usage` says how many messages; an answer
    /// that fills the context then goes on, too. "disabled" (default) is an error, and ends the
    /// answer.
    #[cfg_attr(test, ts(optional = nullable, as = "Option<_>"))]
    pub truncation: Truncation,
    /// How likely each token was.
    #[cfg_attr(test, ts(optional = nullable, as = "Option<_>"))]
    pub logprobs: bool,
    /// 0 to 20: so many of the likeliest tokens with each token; needs `logprobs`.
    #[cfg_attr(test, ts(optional = nullable, as = "Option<_>"))]
    pub top_logprobs: u32,
    /// What both kinds of request have.
    #[serde(flatten)]
    pub generation: Generation,
}

// Defaults are left out: without tools they say nothing.
fn is_auto(choice: &ToolChoice) -> bool {
    *choice == ToolChoice::Auto
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_true(value: &bool) -> bool {
    *value
}

/// What to do with a conversation that does not fit the context: OpenAI's field of the Responses
/// API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum Truncation {
    /// Leave out the oldest turns.
    Auto,
    /// Refuse it.
    #[default]
    Disabled,
}

/// Body of `POST /v1/completions`, and of `engine.completions.create`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(rename = "CompletionParams"))]
pub struct CompletionRequest {
    /// A text to go on with, or its token ids; or several of either.
    #[serde(serialize_with = "prompts::one_or_many")]
    #[cfg_attr(test, ts(type = "string | readonly number[] | readonly string[] | readonly (readonly number[])[]"))]
    pub prompt: Vec<Prompt>,
    /// At most this many new tokens. Default 16.
    #[cfg_attr(test, ts(optional = nullable, as = "Option<_>"))]
    pub max_tokens: u32,
    /// What both kinds of request have.
    #[serde(flatten)]
    pub generation: Generation,
}

/// Either.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Request {
    /// A conversation to answer.
    Chat(ChatRequest),
    /// Texts to go on with.
    Completion(CompletionRequest),
}

impl ChatRequest {
    /// # Errors
    /// 400 that names the field: what was expected, and what was found.
    pub fn parse(body: &Value) -> Result<Self, ApiError> {
        let mut body = Body::new(body, &CHAT)?;
        let messages = messages::read(&mut body)?;
        let (tools, tool_choice, parallel_tool_calls) = tools::read(&mut body)?;
        let tool_call_format = match body.get("tool_call_format") {
            None => None,
            Some((path, value)) => CallFormat::named(one_of(path, value, &["auto", "object", "array"])?),
        };
        let limit = |name| {
            let given = body.get(name).map(|(path, value)| whole(path, value, 1, u32::MAX.into()));
            given.transpose().map(|tokens| tokens.map(|tokens| tokens as u32))
        };
        let (max_completion_tokens, max_tokens) = (limit("max_completion_tokens")?, limit("max_tokens")?);
        let truncation = match body.get("truncation") {
            None => Truncation::Disabled,
            Some((path, value)) => match one_of(path, value, &["auto", "disabled"])? {
                "auto" => Truncation::Auto,
                _ => Truncation::Disabled,
            },
        };
        let logprobs = body.get("logprobs").map_or(Ok(false), |(path, value)| boolean(path, value))?;
        let top_logprobs = match body.get("top_logprobs") {
            None => 0,
            Some((path, value)) => match whole(path, value, 0, 20)? {
                top if top > 0 && !logprobs => return Err(wrong(path, "logprobs: true beside it", value)),
                top => top as u32,
            },
        };
        let generation = Generation::parse(&mut body)?;
        Ok(Self {
            messages,
            tools,
            tool_choice,
            parallel_tool_calls,
            tool_call_format,
            max_completion_tokens,
            max_tokens,
            truncation,
            logprobs,
            top_logprobs,
            generation,
        })
    }

    /// Most tokens of an answer.
    pub fn most_tokens(&self) -> u32 {
        self.max_completion_tokens.or(self.max_tokens).unwrap_or(u32::MAX)
    }

    /// Whether the answer may call tools.
    pub fn may_call(&self) -> bool {
        !self.tools.is_empty() && self.tool_choice != ToolChoice::None
    }

    /// How calls are written.
    pub(crate) fn call_format(&self, template: &ChatTemplate) -> CallFormat {
        self.tool_call_format.unwrap_or_else(|| template.call_format())
    }

    /// The conversation as the model is told it: with the tools that it may call.
    pub fn conversation(&self) -> Cow<'_, [Message]> {
        if !self.may_call() {
            return Cow::Borrowed(&self.messages);
        }
        let tools = Message::tools(self.tools.iter().map(Tool::described).collect());
        let tools = self.tool_call_format.into_iter().fold(tools, Message::with_call_format);
        Cow::Owned(std::iter::once(tools).chain(self.messages.iter().cloned()).collect())
    }

    /// What the runtime does with a conversation that does not fit.
    pub fn overflow(&self) -> Overflow {
        match self.truncation {
            Truncation::Auto => Overflow::DropOldest,
            Truncation::Disabled => Overflow::Error,
        }
    }
}

impl CompletionRequest {
    /// # Errors
    /// As [`ChatRequest::parse`].
    pub fn parse(body: &Value) -> Result<Self, ApiError> {
        let mut body = Body::new(body, &COMPLETION)?;
        let prompt = prompts::read(&body)?;
        let max_tokens =
            body.get("max_tokens").map_or(Ok(16), |(path, value)| whole(path, value, 1, u32::MAX.into()))? as u32;
        let generation = Generation::parse(&mut body)?;
        if prompt.len() as u64 * u64::from(generation.n) > MOST_ANSWERS.into() {
            let message = format!(
                "at most {MOST_ANSWERS} answers to one request, found {} prompts, {} answers each",
                prompt.len(),
                generation.n
            );
            return Err(ApiError::at(Code::InvalidValue, "n", &message));
        }
        Ok(Self { prompt, max_tokens, generation })
    }
}

/// The body of a request.
///
/// # Errors
/// 400 for what is not JSON.
pub fn json(body: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::new(Code::InvalidJson, format!("the body is not JSON: {error}")))
}

impl Request {
    /// A chat completion.
    ///
    /// # Errors
    /// As [`ChatRequest::parse`].
    pub fn chat(body: &Value) -> Result<Self, ApiError> {
        ChatRequest::parse(body).map(Self::Chat)
    }

    /// A plain completion.
    ///
    /// # Errors
    /// As [`ChatRequest::parse`].
    pub fn completion(body: &Value) -> Result<Self, ApiError> {
        CompletionRequest::parse(body).map(Self::Completion)
    }

    /// What both kinds have.
    pub fn generation(&self) -> &Generation {
        match self {
            Self::Chat(request) => &request.generation,
            Self::Completion(request) => &request.generation,
        }
    }

    /// The same, to be changed.
    pub fn generation_mut(&mut self) -> &mut Generation {
        match self {
            Self::Chat(request) => &mut request.generation,
            Self::Completion(request) => &mut request.generation,
        }
    }

    /// Whether grammars are needed to answer it: for a format, or for calls of tools.
    pub fn needs_grammars(&self) -> bool {
        let may_call = matches!(self, Self::Chat(request) if request.may_call());
        may_call || self.generation().response_format.is_some()
    }

    /// Most tokens of an answer.
    pub fn max_tokens(&self) -> u32 {
        match self {
            Self::Chat(request) => request.most_tokens(),
            Self::Completion(request) => request.max_tokens,
        }
    }

    /// How many answers there will be.
    pub fn answers(&self) -> u32 {
        match self {
            Self::Chat(request) => request.generation.n,
            // Checked when it was read.
            Self::Completion(request) => request.prompt.len() as u32 * request.generation.n,
        }
    }
}
