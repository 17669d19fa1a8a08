//! Requests: a conversation or a text comes in, as much of it as has not been read is read, and an
//! answer comes out.

use super::overflow::Fitting;
use super::{Engine, Finish, GenerateOptions, Generated, Overflow, Piece, Session, check_range};
use crate::chat::{ChatTemplate, Message, Rendering, Transcript};
use crate::error::{Error, Result};
use crate::gpu::Instant;
use crate::sampling::Logprobs;
use crate::text::{StopScan, TextStream};
use crate::tokenizer::Tokenizer;

impl Session {
    /// Answers a conversation. Where its rendering continues what this session has read and
    /// written, or what it had at one of its snapshots (a border between turns, the end of a long
    /// prompt), only the rest is read; otherwise everything is.
    ///
    /// # Errors
    /// [`Error::Template`], [`Error::Tokenizer`], and as [`Session::generate`]. A conversation that
    /// does not fit the context is refused before anything is read.
    pub async fn chat(
        &mut self,
        messages: &[Message],
        options: &GenerateOptions,
        on_piece: &mut dyn FnMut(Piece) -> bool,
    ) -> Result<Generated> {
        let engine = self.engine.clone();
        let template = template_of(&engine)?;
        options.sampling.validate()?;
        self.settle();
        let Fitting { rendering, whole, dropped } = self.fitting(template, messages, options)?;
        let cached = self.begin_chat(&rendering, &whole).await?;
        let conversation = (options.overflow == Overflow::DropOldest).then_some((template, messages));
        let answer = self.answer(options, conversation, cached, self.ids.len() as u32, on_piece).await?;
        Ok(Generated { dropped_messages: answer.dropped_messages.max(dropped as u32), ..answer })
    }

    /// Answers a text given as tokens \[T\]. Where they continue what this session has read and
    /// written, only the rest is read; otherwise everything is.
    ///
    /// # Errors
    /// As [`Session::generate`]; [`Error::TokenOutOfRange`] and [`Error::ContextFull`] before
    /// anything is read.
    pub async fn complete(
        &mut self,
        ids: &[u32],
        options: &GenerateOptions,
        on_piece: &mut dyn FnMut(Piece) -> bool,
    ) -> Result<Generated> {
        options.sampling.validate()?;
        self.settle();
        let cached = self.begin_text(ids).await?;
        self.answer(options, None, cached, ids.len() as u32, on_piece).await
    }

    /// Reads the beginning of conversations and answers nothing: requests that begin with these
    /// messages go on from there. Returns an answer without tokens. `cancel` as in
    /// [`GenerateOptions`].
    ///
    /// # Errors
    /// As [`Session::chat`].
    pub async fn prepare_chat(&mut self, messages: &[Message], cancel: Option<&dyn Fn() -> bool>) -> Result<Generated> {
        let engine = self.engine.clone();
        let rendering = template_of(&engine)?.beginning(&engine.tokenizer, messages)?;
        self.settle();
        let whole = rendering.ids(&engine.tokenizer)?;
        self.fits(whole.len() as u64 + 1)?;
        let cached = self.begin_chat(&rendering, &whole).await?;
        self.only_read(cached, cancel).await
    }

    /// The same with a text given as tokens \[T\].
    ///
    /// # Errors
    /// As [`Session::complete`].
    pub async fn prepare(&mut self, ids: &[u32], cancel: Option<&dyn Fn() -> bool>) -> Result<Generated> {
        self.settle();
        let cached = self.begin_text(ids).await?;
        self.only_read(cached, cancel).await
    }

    async fn only_read(&mut self, cached_tokens: u32, cancel: Option<&dyn Fn() -> bool>) -> Result<Generated> {
        let start = Instant::now();
        let finished = self.catch_up(cancel).await?;
        let finish = if finished { Finish::Length } else { Finish::Cancelled };
        let prompt_tokens = self.ids.len() as u32;
        Ok(Generated {
            prefill_seconds: Instant::now().since(start),
            ..Generated::new(finish, prompt_tokens, cached_tokens)
        })
    }

    /// Goes to where the least of a conversation is to be read, which is pending then. Returns how
    /// many of its tokens had been read.
    async fn begin_chat(&mut self, rendering: &Rendering, whole: &[u32]) -> Result<u32> {
        let engine = self.engine.clone();
        check_range(whole, engine.config())?;
        let after = |ids: &[u32], pending, consumed: Option<&Transcript>, logits: &[f32]| {
            rest_of(&engine.tokenizer, rendering, whole, (ids, pending, consumed, logits))
        };
        let rest = match after(&self.ids, self.pending, self.consumed.as_ref(), &self.logits) {
            Some(rest) if self.is_known() && !self.begins_anew() => {
                self.keep_border()?;
                rest
            }
            _ => {
                let rest = self.go_back(|s| after(&s.ids, s.pending, s.consumed.as_ref(), &s.logits)).await?;
                rest.unwrap_or_else(|| whole.to_vec())
            }
        };
        self.fits((self.ids.len() + rest.len()) as u64 + 1)?;
        let cached = (self.ids.len() - self.pending) as u32;
        self.push(&rest);
        self.consumed = Some(rendering.transcript().clone());
        Ok(cached)
    }

    /// The same for a text.
    async fn begin_text(&mut self, ids: &[u32]) -> Result<u32> {
        self.fits(ids.len() as u64 + 1)?;
        check_range(ids, self.engine.config())?;
        let after = |read: &[u32], pending, logits: &[f32]| tokens_after(ids, read, pending, logits);
        if after(&self.ids, self.pending, &self.logits).is_some() && self.is_known() && !self.begins_anew() {
            self.keep_border()?;
        } else {
            self.go_back(|s| after(&s.ids, s.pending, &s.logits)).await?;
        }
        let cached = (self.ids.len() - self.pending) as u32;
        self.push(&ids[self.ids.len()..]);
        self.consumed = None;
        Ok(cached)
    }

    /// It has read nothing, but may have been somewhere before: with other adapters.
    fn begins_anew(&self) -> bool {
        self.ids.is_empty() && !self.prefix_cache.entries.is_empty()
    }

    /// `conversation`: what may be shortened where the answer fills the context.
    pub(super) async fn answer(
        &mut self,
        options: &GenerateOptions,
        conversation: Option<(&ChatTemplate, &[Message])>,
        cached_tokens: u32,
        prompt_tokens: u32,
        on_piece: &mut dyn FnMut(Piece) -> bool,
    ) -> Result<Generated> {
        let engine = self.engine.clone();
        let gpu_may = options.grammar.is_none() || self.masks_are_right().await?;
        let mut sampling = self.begin_sampling(options, gpu_may)?;
        let mut stream = TextStream::new(&engine.tokenizer);
        let mut scan = StopScan::new(&options.stop);
        let mut answer = Generated::new(Finish::Length, prompt_tokens, cached_tokens);
        // All text that the session has read, with a stop text and what came with its last token.
        let mut written = String::new();
        // What the text before it was. It is put back with the answer: one that is given up
        // half-way leaves none.
        let mut consumed = None;
        let start = Instant::now();
        let mut first = start;
        if !self.keep_prompt(options.cancel.as_deref()).await? {
            answer.finish = Finish::Cancelled;
            return Ok(answer);
        }
        loop {
            if sampling.is_finished() {
                answer.finish = Finish::Stop;
                break;
            }
            if answer.ids.len() as u32 >= options.max_tokens {
                break;
            }
            if self.ids.len() as u64 > u64::from(self.context_length()) {
                let shed = match conversation {
                    Some((template, messages)) => self.shed(template, messages, &answer.ids).await?,
                    None => None,
                };
                let Some(dropped) = shed else {
                    answer.finish = Finish::Context;
                    break;
                };
                answer.dropped_messages = dropped as u32;
                sampling.moved();
                consumed = self.consumed.take();
            }
            let left = options.max_tokens - answer.ids.len() as u32 - 1;
            let forced = sampling.forced()?;
            let next = match forced {
                Some(token) => Some(token),
                None => self.next_token(&mut sampling, left, options.cancel.as_deref()).await?,
            };
            let Some(token) = next else {
                answer.finish = Finish::Cancelled;
                break;
            };
            if answer.ids.is_empty() {
                first = Instant::now();
                answer.prefill_seconds = first.since(start);
            }
            let control = engine.tokenizer.special_text(token);
            if engine.tokenizer.is_end(token) && (!options.ignore_end || sampling.must_end(token)) {
                answer.finish = Finish::Stop;
                // A stop text may end with it, and then begins earlier.
                answer.text.push_str(&scan.push_control(control.unwrap_or_default()));
                // The steps that were queued on it have been halted.
                sampling.waiting &= self.decoder.ahead() == 0;
                self.decoder.take_back();
                break;
            }
            let logprobs = options.logprobs.map(|top| match forced {
                Some(token) => Logprobs::certain(token, top),
                None => sampling.logprobs(&self.logits, token, top),
            });
            if answer.ids.is_empty() {
                consumed = self.consumed.take();
            }
            sampling.accept(token)?;
            answer.ids.push(token);
            self.accept(token);
            let text = stream.push(token);
            written.push_str(&text);
            let text = match control {
                Some(control) => scan.push(&text) + &scan.push_control(control),
                None => scan.push(&text),
            };
            answer.text.push_str(&text);
            answer.decode_seconds = Instant::now().since(first);
            if !on_piece(Piece { token, text, logprobs }) {
                answer.finish = Finish::Cancelled;
                break;
            }
            if scan.stopped() {
                (answer.finish, answer.stop_text) = (Finish::Stop, true);
                break;
            }
        }
        self.end(sampling).await?;
        if !answer.ids.is_empty() {
            self.consumed = consumed;
        }
        let rest = stream.finish();
        written.push_str(&rest);
        answer.text.push_str(&scan.push(&rest));
        answer.text.push_str(&scan.finish());
        if answer.ids.iter().any(|id| engine.tokenizer.is_special(*id)) {
            // It has no text, but the model has read it.
            self.consumed = None;
        }
        if let Some(consumed) = &mut self.consumed {
            consumed.push(&written);
        }
        Ok(answer)
    }
}

fn template_of(engine: &Engine) -> Result<&ChatTemplate> {
    engine.template.as_ref().ok_or_else(|| Error::Template {
        detail: "the file has none, so it is not a chat model: use `generate`".into(),
    })
}

/// What is to be read of `whole` after `read`; `None` where that is no beginning of it, or nothing
/// would tell the next token.
pub(super) fn tokens_after(whole: &[u32], read: &[u32], pending: usize, logits: &[f32]) -> Option<Vec<u32>> {
    let rest = whole.strip_prefix(read)?;
    (!rest.is_empty() || pending > 0 || !logits.is_empty()).then(|| rest.to_vec())
}

/// The same for a conversation, with the tokens `whole`: where a place's text is continued, or its
/// tokens are. A model's own tokens are often others than those that its text would be given.
fn rest_of(
    tokenizer: &Tokenizer,
    rendering: &Rendering,
    whole: &[u32],
    (read, pending, consumed, logits): (&[u32], usize, Option<&Transcript>, &[f32]),
) -> Option<Vec<u32>> {
    let by_text = consumed.and_then(|consumed| rendering.ids_after(tokenizer, consumed).ok().flatten());
    by_text.or_else(|| tokens_after(whole, read, pending, logits))
}
