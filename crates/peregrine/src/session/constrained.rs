//! An answer under a constraint: masks before tokens, and tokens that need no sampling.
//!
//! The mask of a token can only be made when the one before it is known. The step that reads a
//! token is queued as soon as its sample is, without knowing it; the mask of the next one is made
//! while that step runs, and then its sample is submitted. Tokens that must come are not sampled at
//! all: they are read with the next step.

use std::collections::VecDeque;

use super::decoder::AnswerSampling;
use super::{GenerateOptions, Session};
use crate::constraint::{Constraint, allow, allows, mask_words};
use crate::error::{Error, Result};
use crate::plan::{self, Step};

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
    /// Makes what samples under a mask, unless it is there: before a step, since none may be waited
    /// for between a step and its sample.
    pub(super) async fn prepare_masked(&mut self) -> Result<()> {
        if self.masked.is_none() {
            let model = &self.engine.model;
            let plan = model.masked_sample(&self.next);
            model.pipelines.finish().await?;
            self.masked = Some(plan);
        }
        Ok(())
    }

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
                self.logits = self.waiting_logits().await?;
                return Err(error);
            }
        };
        self.engine.model.gpu.write(&self.next.mask, 0, bytemuck::cast_slice(mask));
        // The sample has a list where steps have their logits.
        self.engine.model.turns.free().await;
        let step = Step { tokens: 1, ..Step::default() };
        self.write_params(sampling);
        let reading = self.read_sampled(sampling, |session, encoder, by| {
            if let Some(plan) = &session.masked {
                plan.encode(encoder, &step, by, 0..plan.dispatches().len(), session.engine.model.kv());
            }
        });
        (sampling.sampled, sampling.waiting) = (true, false);
        if more && self.state.position < self.state.context_length {
            self.engine.model.turns.free().await;
            let step = self.begin_on_sampled()?;
            self.submit_waiting(&step, 0);
            self.ahead = 1;
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
        self.prepare_masked().await?;
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
        let Some(first) = self.submit_parts(&step, plan::SamplingMode::Host, cancel).await? else { return Ok(false) };
        self.submit_waiting(&step, first);
        self.pending = 0;
        sampling.waiting = true;
        Ok(true)
    }

    /// Queues what is left of a step, and puts its logits where they wait for their mask.
    fn submit_waiting(&mut self, step: &Step, first: usize) {
        self.logits.clear();
        let first = self.submit_head(step, plan::SamplingMode::Host, first);
        let model = &self.engine.model;
        let mut encoder = model.gpu.device().create_command_encoder(&Default::default());
        self.encode_into(&mut encoder, step, plan::SamplingMode::Host, first..self.dispatches(step));
        let bytes = 4 * u64::from(model.config.vocab_size);
        encoder.copy_buffer_to_buffer(&model.scratch.logits, 0, &self.next.masked_logits, 0, bytes);
        model.gpu.queue().submit([encoder.finish()]);
        self.end_step(step);
    }

    /// The logits that wait for their mask.
    pub(super) async fn waiting_logits(&self) -> Result<Vec<f32>> {
        let model = &self.engine.model;
        model.gpu.read(&self.next.masked_logits, 0, model.config.vocab_size.into()).await
    }
}
