//! One request, answered by a session.

use std::rc::Rc;

use peregrine::constraint::{Compiler, Grammar};
use peregrine::session::{Engine, Finish, GenerateOptions, Generated, Piece, Session};
use serde::Serialize;

use crate::admission::Rules;
use crate::error::ApiError;
use crate::request::{ChatRequest, CompletionRequest, Generation, Request};
use crate::response::{ChatCompletion, ChatCompletionChunk, Completion, FinishReason, Usage};
use crate::tools::{Calls, Enforced};
use crate::writing::{Chats, Shape, Texts, Writer};

const FORMAT: &str = "response_format";

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
    /// The caller stopped it, or did not hear all of it.
    pub cancelled: bool,
}

impl Done {
    /// Whether the caller stopped it: what was written by then has been told, and the session can
    /// go on from there. A stream that was stopped has no end, however much of it had been made.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled
    }

    /// Stopped before anything was read.
    fn not_begun() -> Self {
        Self { whole: None, usage: Usage::default(), finishes: vec![None], cancelled: true }
    }
}

/// Answers a request. Several answers are made one after the other, with seeds that follow each
/// other; they share what they read. `on_event` hears the chunks of a request that wants a stream;
/// `false` stops, as `cancel` does. `compiler` makes grammars of what an answer must look like,
/// calls of tools included; without one a request that asks for it is refused.
///
/// # Errors
/// The engine's, as OpenAI's object. Before anything is read or told: a conversation or any of
/// several prompts that does not fit, tokens that there are not. Chunks may have been told before
/// others: those of the device.
pub async fn answer(
    session: &mut Session,
    request: &Request,
    head: &Head,
    on_event: &mut dyn FnMut(Event) -> bool,
    cancel: Option<Cancel>,
    compiler: Option<&dyn Compiler>,
) -> Result<Done, ApiError> {
    let engine = session.engine().clone();
    Rules::of(&engine).biases(request)?;
    let format = request.generation().response_format.as_ref();
    let grammar = format.map(|format| format.compiled(compiler)).transpose()?;
    let mut generation = request.generation().clone();
    generation.warnings.extend(grammar.iter().flat_map(|grammar| grammar.warnings().iter().map(|w| not_enforced(w))));
    let made = Made { generation, grammar, calls: None };
    // A conversation is rendered at once, however long it is: not for somebody who has gone by now.
    if cancel.as_ref().is_some_and(|cancelled| cancelled()) {
        return Ok(Done::not_begun());
    }
    match request {
        Request::Chat(request) => {
            let calls = Rules::of(&engine).calls(request, compiler)?;
            chat(&engine, session, request, made.with_calls(calls), head, on_event, cancel).await
        }
        Request::Completion(request) => complete(&engine, session, request, made, head, on_event, cancel).await,
    }
}

/// Reads the prompt of a request and answers nothing: requests that begin in the same way go on
/// from there.
///
/// # Errors
/// As [`answer`].
pub async fn read(session: &mut Session, request: &Request, cancel: Option<Cancel>) -> Result<Done, ApiError> {
    let engine = session.engine().clone();
    let (rules, cancel) = (Rules::of(&engine), cancel.as_deref());
    let mut answers = Vec::new();
    match request {
        Request::Chat(request) => {
            rules.template()?;
            let read = session.prepare_chat(&request.conversation(), cancel).await;
            answers.push(counted(session, read.map_err(|error| ApiError::of(&error, "messages"))?));
        }
        Request::Completion(request) => {
            let Some(prompts) = rules.prompts(request, cancel)? else { return Ok(Done::not_begun()) };
            for ids in prompts {
                let read = session.prepare(&ids, cancel).await;
                answers.push(counted(session, read.map_err(|error| ApiError::of(&error, "prompt"))?));
                if answers.iter().any(|answer| answer.finish == Finish::Cancelled) {
                    break;
                }
            }
        }
    }
    let finishes = finishes(&answers);
    let cancelled = finishes.contains(&None);
    Ok(Done { whole: None, usage: Usage::of(&answers, 1), finishes, cancelled })
}

/// What is the same for all answers to a request.
struct Made {
    /// With what the grammar says.
    generation: Generation,
    grammar: Option<Rc<dyn Grammar>>,
    /// Of the calls alone.
    calls: Option<Rc<dyn Grammar>>,
}

impl Made {
    fn with_calls(mut self, calls: Option<Calls>) -> Self {
        self.calls = calls.and_then(|calls| {
            self.generation.warnings.extend(calls.warnings);
            calls.grammar
        });
        self
    }
}

fn not_enforced(warning: &str) -> String {
    format!("{FORMAT}: not all of it is enforced: {warning}")
}

async fn chat(
    engine: &Engine,
    session: &mut Session,
    request: &ChatRequest,
    made: Made,
    head: &Head,
    on_event: &mut dyn FnMut(Event) -> bool,
    cancel: Option<Cancel>,
) -> Result<Done, ApiError> {
    let template = Rules::of(engine).template()?;
    let messages = request.conversation();
    let Made { generation, grammar, calls } = made;
    let shape = Chats::new(head, request, template, engine.tokenizer());
    let mut writer = Writer::new(shape, &generation, head, on_event);
    // What the grammar is made of; of both it is not known which has failed.
    let holder = match (&calls, &grammar) {
        (Some(_), Some(_)) if !request.must_call() => None,
        (Some(_), _) => Some("tools"),
        _ => Some(FORMAT),
    };
    let grammar = match calls {
        Some(calls) => Some(Enforced::of(request, template, engine.shared_tokenizer(), calls, grammar)),
        None => grammar,
    };
    let max_tokens = request.most_tokens();
    let mut answers = Vec::new();
    for index in 0..generation.n {
        let options = GenerateOptions {
            logprobs: request.logprobs.then_some(request.top_logprobs),
            overflow: request.overflow(),
            cancel: cancel.clone(),
            grammar: grammar.clone(),
            ..generation.options(seed(head, request.generation.seed, index), max_tokens)
        };
        writer.begin(index);
        let mut on_piece = |piece: Piece| writer.piece(&piece);
        let answered = session.chat(&messages, &options, &mut on_piece).await;
        let answered = answered.map_err(|error| ApiError::of(&error, "messages").held_by(holder))?;
        let answered = counted(session, answered);
        answers.push(writer.end(answered));
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
    made: Made,
    head: &Head,
    on_event: &mut dyn FnMut(Event) -> bool,
    cancel: Option<Cancel>,
) -> Result<Done, ApiError> {
    let Made { generation, grammar, .. } = &made;
    let Some(prompts) = Rules::of(engine).prompts(request, cancel.as_deref())? else { return Ok(Done::not_begun()) };
    let mut writer = Writer::new(Texts::new(head, request), generation, head, on_event);
    let mut answers: Vec<Generated> = Vec::new();
    for index in 0..request.prompt.len() as u32 * generation.n {
        let options = GenerateOptions {
            cancel: cancel.clone(),
            grammar: grammar.clone(),
            ..generation.options(seed(head, generation.seed, index), request.max_tokens)
        };
        writer.begin(index);
        let mut on_piece = |piece: Piece| writer.piece(&piece);
        let answered = session.complete(&prompts[(index / generation.n) as usize], &options, &mut on_piece).await;
        let answered = answered.map_err(|error| ApiError::of(&error, "prompt").held_by(Some(FORMAT)))?;
        let answered = counted(session, answered);
        answers.push(writer.end(answered));
        if answers[index as usize].finish == Finish::Cancelled {
            break;
        }
    }
    Ok(finish(writer, &answers, generation.n))
}

fn finish<S: Shape>(writer: Writer<'_, S>, answers: &[Generated], n: u32) -> Done {
    let (usage, finishes) = (Usage::of(answers, n as usize), writer.finishes().to_vec());
    if finishes.contains(&None) {
        return Done { whole: None, usage, finishes, cancelled: true };
    }
    let (whole, heard) = writer.finish(usage);
    Done { whole, usage, finishes, cancelled: !heard }
}

/// Of a prompt that was not read to its end, only what was read counts.
fn counted(session: &Session, answer: Generated) -> Generated {
    match answer.finish == Finish::Cancelled && answer.ids.is_empty() {
        true => Generated { prompt_tokens: answer.prompt_tokens.min(session.position()), ..answer },
        false => answer,
    }
}

fn finishes(answers: &[Generated]) -> Vec<Option<FinishReason>> {
    answers.iter().map(|answer| FinishReason::of(answer.finish)).collect()
}

/// Negative seeds are seeds like others.
fn seed(head: &Head, given: Option<i64>, index: u32) -> u64 {
    given.map_or(head.seed, |seed| seed as u64).wrapping_add(index.into())
}
