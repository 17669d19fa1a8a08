//! An answer under a constraint: masks before tokens, and tokens that need no sampling.
//!
//! The mask of a token can only be made when the one before it is known. The step that reads a
//! token is queued as soon as its sample is, without knowing it; the mask of the next one is made
//! while that step runs, and then its sample is submitted. Tokens that must come are not sampled at
//! all: they are read with the next step.

use std::collections::VecDeque;

use super::next_token::AnswerSampling;
use super::{GenerateOptions, Session};
use crate::constraint::{Constraint, allow, allows, mask_words};
use crate::error::{Error, Result};
use crate::plan::SamplingMode;

/// A constraint, and what the session adds to it.
pub(super) struct Constrained {
    constraint: Box<dyn Constraint>,
    /// Tokens that must come next.
    forced: VecDeque<u32>,
    /// Of the next token.
    mask: Vec<u32>,
    ends: Vec<u32>,
    ignore_end: bool,
    vocab_size: u32,
}

impl Constrained {
    /// What the options ask for.
    pub fn begin(session: &Session, options: &GenerateOptions) -> Result<Option<Self>> {
        let Some(grammar) = &options.grammar else { return Ok(None) };
        let vocab_size = session.engine.config().vocab_size;
        Ok(Some(Self {
            constraint: grammar.begin()?,
            forced: VecDeque::new(),
            mask: vec![0; mask_words(vocab_size)],
            ends: session.engine.tokenizer.end_tokens().to_vec(),
            ignore_end: options.ignore_end,
            vocab_size,
        }))
    }

    /// A token that must come next, if there is one.
    pub fn next_forced(&mut self) -> Result<Option<u32>> {
        if self.forced.is_empty() {
            self.forced.extend(self.constraint.forced()?);
            let vocab_size = self.vocab_size;
            if let Some(token) = self.forced.iter().find(|token| **token >= vocab_size) {
                return Err(Error::TokenOutOfRange { token: *token, vocab_size });
            }
        }
        Ok(self.forced.pop_front())
    }

    /// Which tokens may come next. End tokens may where the constraint is fulfilled. Where they are
    /// to be ignored they may only if nothing else may come.
    pub fn mask(&mut self) -> Result<&[u32]> {
        let Self { constraint, mask, ends, vocab_size, .. } = self;
        mask.fill(0);
        constraint.mask(mask)?;
        if let Some(last) = mask.last_mut().filter(|_| !vocab_size.is_multiple_of(32)) {
            *last &= (1 << (*vocab_size % 32)) - 1;
        }
        ends.iter().for_each(|end| allow(mask, *end, false));
        let may_end = constraint.may_end();
        let more = mask.iter().any(|word| *word != 0);
        if may_end && !(self.ignore_end && more) {
            ends.iter().for_each(|end| allow(mask, *end, true));
        }
        if !more && (!may_end || ends.is_empty()) {
            let detail = "no token is allowed here: the vocabulary has none that goes on with it".into();
            return Err(Error::Grammar { place: "constraint".into(), detail });
        }
        Ok(&self.mask)
    }

    /// The mask that was made last.
    pub fn last_mask(&self) -> &[u32] {
        &self.mask
    }

    pub fn accept(&mut self, token: u32) -> Result<()> {
        self.constraint.accept(token)
    }

    /// Whether nothing can follow.
    pub fn is_finished(&mut self) -> bool {
        self.forced.is_empty() && self.constraint.is_finished()
    }

    /// Whether the answer ends with this token, though end tokens are to be ignored: nothing else
    /// may come.
    pub fn must_end(&self, token: u32) -> bool {
        self.ends.contains(&token) && allows(&self.mask, token)
    }
}

impl Session {
    /// The next token under a constraint, or `None` when cancelled. The step that reads it is
    /// queued before it is known here, and runs while the mask of the token after it is made.
    pub(super) async fn next_masked(
        &mut self,
        sampling: &mut AnswerSampling,
        more: bool,
        cancel: Option<&dyn Fn() -> bool>,
    ) -> Result<Option<u32>> {
        if (self.pending > 0 || !sampling.waiting) && !self.read_pending(sampling, cancel).await? {
            return Ok(None);
        }
        let Some(constrained) = &mut sampling.constrained else { return Ok(None) };
        let mask = match constrained.mask() {
            Ok(mask) => mask,
            Err(error) => {
                // The step has been: its logits are of use to whoever goes on.
                self.logits = self.decoder.waiting_logits().await?;
                return Err(error);
            }
        };
        self.decoder.write_mask(mask);
        // The sample has a list where steps have their logits.
        self.engine.model.turns.free().await;
        let params = sampling.params();
        let reading = self.decoder.sample_waiting(&mut sampling.tokens, params);
        (sampling.sampled, sampling.waiting) = (true, false);
        if more && self.has_room() {
            self.engine.model.turns.free().await;
            let step = self.begin_on_sampled()?;
            self.logits.clear();
            self.decoder.submit_waiting(&step, 0);
            self.decoder.end_step_ahead(&step);
            sampling.waiting = true;
        }
        self.sampled_token(sampling, reading).await.map(Some)
    }

    /// Queues what is pending, so that the logits of its last token wait for their mask. Returns
    /// false when cancelled.
    async fn read_pending(&mut self, sampling: &mut AnswerSampling, cancel: Option<&dyn Fn() -> bool>) -> Result<bool> {
        (sampling.waiting, sampling.sampled) = (false, false);
        let chunk = self.engine.model.chunk() as usize;
        if self.pending > chunk && !self.run(cancel, chunk).await? {
            return Ok(false);
        }
        self.decoder.prepare_masked().await?;
        // Those that are here are of an earlier place.
        self.logits.clear();
        // A few that had to come are read one by one, where that is quicker.
        while (2..=self.engine.model.most_one_by_one()).contains(&self.pending) {
            self.engine.model.turns.free().await;
            let token = self.ids[self.ids.len() - self.pending];
            self.step(&[token], 0)?;
            self.pending -= 1;
        }
        let newest = self.ids[self.ids.len() - self.pending..].to_vec();
        self.engine.model.turns.free().await;
        let step = self.begin_step(&newest, 1)?;
        let Some(first) = self.submit_parts(&step, SamplingMode::Host, cancel).await? else { return Ok(false) };
        self.decoder.submit_waiting(&step, first);
        self.decoder.end_step(&step);
        self.pending = 0;
        sampling.waiting = true;
        Ok(true)
    }
}
