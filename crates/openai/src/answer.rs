//! One request, answered by a session.

use std::rc::Rc;

use peregrine::session::{Engine, Finish, GenerateOptions, Generated, Piece, Session};
use serde::Serialize;

use crate::error::{ApiError, Code};
use crate::request::{ChatRequest, CompletionRequest, Prompt, Request};
use crate::response::{ChatCompletion, ChatCompletionChunk, Completion, FinishReason, Usage};
use crate::writing::{Chats, Texts, Writer};

/// Asked between steps, also while a prompt is read; `true` stops.
pub type Cancel = Rc<dyn Fn() -> bool>;

/// What only the caller has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// A name of its own, without a prefix: `chatcmpl-` or `cmpl-` comes before it.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model's name.
    pub model: String,
    /// For requests that have none.
    pub seed: u64,
}

/// A piece of a streamed response.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Event {
    /// Of an answer to a conversation.
    Chat(ChatCompletionChunk),
    /// Of a plain completion.
    Completion(Completion),
}

/// A whole response.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Whole {
    /// An answer to a conversation.
    Chat(ChatCompletion),
    /// A plain completion.
    Completion(Completion),
}

/// How it went.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// The response; none where it was streamed, or stopped.
    pub whole: Option<Whole>,
    /// What it took, also where it was stopped.
    pub usage: Usage,
    /// Why each answer ended; none for the one that was stopped.
    pub finishes: Vec<Option<FinishReason>>,
}

impl Done {
    /// Whether the caller stopped it: what was written by then has been told, and the session can go on from there.
    pub fn is_cancelled(&self) -> bool {
        self.finishes.contains(&None)
    }
}

/// Answers a request. Several answers are made one after the other, with seeds that follow each other; they share what they read.
/// `on_event` hears the chunks of a request that wants a stream; `false` stops, as `cancel` does.
///
/// # Errors
/// The engine's, as OpenAI's object. Before anything is read: a conversation that does not fit, tokens that there are not. A chunk may
/// have been told before others.
pub async fn answer(
    session: &mut Session,
    request: &Request,
    head: &Head,
    on_event: &mut dyn FnMut(Event) -> bool,
    cancel: Option<Cancel>,
) -> Result<Done, ApiError> {
    let engine = session.engine().clone();
    check_biases(&engine, request)?;
    match request {
        Request::Chat(request) => chat(&engine, session, request, head, on_event, cancel).await,
        Request::Completion(request) => complete(&engine, session, request, head, on_event, cancel).await,
    }
}

/// Reads the prompt of a request and answers nothing: requests that begin in the same way go on from there.
///
/// # Errors
/// As [`answer`].
pub async fn read(session: &mut Session, request: &Request, cancel: Option<Cancel>) -> Result<Done, ApiError> {
    let engine = session.engine().clone();
    let cancel = cancel.as_deref();
    let mut answers = Vec::new();
    match request {
        Request::Chat(request) => {
            expect_template(&engine)?;
            let read = session.prepare_chat(&request.messages, cancel).await;
            answers.push(read.map_err(|error| ApiError::of(&error, "messages"))?);
        }
        Request::Completion(request) => {
            for ids in ids_of(&engine, request)? {
                let read = session.prepare(&ids, cancel).await;
                answers.push(read.map_err(|error| ApiError::of(&error, "prompt"))?);
                if answers.iter().any(|answer| answer.finish == Finish::Cancelled) {
                    break;
                }
            }
        }
    }
    Ok(Done { whole: None, usage: Usage::of(&answers, 1), finishes: finishes(&answers) })
}

async fn chat(
    engine: &Engine,
    session: &mut Session,
    request: &ChatRequest,
    head: &Head,
    on_event: &mut dyn FnMut(Event) -> bool,
    cancel: Option<Cancel>,
) -> Result<Done, ApiError> {
    expect_template(engine)?;
    let generation = &request.generation;
    let mut writer = Writer::new(Chats::new(head, request, engine.tokenizer()), generation, head, on_event);
    let max_tokens = request.max_completion_tokens.unwrap_or(u32::MAX);
    let mut answers = Vec::new();
    for index in 0..generation.n {
        let options = GenerateOptions {
            logprobs: request.logprobs.then_some(request.top_logprobs),
            overflow: request.overflow(),
            cancel: cancel.clone(),
            ..generation.options(seed(head, request.generation.seed, index), max_tokens)
        };
        writer.begin(index);
        let mut on_piece = |piece: Piece| writer.piece(&piece);
        let answered = session.chat(&request.messages, &options, &mut on_piece).await;
        answers.push(writer.end(answered.map_err(|error| ApiError::of(&error, "messages"))?));
        if answers[index as usize].finish == Finish::Cancelled {
            break;
        }
    }
    Ok(finish(writer, &answers, generation.n))
}

async fn complete(
    engine: &Engine,
    session: &mut Session,
    request: &CompletionRequest,
    head: &Head,
    on_event: &mut dyn FnMut(Event) -> bool,
    cancel: Option<Cancel>,
) -> Result<Done, ApiError> {
    let generation = &request.generation;
    let prompts = ids_of(engine, request)?;
    let mut writer = Writer::new(Texts::new(head, request), generation, head, on_event);
    let mut answers: Vec<Generated> = Vec::new();
    for index in 0..request.prompt.len() as u32 * generation.n {
        let options = GenerateOptions {
            cancel: cancel.clone(),
            ..generation.options(seed(head, generation.seed, index), request.max_tokens)
        };
        writer.begin(index);
        let mut on_piece = |piece: Piece| writer.piece(&piece);
        let answered = session.complete(&prompts[(index / generation.n) as usize], &options, &mut on_piece).await;
        answers.push(writer.end(answered.map_err(|error| ApiError::of(&error, "prompt"))?));
        if answers[index as usize].finish == Finish::Cancelled {
            break;
        }
    }
    Ok(finish(writer, &answers, generation.n))
}

fn finish<S: crate::writing::Shape>(writer: Writer<'_, S>, answers: &[Generated], n: u32) -> Done {
    let (usage, finishes) = (Usage::of(answers, n as usize), finishes(answers));
    let whole = if finishes.contains(&None) { None } else { writer.finish(usage) };
    Done { whole, usage, finishes }
}

fn finishes(answers: &[Generated]) -> Vec<Option<FinishReason>> {
    answers.iter().map(|answer| FinishReason::of(answer.finish)).collect()
}

/// Negative seeds are seeds like others.
fn seed(head: &Head, given: Option<i64>, index: u32) -> u64 {
    given.map_or(head.seed, |seed| seed as u64).wrapping_add(index.into())
}

fn expect_template(engine: &Engine) -> Result<(), ApiError> {
    match engine.chat_template() {
        Some(_) => Ok(()),
        None => {
            let message = "this model has no chat template, so it is not a chat model: use /v1/completions";
            Err(ApiError::at(Code::Unsupported, "messages", message))
        }
    }
}

/// The tokens of the prompts; a text begins a document.
fn ids_of(engine: &Engine, request: &CompletionRequest) -> Result<Vec<Vec<u32>>, ApiError> {
    let tokenizer = engine.tokenizer();
    let one = |prompt: &Prompt| match prompt {
        Prompt::Ids(ids) => Ok(ids.clone()),
        Prompt::Text(text) => {
            tokenizer.encode(text, tokenizer.add_bos()).map_err(|error| ApiError::of(&error, "prompt"))
        }
    };
    request.prompt.iter().map(one).collect()
}

fn check_biases(engine: &Engine, request: &Request) -> Result<(), ApiError> {
    let vocab_size = engine.config().vocab_size;
    match request.generation().logit_bias.keys().find(|token| **token >= vocab_size) {
        None => Ok(()),
        Some(token) => {
            let message = format!("expected a token id below {vocab_size}, found {token}");
            Err(ApiError::at(Code::InvalidValue, &format!("logit_bias[\"{token}\"]"), &message))
        }
    }
}
