//! From the tokens of an answer to chunks, or to the whole.

mod shapes;

use peregrine::session::{Finish, Generated, Piece};

pub(crate) use self::shapes::{Chats, Texts};
use crate::answer::{Event, Head, Whole};
use crate::request::Generation;
use crate::response::{FinishReason, Logprobs, Usage};

/// What there is to tell: a token, the end of an answer, or both.
#[derive(Clone, Default)]
pub(crate) struct Told {
    index: u32,
    /// Nothing of this answer was told before.
    first: bool,
    text: String,
    ids: Vec<u32>,
    logprobs: Option<Logprobs>,
    finish: Option<FinishReason>,
}

/// What responses look like.
pub(crate) trait Shape {
    /// How likely the token was, where that was asked.
    fn logprobs(&self, piece: &Piece) -> Option<Logprobs>;
    /// What comes before the first piece of an answer, where there is something.
    fn begin(&self, index: u32) -> Option<Event>;
    /// A piece.
    fn piece(&self, told: Told) -> Event;
    /// The counts, after the last answer.
    fn usage(&self, usage: Usage) -> Event;
    /// All at once.
    fn whole(&self, answers: Vec<Told>, usage: Usage, warnings: Vec<String>) -> Whole;
}

/// Tells chunks, or keeps them for the whole.
pub(crate) struct Writer<'a, S> {
    shape: S,
    generation: &'a Generation,
    on_event: &'a mut dyn FnMut(Event) -> bool,
    /// Not told yet.
    warnings: Vec<String>,
    answers: Vec<Told>,
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
        let warnings = other.into_iter().chain(generation.warnings.iter().cloned()).collect();
        Self { shape, generation, on_event, warnings, answers: Vec::new(), told: 0, refused: false }
    }

    /// Before an answer. Nothing is told yet: it may be refused.
    pub fn begin(&mut self, index: u32) {
        self.answers.push(Told { index, first: true, ..Told::default() });
        self.told = 0;
    }

    /// A token. `false`: nobody listens any more.
    pub fn piece(&mut self, piece: &Piece) -> bool {
        self.told += piece.text.len();
        let logprobs = self.shape.logprobs(piece);
        self.tell(Told { text: piece.text.clone(), ids: vec![piece.token], logprobs, ..Told::default() })
    }

    /// The end of an answer, with the text that came after its last token. An end that nobody hears is none: the answer was cancelled.
    pub fn end(&mut self, answer: Generated) -> Generated {
        let text = answer.text.get(self.told..).unwrap_or_default().to_string();
        let finish = FinishReason::of(answer.finish);
        let is_news = finish.is_some() || !text.is_empty();
        match is_news && !self.tell(Told { text, finish, ..Told::default() }) {
            true => Generated { finish: Finish::Cancelled, ..answer },
            false => answer,
        }
    }

    fn tell(&mut self, news: Told) -> bool {
        let Some(answer) = self.answers.last_mut() else { return true };
        if !self.generation.stream {
            answer.text.push_str(&news.text);
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
        let event = self.shape.piece(Told { index, ..news });
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
