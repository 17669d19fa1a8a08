//! Steps of an answer that are queued on tokens which the host does not know yet.
//!
//! In a browser the way of a token to the host takes longer than a fast GPU's step, so several
//! steps are queued, and the GPU need not wait. End tokens halt what is queued. Where the host ends
//! an answer, by a stop text or because its caller has heard enough, the states have read tokens
//! that the answer does not have, and a recurrent state cannot be cut back: so it is copied every
//! [`DISTANCE`] tokens, and the answer's tokens since then are read once more, one by one as they
//! were before. That gives the same states, bit by bit.
//!
//! One step ahead needs no copy: its token is known before anybody is asked whether to go on.

use super::Session;
use super::copies::Copies;
use super::next_token::AnswerSampling;
use crate::error::Result;

/// Tokens between two copies: those that are read once more are no more than these and what is
/// queued.
const DISTANCE: u32 = 32;

/// Where an answer has been, with all that was read there known.
#[derive(Clone, Copy)]
pub(super) struct Anchor {
    position: u32,
    /// How many of the session's ids had been read.
    read: usize,
}

impl Session {
    /// Queues this many steps on tokens that are not known yet, whatever the device's pace; `None`:
    /// as many as suit that. For tests.
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn set_steps_ahead(&mut self, steps: Option<u32>) {
        self.decoder.set_most_ahead(steps);
    }

    /// How many steps may be queued on tokens that are not known yet. Where they are several, the
    /// states have been copied.
    pub(super) fn most_ahead(&mut self, sampling: &mut AnswerSampling) -> Result<u32> {
        let most = self.decoder.most_ahead();
        if most <= 1 {
            return Ok(most);
        }
        match sampling.anchor {
            Some(anchor) if self.decoder.state.position - anchor.position < DISTANCE => Ok(most),
            // What is queued comes first: a place is of use when all of its tokens are known.
            _ if self.decoder.ahead() > 0 => Ok(1),
            _ if self.copy_states()? => {
                sampling.anchor = Some(Anchor { position: self.decoder.state.position, read: self.ids.len() });
                Ok(most)
            }
            _ => Ok(1),
        }
    }

    /// Copies the recurrent states, within the budget of snapshots. False where that has no room
    /// for a snapshot beside it.
    fn copy_states(&mut self) -> Result<bool> {
        let each = self.decoder.state.recurrent_bytes();
        if self.prefix_cache.budget < 2 * each {
            return Ok(false);
        }
        let gpu = self.engine.model.gpu();
        let mut spare = self.anchored.take();
        if spare.is_none() {
            let (fits, from_snapshots) = self.prefix_cache.shrink(gpu, &self.decoder.state, each);
            if !fits {
                return Ok(false);
            }
            spare = from_snapshots;
        }
        self.anchored = Some(Copies::of(gpu, &self.decoder.state, spare)?);
        self.prefix_cache.reserved = each;
        self.anchor_is_used = true;
        Ok(true)
    }

    /// Gives the copy back where something else wants its memory and no answer needs it: between
    /// answers it only waits for the next one.
    pub(super) fn release_anchor(&mut self) -> Option<Copies> {
        if self.anchor_is_used {
            return None;
        }
        self.prefix_cache.reserved = 0;
        self.anchored.take()
    }

    /// Gives the copy back where the budget of snapshots has no room for it any more.
    pub(super) fn shrink_anchored(&mut self) {
        if !self.anchor_is_used && self.prefix_cache.budget < 2 * self.decoder.state.recurrent_bytes() {
            self.anchored = None;
            self.prefix_cache.reserved = 0;
        }
    }

    /// The states have read tokens that the answer does not have: back to those that it has.
    pub(super) async fn rewind(&mut self, anchor: Anchor) -> Result<()> {
        let Some(copies) = &self.anchored else { return Ok(()) };
        self.decoder.rewind(anchor.position, &copies.on_gpu())?;
        self.pending = self.ids.len() - anchor.read;
        self.logits.clear();
        while self.pending > 0 {
            self.engine.model.turns.free().await;
            let token = self.ids[self.ids.len() - self.pending];
            self.step(&[token], u32::from(self.pending == 1))?;
            self.pending -= 1;
        }
        self.logits = self.decoder.read_logits(1).await?;
        Ok(())
    }
}
