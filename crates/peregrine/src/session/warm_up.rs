//! What only the first answer of a model would wait for, done before it is asked.

use super::Session;
use crate::error::Result;
use crate::plan::SamplingMode;

/// Tokens of the prompt: enough for the kernels that read many.
const PROMPT: [u32; 2] = [0; 2];

impl Session {
    /// Queues a short prompt and a step of an answer, and forgets them: what a device does when a
    /// pipeline or a buffer is used for the first time is then behind it. Nothing is waited for. A
    /// session that has read something stays as it is, and so does one of a CPU, which gains
    /// nothing.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub async fn warm_up(&mut self) -> Result<()> {
        let model = &self.engine.model;
        let is_fresh = self.ids.is_empty() && self.position() == 0;
        if !is_fresh || !model.target.warms_up() || self.context_length() <= PROMPT.len() as u32 {
            return Ok(());
        }
        let weighted = if model.samples_at_temperatures() { SamplingMode::Random } else { SamplingMode::Greedy };
        model.turns.free().await;
        for (ids, mode) in [(&PROMPT[..], SamplingMode::Greedy), (&PROMPT[..1], weighted)] {
            let step = self.begin_step(ids, 1)?;
            self.decoder.submit(&step, mode, 0..self.decoder.dispatches(&step));
            self.decoder.end_step(&step);
        }
        self.forget();
        Ok(())
    }
}
