//! The dispatches of a step on their way to the device: all at once, or, where that takes long, in parts that can be stopped.

use std::ops::Range;

use super::Session;
use crate::error::Result;
use crate::gpu::Instant;
use crate::plan::{self, Step};

impl Session {
    /// Where a step of many tokens takes long and may be cancelled, its dispatches go to the device a few at a time, and all but the last
    /// few are waited for. From which on they are still to be submitted; `None` when it was cancelled: then the step has not been.
    pub(super) async fn submit_parts(
        &mut self,
        step: &Step,
        draw: plan::Draw,
        cancel: Option<&dyn Fn() -> bool>,
    ) -> Result<Option<usize>> {
        let Some(cancelled) = cancel.filter(|_| step.tokens > 1 && self.is_known()) else { return Ok(Some(0)) };
        let mut first = 0;
        loop {
            let part = self.engine.model.pace.part(step.tokens);
            if first > 0 && cancelled() {
                self.undo_step().await?;
                return Ok(None);
            }
            if self.dispatches(step) - first <= part {
                return Ok(Some(first));
            }
            let begun = Instant::now();
            self.halfway = true;
            self.submit(step, draw, first..first + part);
            self.engine.model.gpu().sync().await?;
            self.engine.model.pace.learn(Instant::now().since(begun), part, step.tokens);
            first += part;
        }
    }

    /// Queues these dispatches of a step.
    pub(super) fn submit(&self, step: &Step, draw: plan::Draw, range: Range<usize>) {
        let encoder = self.encode(step, draw, range);
        self.engine.model.gpu.queue().submit([encoder.finish()]);
    }

    /// Records these dispatches of a step.
    pub(super) fn encode(&self, step: &Step, draw: plan::Draw, range: Range<usize>) -> wgpu::CommandEncoder {
        let plan = if step.tokens > 1 { &self.prefill } else { &self.decode };
        let mut encoder = self.engine.model.gpu.device().create_command_encoder(&Default::default());
        plan.encode(&mut encoder, step, draw, range, self.engine.model.kv());
        encoder
    }

    /// How many dispatches a step has.
    pub(super) fn dispatches(&self, step: &Step) -> usize {
        if step.tokens > 1 { self.prefill.dispatches().len() } else { self.decode.dispatches().len() }
    }
}
