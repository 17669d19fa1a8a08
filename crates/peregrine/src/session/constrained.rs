//! An answer under a constraint: masks before tokens, and tokens that need no drawing.
//!
//! The mask of a token can only be made when the one before it is known, so no step is queued ahead: the step runs, the mask is made
//! meanwhile, and then the draw is submitted. Tokens that must come are not drawn at all: they are read with the next step.

use std::collections::VecDeque;

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

    /// Which tokens may come next. End tokens may where the constraint is fulfilled. Where they are to be ignored they may only if
    /// nothing else may come.
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

    /// Whether the answer ends with this token, though end tokens are to be ignored: nothing else may come.
    pub fn must_end(&self, token: u32) -> bool {
        self.ends.contains(&token) && allows(&self.mask, token)
    }
}

impl Session {
    /// Makes what draws under a mask, unless it is there: before a step, since none may be waited for between a step and its draw.
    pub(super) async fn prepare_masked(&mut self) -> Result<()> {
        if self.masked.is_none() {
            let model = &self.engine.model;
            let plan = model.masked_sample(&self.state);
            model.pipelines.finish().await?;
            self.masked = Some(plan);
        }
        Ok(())
    }

    /// Queues all but the last of a few pending tokens, one by one where that is quicker: those that had to come.
    pub(super) async fn read_few(&mut self) -> Result<()> {
        if self.pending > self.engine.model.most_one_by_one() {
            return Ok(());
        }
        while self.pending > 1 {
            self.engine.model.turns.free().await;
            let token = self.ids[self.ids.len() - self.pending];
            self.step(&[token], 0)?;
            self.pending -= 1;
        }
        Ok(())
    }

    /// Queues what is left of a step, makes the mask while it runs, and queues the draw and a read-back of the token.
    pub(super) async fn submit_and_draw_masked(
        &mut self,
        draw: &mut super::steps::Draw,
        step: &Step,
        first: usize,
    ) -> Result<()> {
        self.logits.clear();
        self.submit(step, plan::Draw::Host, first..self.dispatches(step));
        self.end_step(step);
        self.pending = 0;
        let Some(constrained) = &mut draw.constrained else { return Ok(()) };
        match constrained.mask() {
            Ok(mask) => {
                let gpu = &self.engine.model.gpu;
                gpu.write(&self.state.next.mask, 0, bytemuck::cast_slice(mask));
            }
            Err(error) => {
                // The step has been: its logits are of use to whoever goes on.
                self.logits = self.read_logits(1).await?;
                return Err(error);
            }
        }
        draw.reading = Some(self.read_drawn(draw, |session, encoder, by| {
            if let Some(plan) = &session.masked {
                plan.encode(encoder, step, by, 0..plan.dispatches().len(), session.engine.model.kv());
            }
        }));
        Ok(())
    }
}
