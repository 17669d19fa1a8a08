//! The dispatches of a step on their way to the device: all at once, or, where that takes long, in
//! parts that can be stopped.

use std::ops::Range;

use super::Decoder;
use crate::error::Result;
use crate::gpu::Instant;
use crate::plan::{SamplingMode, Step};

/// Dispatches of a step of many tokens that are submitted before the others are recorded.
const HEAD: usize = 32;

impl Decoder {
    /// Where a step takes long, its dispatches go to the device a few at a time, and all but the
    /// last few are waited for. From which on they are still to be submitted; `None` when it was
    /// cancelled: then the states are in the middle of it. Whoever calls has the turn, and keeps it
    /// until what is left is submitted, or the states are whole again.
    ///
    /// # Errors
    /// What the device says.
    pub async fn submit_parts(
        &mut self,
        step: &Step,
        mode: SamplingMode,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<usize>> {
        let all = self.dispatches(step);
        let part = self.model.pace.part(step.tokens, all);
        let begun = Instant::now();
        let mut first = 0;
        while all - first > part {
            self.halfway = true;
            self.submit(step, mode, first..first + part);
            self.model.gpu().sync().await?;
            first += part;
            if cancelled() {
                return Ok(None);
            }
        }
        if first > 0 {
            let share = first as f64 / all as f64;
            self.model.pace.learn(Instant::now().since(begun) / share, step.tokens);
        }
        Ok(Some(first))
    }

    /// Queues the first dispatches, from `first` on, of a step of many tokens, so that the device
    /// computes while the others are recorded. From which on they are still to be submitted.
    pub fn submit_head(&self, step: &Step, mode: SamplingMode, first: usize) -> usize {
        let head = first + HEAD;
        if step.tokens == 1 || head >= self.dispatches(step) {
            return first;
        }
        self.submit(step, mode, first..head);
        head
    }

    /// Queues these dispatches of a step.
    pub fn submit(&self, step: &Step, mode: SamplingMode, range: Range<usize>) {
        let gpu = &self.model.gpu;
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        self.encode_into(&mut encoder, step, mode, range);
        gpu.queue().submit([encoder.finish()]);
    }

    /// Records these dispatches of a step.
    pub(super) fn encode_into(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        step: &Step,
        mode: SamplingMode,
        range: Range<usize>,
    ) {
        self.plan(step.tokens > 1).encode(encoder, step, mode, range, self.model.kv());
    }

    /// How many dispatches a step has.
    pub fn dispatches(&self, step: &Step) -> usize {
        self.plan(step.tokens > 1).dispatches().len()
    }
}
