//! Prompts: chunk by chunk, with the next one queued while the device computes one, so that it
//! never waits for the host.

use super::Session;
use crate::error::Result;
use crate::gpu::{Fence, Instant};
use crate::plan::SamplingMode;

/// Tokens of the first chunk that a device reads, at most.
const FIRST_TOKENS: u32 = 256;

/// A chunk that the device is computing.
struct Chunk {
    begun: Instant,
    tokens: u32,
    /// It went to the device as a whole.
    whole: bool,
}

impl Session {
    /// Runs the tokens that are pending. Returns false when cancelled between chunks, or in one
    /// that takes long.
    pub(super) async fn catch_up(&mut self, cancel: Option<&dyn Fn() -> bool>) -> Result<bool> {
        self.run(cancel, 0).await
    }

    /// Runs pending tokens until at most `rest` are left, which may be before the device is done
    /// with the others.
    pub(super) async fn run(&mut self, cancel: Option<&dyn Fn() -> bool>, rest: usize) -> Result<bool> {
        let mut queued: Option<(Fence, Chunk)> = None;
        // When the device was done with the chunk before that one.
        let mut free = Instant::now();
        while self.pending > rest {
            if cancel.is_some_and(|cancelled| cancelled()) {
                return Ok(false);
            }
            let from = self.ids.len() - self.pending;
            // What a device that has shown nothing yet gets at once does not stop its screen.
            let most = if self.engine.model.pace.is_known() { u32::MAX } else { FIRST_TOKENS };
            let tokens = self.pending.min(self.engine.model.chunk().min(most) as usize);
            let part = self.ids[from..from + tokens].to_vec();
            let rows = u32::from(tokens == self.pending);
            let before = self.position();
            self.engine.model.turns.free().await;
            let step = self.begin_step(&part, rows)?;
            let Some(first) = self.submit_parts(&step, SamplingMode::Host, cancel).await? else {
                return Ok(false);
            };
            let begun = Instant::now();
            let head = self.decoder.submit_head(&step, SamplingMode::Host, first);
            self.decoder.submit(&step, SamplingMode::Host, head..self.decoder.dispatches(&step));
            self.decoder.end_step(&step);
            self.pending -= tokens;
            // They are of the place before, until the new ones are here.
            self.logits.clear();
            self.keep_distance(before)?;
            let chunk = Chunk { begun, tokens: step.tokens, whole: first == 0 };
            if rows == 1 {
                let logits = self.decoder.reading_of_logits(1);
                if let Some(before) = queued.take() {
                    free = self.passed(before, free).await?;
                }
                self.logits = self.engine.model.gpu().arrive_once(logits).await?;
                free = self.learn(&chunk, free);
                self.expect_numbers().await?;
                continue;
            }
            let chunk = (self.engine.model.gpu().fence(), chunk);
            // One is waited for while the next is computed, so that the caller can stop it and a
            // page stays alive. What is queued on a CPU would be computed before anybody is asked.
            let model = &self.engine.model;
            let waits = match model.target.queues() && model.pace.is_known() {
                true => queued.replace(chunk),
                false => Some(chunk),
            };
            if let Some(chunk) = waits {
                free = self.passed(chunk, free).await?;
            }
        }
        match queued {
            // What follows is queued behind it, unless its time is still to be known.
            Some(chunk) if !self.engine.model.pace.is_known() => self.passed(chunk, free).await.map(|_| true),
            _ => Ok(true),
        }
    }

    /// Waits until the device is done with a chunk. Gives the moment.
    async fn passed(&self, (done, chunk): (Fence, Chunk), free: Instant) -> Result<Instant> {
        self.engine.model.gpu().passed(done).await?;
        Ok(self.learn(&chunk, free))
    }

    /// A chunk is done now, which the device has computed since it was submitted, or since it was
    /// `free`. Gives the moment.
    fn learn(&self, chunk: &Chunk, free: Instant) -> Instant {
        let now = Instant::now();
        if chunk.whole {
            self.engine.model.pace.learn(now.since(chunk.begun).min(now.since(free)), chunk.tokens);
        }
        now
    }
}
