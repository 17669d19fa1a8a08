//! What a token, an end or a whole looks like, of a conversation's answer and of a plain
//! completion.

use peregrine::chat::{CALL_TAGS, ChatTemplate};
use peregrine::session::Piece;
use peregrine::tokenizer::Tokenizer;

use super::{Shape, Update};
use crate::answer::{Event, Head, Whole};
use crate::request::{ChatRequest, CompletionRequest, Generation};
use crate::response::{
    AssistantMessage, ChatChoice, ChatCompletion, ChatCompletionChunk, ChunkChoice, Completion, ContentLogprob, Delta,
    FinishReason, Logprobs, TextChoice, TokenLogprob, Usage,
};
use crate::tools::Parser;

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
    /// Most calls of an answer.
    calls: usize,
    /// An answer begins inside of a thought.
    thinks: bool,
    /// What is no call is of a format: calls are at its beginning.
    formatted: bool,
    /// What names of calls begin with.
    calls_id: String,
    tokenizer: &'a Tokenizer,
}

impl<'a> Chats<'a> {
    pub fn new(head: &Head, request: &ChatRequest, template: &ChatTemplate, tokenizer: &'a Tokenizer) -> Self {
        let common = Common::new("chatcmpl", head, &request.generation);
        let calls = match (request.may_call(), request.parallel_tool_calls) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => usize::MAX,
        };
        let thinks = calls > 0 && template.opens_thought();
        let formatted = request.generation.response_format.is_some();
        let calls_id = format!("call_{}", head.id);
        Self { common, logprobs: request.logprobs, calls, thinks, formatted, calls_id, tokenizer }
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
    fn parser(&self) -> Option<Parser> {
        let parser = (self.calls > 0).then(|| Parser::new(self.calls, self.thinks));
        if self.formatted { parser.map(Parser::at_the_beginning) } else { parser }
    }

    fn tag(&self, token: u32) -> Option<&'static str> {
        let text = self.tokenizer.special_text(token)?;
        [CALL_TAGS.0, CALL_TAGS.1].into_iter().find(|tag| *tag == text)
    }

    fn call_id(&self, number: usize) -> String {
        format!("{}_{number}", self.calls_id)
    }

    fn logprobs(&self, piece: &Piece) -> Option<Logprobs> {
        let likely = |token: u32, logprob: f32| {
            let bytes = self.tokenizer.token_bytes(token);
            let text = String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned();
            // JSON has no infinity; this is what OpenAI's API says for "never".
            TokenLogprob { token: text, logprob: logprob.max(-9999.0), bytes }
        };
        let found = piece.logprobs.as_ref().filter(|_| self.logprobs)?;
        let top_logprobs = found.top.iter().map(|(token, logprob)| likely(*token, *logprob)).collect();
        let content = vec![ContentLogprob { token: likely(piece.token, found.logprob), top_logprobs }];
        Some(Logprobs { content, refusal: None })
    }

    fn begin(&self, index: u32) -> Option<Event> {
        let delta = Delta { role: Some("assistant"), content: Some(String::new()), tool_calls: Vec::new() };
        let logprobs = self.logprobs.then_some(None);
        let choice =
            ChunkChoice { index, delta, logprobs, finish_reason: None, token_ids: self.common.ids(Vec::new()) };
        Some(self.chunk(vec![choice], None))
    }

    fn piece(&self, update: Update) -> Event {
        let choice = ChunkChoice {
            index: update.index,
            delta: Delta {
                role: None,
                content: (!update.text.is_empty()).then_some(update.text),
                tool_calls: update.calls,
            },
            logprobs: self.logprobs.then_some(update.logprobs),
            finish_reason: update.finish,
            token_ids: self.common.ids(update.ids),
        };
        self.chunk(vec![choice], None)
    }

    fn usage(&self, usage: Usage) -> Event {
        self.chunk(Vec::new(), Some(usage))
    }

    fn whole(&self, answers: Vec<Update>, usage: Usage, warnings: Vec<String>) -> Whole {
        let choice = |update: Update| ChatChoice {
            index: update.index,
            message: AssistantMessage {
                role: "assistant",
                content: (!update.text.is_empty() || update.calls.is_empty()).then_some(update.text),
                refusal: None,
                tool_calls: update.calls,
            },
            logprobs: if self.logprobs { Some(update.logprobs.unwrap_or_default()) } else { None },
            finish_reason: update.finish.unwrap_or(FinishReason::Length),
            token_ids: self.common.ids(update.ids),
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

    fn choice(&self, update: Update) -> TextChoice {
        TextChoice {
            index: update.index,
            text: update.text,
            logprobs: None,
            finish_reason: update.finish,
            token_ids: self.common.ids(update.ids),
        }
    }
}

impl Shape for Texts {
    fn parser(&self) -> Option<Parser> {
        None
    }

    fn tag(&self, _token: u32) -> Option<&'static str> {
        None
    }

    fn call_id(&self, _number: usize) -> String {
        String::new()
    }

    fn logprobs(&self, _piece: &Piece) -> Option<Logprobs> {
        None
    }

    fn begin(&self, _index: u32) -> Option<Event> {
        None
    }

    fn piece(&self, update: Update) -> Event {
        let usage = self.common.include_usage.then_some(None);
        Event::Completion(self.completion(vec![self.choice(update)], usage, Vec::new()))
    }

    fn usage(&self, usage: Usage) -> Event {
        Event::Completion(self.completion(Vec::new(), Some(Some(usage)), Vec::new()))
    }

    fn whole(&self, answers: Vec<Update>, usage: Usage, warnings: Vec<String>) -> Whole {
        let choices = answers.into_iter().map(|update| self.choice(update)).collect();
        Whole::Completion(self.completion(choices, Some(Some(usage)), warnings))
    }
}
