//! From the tokens of an answer to chunks, or to the whole.

use peregrine::session::{Generated, Piece};
use peregrine::tokenizer::Tokenizer;

use crate::answer::{Event, Head, Whole};
use crate::request::{ChatRequest, CompletionRequest, Generation};
use crate::response::{
    AssistantMessage, ChatChoice, ChatCompletion, ChatCompletionChunk, ChunkChoice, Completion, ContentLogprob, Delta,
    FinishReason, Logprobs, TextChoice, TokenLogprob, Usage,
};

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
}

impl<'a, S: Shape> Writer<'a, S> {
    pub fn new(shape: S, generation: &'a Generation, head: &Head, on_event: &'a mut dyn FnMut(Event) -> bool) -> Self {
        let asked = generation.model.as_ref().filter(|asked| **asked != head.model);
        let other = asked.map(|asked| {
            let short: String = asked.chars().take(80).collect();
            format!("model: there is no {short} here, {} answers", head.model)
        });
        let warnings = other.into_iter().chain(generation.warnings.iter().cloned()).collect();
        Self { shape, generation, on_event, warnings, answers: Vec::new(), told: 0 }
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

    /// The end of an answer, with the text that came after its last token.
    pub fn end(&mut self, answer: Generated) -> Generated {
        let text = answer.text.get(self.told..).unwrap_or_default().to_string();
        let finish = FinishReason::of(answer.finish);
        if finish.is_some() || !text.is_empty() {
            self.tell(Told { text, finish, ..Told::default() });
        }
        answer
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

    /// The first event has the warnings.
    fn send(&mut self, mut event: Event) -> bool {
        let warnings = std::mem::take(&mut self.warnings);
        match &mut event {
            Event::Chat(chunk) => chunk.warnings = warnings,
            Event::Completion(piece) => piece.warnings = warnings,
        }
        (self.on_event)(event)
    }

    /// After the last answer.
    pub fn finish(mut self, usage: Usage) -> Option<Whole> {
        if !self.generation.stream {
            return Some(self.shape.whole(self.answers, usage, self.warnings));
        }
        if self.generation.stream_options.include_usage {
            let event = self.shape.usage(usage);
            self.send(event);
        }
        None
    }
}

/// What all chunks of a response share.
struct Common {
    id: String,
    created: u64,
    model: String,
    include_usage: bool,
    token_ids: bool,
}

impl Common {
    fn new(prefix: &str, head: &Head, generation: &Generation) -> Self {
        Self {
            id: format!("{prefix}-{}", head.id),
            created: head.created,
            model: head.model.clone(),
            include_usage: generation.stream_options.include_usage,
            token_ids: generation.return_token_ids,
        }
    }

    fn ids(&self, ids: Vec<u32>) -> Option<Vec<u32>> {
        self.token_ids.then_some(ids)
    }
}

/// Answers to a conversation.
pub(crate) struct Chats<'a> {
    common: Common,
    logprobs: bool,
    tokenizer: &'a Tokenizer,
}

impl<'a> Chats<'a> {
    pub fn new(head: &Head, request: &ChatRequest, tokenizer: &'a Tokenizer) -> Self {
        let common = Common::new("chatcmpl", head, &request.generation);
        Self { common, logprobs: request.logprobs, tokenizer }
    }

    fn chunk(&self, choices: Vec<ChunkChoice>, usage: Option<Usage>) -> Event {
        let Common { id, created, model, include_usage, .. } = &self.common;
        Event::Chat(ChatCompletionChunk {
            id: id.clone(),
            object: "chat.completion.chunk",
            created: *created,
            model: model.clone(),
            choices,
            usage: include_usage.then_some(usage),
            warnings: Vec::new(),
        })
    }
}

impl Shape for Chats<'_> {
    fn logprobs(&self, piece: &Piece) -> Option<Logprobs> {
        let likely = |token: u32, logprob: f32| {
            let bytes = self.tokenizer.token_bytes(token).unwrap_or_default();
            // JSON has no infinity; this is what OpenAI's API says for "never".
            TokenLogprob { token: String::from_utf8_lossy(&bytes).into_owned(), logprob: logprob.max(-9999.0), bytes }
        };
        let found = piece.logprobs.as_ref().filter(|_| self.logprobs)?;
        let top_logprobs = found.top.iter().map(|(token, logprob)| likely(*token, *logprob)).collect();
        let content = vec![ContentLogprob { token: likely(piece.token, found.logprob), top_logprobs }];
        Some(Logprobs { content, refusal: None })
    }

    fn begin(&self, index: u32) -> Option<Event> {
        let delta = Delta { role: Some("assistant"), content: Some(String::new()) };
        let logprobs = self.logprobs.then_some(None);
        let choice =
            ChunkChoice { index, delta, logprobs, finish_reason: None, token_ids: self.common.ids(Vec::new()) };
        Some(self.chunk(vec![choice], None))
    }

    fn piece(&self, told: Told) -> Event {
        let choice = ChunkChoice {
            index: told.index,
            delta: Delta { role: None, content: (!told.text.is_empty()).then_some(told.text) },
            logprobs: self.logprobs.then_some(told.logprobs),
            finish_reason: told.finish,
            token_ids: self.common.ids(told.ids),
        };
        self.chunk(vec![choice], None)
    }

    fn usage(&self, usage: Usage) -> Event {
        self.chunk(Vec::new(), Some(usage))
    }

    fn whole(&self, answers: Vec<Told>, usage: Usage, warnings: Vec<String>) -> Whole {
        let choice = |told: Told| ChatChoice {
            index: told.index,
            message: AssistantMessage { role: "assistant", content: told.text, refusal: None },
            logprobs: if self.logprobs { Some(told.logprobs.unwrap_or_default()) } else { None },
            finish_reason: told.finish.unwrap_or(FinishReason::Length),
            token_ids: self.common.ids(told.ids),
        };
        let Common { id, created, model, .. } = &self.common;
        Whole::Chat(ChatCompletion {
            id: id.clone(),
            object: "chat.completion",
            created: *created,
            model: model.clone(),
            choices: answers.into_iter().map(choice).collect(),
            usage,
            warnings,
        })
    }
}

/// Plain completions.
pub(crate) struct Texts {
    common: Common,
}

impl Texts {
    pub fn new(head: &Head, request: &CompletionRequest) -> Self {
        Self { common: Common::new("cmpl", head, &request.generation) }
    }

    fn completion(&self, choices: Vec<TextChoice>, usage: Option<Option<Usage>>, warnings: Vec<String>) -> Completion {
        let Common { id, created, model, .. } = &self.common;
        Completion {
            id: id.clone(),
            object: "text_completion",
            created: *created,
            model: model.clone(),
            choices,
            usage,
            warnings,
        }
    }

    fn choice(&self, told: Told) -> TextChoice {
        TextChoice {
            index: told.index,
            text: told.text,
            logprobs: None,
            finish_reason: told.finish,
            token_ids: self.common.ids(told.ids),
        }
    }
}

impl Shape for Texts {
    fn logprobs(&self, _piece: &Piece) -> Option<Logprobs> {
        None
    }

    fn begin(&self, _index: u32) -> Option<Event> {
        None
    }

    fn piece(&self, told: Told) -> Event {
        let usage = self.common.include_usage.then_some(None);
        Event::Completion(self.completion(vec![self.choice(told)], usage, Vec::new()))
    }

    fn usage(&self, usage: Usage) -> Event {
        Event::Completion(self.completion(Vec::new(), Some(Some(usage)), Vec::new()))
    }

    fn whole(&self, answers: Vec<Told>, usage: Usage, warnings: Vec<String>) -> Whole {
        let choices = answers.into_iter().map(|told| self.choice(told)).collect();
        Whole::Completion(self.completion(choices, Some(Some(usage)), warnings))
    }
}
