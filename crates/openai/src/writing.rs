//! From the tokens of an answer to chunks, or to the whole.

mod shapes;

use peregrine::session::{Finish, Generated, Piece};

pub(crate) use self::shapes::{Chats, Texts};
use crate::answer::{Event, Head, Whole};
use crate::request::{Generation, MOST_WARNINGS};
use crate::response::{FinishReason, Logprobs, ToolCall, Usage};
use crate::tools::Parser;

/// What there is to tell: a token, the end of an answer, or both.
#[derive(Clone, Default)]
pub(crate) struct Update {
    index: u32,
    /// Nothing of this answer was told before.
    first: bool,
    text: String,
    calls: Vec<ToolCall>,
    ids: Vec<u32>,
    logprobs: Option<Logprobs>,
    finish: Option<FinishReason>,
}

/// What responses look like.
pub(crate) trait Shape {
    /// Finds calls in an answer that may have any.
    fn parser(&self) -> Option<Parser>;
    /// A control token that stands before or after a call; other control tokens say nothing.
    fn tag(&self, token: u32) -> Option<&'static str>;
    /// The name of a response's call.
    fn call_id(&self, number: usize) -> String;
    /// How likely the token was, where that was asked.
    fn logprobs(&self, piece: &Piece) -> Option<Logprobs>;
    /// What comes before the first piece of an answer, where there is something.
    fn begin(&self, index: u32) -> Option<Event>;
    /// A piece.
    fn piece(&self, update: Update) -> Event;
    /// The counts, after the last answer.
    fn usage(&self, usage: Usage) -> Event;
    /// All at once.
    fn whole(&self, answers: Vec<Update>, usage: Usage, warnings: Vec<String>) -> Whole;
}

/// Tells chunks, or keeps them for the whole.
pub(crate) struct Writer<'a, S> {
    shape: S,
    generation: &'a Generation,
    on_event: &'a mut dyn FnMut(Event) -> bool,
    /// Not told yet.
    warnings: Vec<String>,
    answers: Vec<Update>,
    /// Why they ended; none for the one that was stopped.
    finishes: Vec<Option<FinishReason>>,
    /// Of this answer.
    parser: Option<Parser>,
    /// Calls in the answers before.
    calls: usize,
    /// Bytes of this answer's text that were in its pieces.
    told: usize,
    /// Somebody no longer listened: nothing more is told, and what was made is not whole.
    refused: bool,
}

impl<'a, S: Shape> Writer<'a, S> {
    pub fn new(shape: S, generation: &'a Generation, head: &Head, on_event: &'a mut dyn FnMut(Event) -> bool) -> Self {
        let asked = generation.model.as_ref().filter(|asked| **asked != head.model);
        let other = asked.map(|asked| {
            let short: String = asked.chars().take(80).collect();
            format!("model: there is no {short} here, {} answers", head.model)
        });
        let warnings = other.into_iter().chain(generation.warnings.iter().cloned()).take(MOST_WARNINGS).collect();
        Self {
            shape,
            generation,
            on_event,
            warnings,
            answers: Vec::new(),
            finishes: Vec::new(),
            parser: None,
            calls: 0,
            told: 0,
            refused: false,
        }
    }

    /// Before an answer. Nothing is told yet: it may be refused.
    pub fn begin(&mut self, index: u32) {
        self.answers.push(Update { index, first: true, ..Update::default() });
        self.told = 0;
        self.calls += self.parser.as_ref().map_or(0, Parser::calls);
        self.parser = self.shape.parser();
    }

    /// A token. `false`: nobody listens any more, or all calls are there that may be.
    pub fn piece(&mut self, piece: &Piece) -> bool {
        self.told += piece.text.len();
        let logprobs = self.shape.logprobs(piece);
        let (mut text, mut calls) = self.sift(&piece.text);
        if let Some(tag) = self.shape.tag(piece.token).filter(|_| self.parser.is_some()) {
            let (more, others) = self.sift(tag);
            text.push_str(&more);
            calls.extend(others);
        }
        self.emit(Update { text, calls, ids: vec![piece.token], logprobs, ..Update::default() }) && !self.is_full()
    }

    /// The end of an answer, with the text that came after its last token. An end that nobody hears
    /// is none: the answer was cancelled.
    pub fn end(&mut self, answer: Generated) -> Generated {
        let (mut text, mut calls) = self.sift(answer.text.get(self.told..).unwrap_or_default());
        // The last call that may be ends an answer.
        let finish = if self.is_full() && !self.refused { Finish::Stop } else { answer.finish };
        let first = self.calls;
        let mut reason = FinishReason::of(finish);
        if let Some(parser) = self.parser.as_mut().filter(|_| reason.is_some()) {
            // What a stop text has cut off is not completed.
            let is_whole = finish == Finish::Stop && !answer.stop_text;
            let rest = parser.finish(is_whole);
            text.push_str(&rest.text);
            calls.extend(rest.calls.into_iter().map(|news| ToolCall::piece(news, |i| self.shape.call_id(first + i))));
            if parser.calls() > 0 && is_whole {
                reason = Some(FinishReason::ToolCalls);
            }
        }
        let is_news = reason.is_some() || !text.is_empty() || !calls.is_empty();
        let is_heard = !is_news || self.emit(Update { text, calls, finish: reason, ..Update::default() });
        self.finishes.push(reason.filter(|_| is_heard));
        Generated { finish: if is_heard { finish } else { Finish::Cancelled }, ..answer }
    }

    /// The text without its calls, and those.
    fn sift(&mut self, text: &str) -> (String, Vec<ToolCall>) {
        let Some(parser) = &mut self.parser else { return (text.into(), Vec::new()) };
        let (news, first) = (parser.push(text), self.calls);
        let calls = news.calls.into_iter().map(|call| ToolCall::piece(call, |i| self.shape.call_id(first + i)));
        (news.text, calls.collect())
    }

    fn is_full(&self) -> bool {
        self.parser.as_ref().is_some_and(Parser::is_full)
    }

    /// Why each answer has ended.
    pub fn finishes(&self) -> &[Option<FinishReason>] {
        &self.finishes
    }

    fn emit(&mut self, news: Update) -> bool {
        let Some(answer) = self.answers.last_mut() else { return true };
        if !self.generation.stream {
            answer.text.push_str(&news.text);
            ToolCall::join(&mut answer.calls, news.calls);
            answer.ids.extend(news.ids);
            if let Some(logprobs) = news.logprobs {
                answer.logprobs.get_or_insert_default().content.extend(logprobs.content);
            }
            answer.finish = news.finish;
            return true;
        }
        let index = answer.index;
        if std::mem::take(&mut answer.first) && !self.shape.begin(index).is_none_or(|event| self.send(event)) {
            return false;
        }
        let event = self.shape.piece(Update { index, ..news });
        self.send(event)
    }

    /// The first event has the warnings. Nothing comes after one that was refused.
    fn send(&mut self, mut event: Event) -> bool {
        if self.refused {
            return false;
        }
        let warnings = std::mem::take(&mut self.warnings);
        match &mut event {
            Event::Chat(chunk) => chunk.warnings = warnings,
            Event::Completion(piece) => piece.warnings = warnings,
        }
        self.refused = !(self.on_event)(event);
        !self.refused
    }

    /// After the last answer: the whole, where it is no stream, and whether everything was heard.
    pub fn finish(mut self, usage: Usage) -> (Option<Whole>, bool) {
        if !self.generation.stream {
            return (Some(self.shape.whole(self.answers, usage, self.warnings)), true);
        }
        if self.generation.stream_options.include_usage {
            let event = self.shape.usage(usage);
            self.send(event);
        }
        (None, !self.refused)
    }
}

#[cfg(test)]
mod tests;
