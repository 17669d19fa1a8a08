//! What an answer is asked for with, and what comes back.

use std::rc::Rc;

use crate::constraint::Grammar;
use crate::sampling::{Logprobs, SamplingOptions};

/// What to do with a conversation that does not fit the context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// [`Error::ContextFull`](crate::Error::ContextFull) before anything is read.
    #[default]
    Error,
    /// The oldest turns are left out, but not the system's: as many as leave a quarter of the
    /// context for what comes, and no more while the conversation goes on and fits. The states are
    /// those of the conversation without them: what remains is read again from the nearest
    /// snapshot. An answer that fills the context does the same in its middle, and goes on.
    DropOldest,
}

/// How to generate.
#[derive(Clone)]
pub struct GenerateOptions {
    /// Most tokens of the answer.
    pub max_tokens: u32,
    /// How the next token is sampled.
    pub sampling: SamplingOptions,
    /// Texts that end the answer, which is told without them.
    pub stop: Vec<String>,
    /// Tell how likely each token was, and so many of the likeliest (see
    /// [`crate::sampling::logprobs`]).
    pub logprobs: Option<u32>,
    /// Go on after an end token (benchmarks). Under a grammar no end token comes as long as another
    /// one may, and the answer ends where nothing can follow.
    pub ignore_end: bool,
    /// What the answer must look like. It ends by itself where nothing can follow, and else with an
    /// end token where it is complete; one that `max_tokens`, a full context or a stop text cuts
    /// short is not.
    pub grammar: Option<Rc<dyn Grammar>>,
    /// What [`Session::chat`](super::Session::chat) does with a conversation that does not fit the
    /// context.
    pub overflow: Overflow,
    /// Asked between steps; `true` stops. What was read stays read.
    pub cancel: Option<Rc<dyn Fn() -> bool>>,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            max_tokens: 512,
            sampling: SamplingOptions::default(),
            stop: Vec::new(),
            logprobs: None,
            ignore_end: false,
            grammar: None,
            overflow: Overflow::default(),
            cancel: None,
        }
    }
}

/// One token of an answer and the text that it completes.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// The token's id.
    pub token: u32,
    /// Text, often empty: a character may need several tokens.
    pub text: String,
    /// How likely it was, where that was asked.
    pub logprobs: Option<Logprobs>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model said so, with an end token; a stop text came; or nothing can follow under the
    /// grammar.
    Stop,
    /// `max_tokens` were made.
    Length,
    /// The context is full.
    Context,
    /// The caller stopped it.
    Cancelled,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// Its text, without control tokens and stop texts.
    pub text: String,
    /// Its tokens, without the end token.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
    /// A stop text ended it.
    pub stop_text: bool,
    /// Tokens of the prompt, read now or before.
    pub prompt_tokens: u32,
    /// Those of them that had been read before.
    pub cached_tokens: u32,
    /// Messages that were left out, from the first that is not the system's on: see [`Overflow`].
    pub dropped_messages: u32,
    /// Seconds until the first token.
    pub prefill_seconds: f64,
    /// Seconds for the tokens after the first.
    pub decode_seconds: f64,
}

impl Generated {
    /// Without any token.
    pub(super) fn new(finish: Finish, prompt_tokens: u32, cached_tokens: u32) -> Self {
        Self {
            text: String::new(),
            ids: Vec::new(),
            finish,
            stop_text: false,
            prompt_tokens,
            cached_tokens,
            dropped_messages: 0,
            prefill_seconds: 0.0,
            decode_seconds: 0.0,
        }
    }

    /// Decode speed, where there is one to speak of.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let tokens = self.ids.len().saturating_sub(1);
        (tokens > 0 && self.decode_seconds > 0.0).then(|| tokens as f64 / self.decode_seconds)
    }
}
