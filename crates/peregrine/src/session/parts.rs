//! The dispatches of a step on their way to the device: all at once, or, where that takes long, in
//! parts that can be stopped.

use std::ops::Range;

use super::Session;
use crate::error::Result;
use crate::gpu::Instant;
use crate::plan::{self, Step};

/// Dispatches of a step of many tokens that are submitted before the others are recorded.
const HEAD: usize = 32;

impl Session {
    /// Where a step of many tokens takes long and may be cancelled, its dispatches go to the device
    /// a few at a time, and all but the last few are waited for. From which on they are still to be
    /// submitted; `None` when it was cancelled: then the step has not been.
    pub(super) async fn submit_parts(
        &mut self,
        step: &Step,
        mode: plan::SamplingMode,
        cancel: Option<&dyn Fn() -> bool>,
    ) -> Result<Option<usize>> {
        let Some(cancelled) = cancel.filter(|_| step.tokens > 1 && self.is_known()) else { return Ok(Some(0)) };
        let all = self.dispatches(step);
        let part = self.engine.model.pace.part(step.tokens, all);
        let begun = Instant::now();
        let mut first = 0;
        let turn = self.engine.model.turns.take();
        while all - first > part {
            self.halfway = true;
            self.submit(step, mode, first..first + part);
            self.engine.model.gpu().sync().await?;
            first += part;
            if cancelled() {
                self.undo_step().await?;
                return Ok(None);
            }
        }
        if first > 0 {
            let share = first as f64 / all as f64;
            self.engine.model.pace.learn(Instant::now().since(begun) / share, step.tokens);
        }
        drop(turn); // what is left is submitted before anybody is asked
        Ok(Some(first))
    }

    /// Queues the first dispatches, from `first` on, of a step of many tokens, so that the device
    /// computes while the others are recorded. From which on they are still to be submitted.
    pub(super) fn submit_head(&self, step: &Step, mode: plan::SamplingMode, first: usize) -> usize {
        let head = first + HEAD;
        if step.tokens == 1 || head >= self.dispatches(step) {
            return first;
        }
        self.submit(step, mode, first..head);
        head
    }

    /// Queues these dispatches of a step.
    pub(super) fn submit(&self, step: &Step, mode: plan::SamplingMode, range: Range<usize>) {
        let gpu = &self.engine.model.gpu;
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        self.encode_into(&mut encoder, step, mode, range);
        gpu.queue().submit([encoder.finish()]);
    }

    /// Records these dispatches of a step.
    pub(super) fn encode_into(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        step: &Step,
        mode: plan::SamplingMode,
        range: Range<usize>,
    ) {
        let plan = if step.tokens > 1 { &self.prefill } else { &self.decode };
        plan.encode(encoder, step, mode, range, self.engine.model.kv());
    }

    /// How many dispatches a step has.
    pub(super) fn dispatches(&self, step: &Step) -> usize {
        if step.tokens > 1 { self.prefill.dispatches().len() } else { self.decode.dispatches().len() }
    }
}
