//! Steps of a session: room is made for their tokens, and the decoder runs them.

use super::Session;
use super::decoder::Decoder;
use crate::error::{Error, Result};
use crate::plan::{SamplingMode, Step};
use crate::sampling::SamplingOptions;

impl Session {
    /// What drives the device.
    pub(crate) fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Makes room and writes what the dispatches of a step over `ids` read, which has logits for
    /// the last `rows` tokens. `check` runs the dispatches one by one in between.
    pub(crate) fn begin_step(&mut self, ids: &[u32], rows: u32) -> Result<Step> {
        self.make_room(ids.len() as u32)?;
        Ok(self.decoder.begin_step(ids, rows))
    }

    /// The same of one token, the one that was sampled last.
    pub(super) fn begin_on_sampled(&mut self) -> Result<Step> {
        self.make_room(1)?;
        Ok(self.decoder.begin_on_sampled())
    }

    /// Counts the tokens of a step that `check` has run dispatch by dispatch as read.
    pub(crate) fn end_step(&mut self, step: &Step, ids: &[u32]) {
        self.decoder.end_step(step);
        self.ids.extend_from_slice(ids);
    }

    /// Queues one step over `ids` with logits for the last `rows` tokens.
    pub(crate) fn step(&mut self, ids: &[u32], rows: u32) -> Result<()> {
        self.make_room(ids.len() as u32)?;
        self.decoder.step(ids, rows);
        Ok(())
    }

    /// Submits a step of many tokens in parts where it takes long and may be cancelled
    /// ([`Decoder::submit_parts`]). From which dispatch on it is still to be submitted; `None` when
    /// it was cancelled: then the step has not been.
    pub(super) async fn submit_parts(
        &mut self,
        step: &Step,
        mode: SamplingMode,
        cancel: Option<&dyn Fn() -> bool>,
    ) -> Result<Option<usize>> {
        let Some(cancelled) = cancel.filter(|_| step.tokens > 1 && self.is_known()) else { return Ok(Some(0)) };
        // What is left is submitted before anybody is asked, or the step is undone.
        let _turn = self.engine.model.turns.take();
        let first = self.decoder.submit_parts(step, mode, cancelled).await?;
        if first.is_none() {
            self.undo_step().await?;
        }
        Ok(first)
    }

    /// Makes room for `tokens` more; snapshots go where there is none.
    pub(super) fn make_room(&mut self, tokens: u32) -> Result<()> {
        // A context that has grown leaves snapshots less, before its pages are taken. Most tokens
        // take none, and then nothing is counted.
        if self.decoder.state.capacity() < self.decoder.state.position.saturating_add(tokens) {
            let left = self.engine.model.budget.left(self.engine.adapter_bytes());
            if left.is_some_and(|left| left < self.prefix_cache.budget) {
                self.keep_budget();
            }
        }
        loop {
            match self.decoder.state.reserve(tokens) {
                Err(Error::OutOfMemory { .. })
                    if self.release_anchor().is_some() || self.prefix_cache.forget(|_| true).is_some() => {}
                Err(error) => return Err(error),
                Ok(changed) => {
                    // What the session has left, snapshots may keep.
                    if changed {
                        self.keep_budget();
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Where an answer was abandoned (its future dropped) with a step under way, the states have
    /// read a token that nobody knows, or parts of some: everything is to be read again.
    pub(super) fn settle(&mut self) {
        self.anchor_is_used = false;
        if !self.decoder.is_settled() {
            self.read_again();
        }
    }

    /// All of it is to be read again, by nothing that the states have kept.
    pub(super) fn read_again(&mut self) {
        let (ids, consumed) = (std::mem::take(&mut self.ids), self.consumed.take());
        self.forget();
        self.prefix_cache.clear();
        self.push(&ids);
        self.consumed = consumed;
    }

    /// Keeps other sessions of the model from beginning a step as long as the result lives: for
    /// tests.
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) async fn hold_turn(&self) -> impl Sized + use<> {
        self.decoder.turn().await
    }

    /// [`Decoder::sample_on_gpu`], for tests.
    ///
    /// # Errors
    /// As there.
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) async fn sample_on_gpu(
        &mut self,
        logits: &[f32],
        options: &SamplingOptions,
        n: u64,
        mask: Option<&[u32]>,
    ) -> Result<u32> {
        self.decoder.sample_on_gpu(logits, options, n, mask).await
    }
}
