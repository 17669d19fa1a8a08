//! Draws of the GPU from given logits: for tests and `check`.

use super::Session;
use crate::constraint::mask_words;
use crate::error::{Error, Result};
use crate::gpu::Reading;
use crate::plan::{Draw, Needed, Step};
use crate::sampling::{Drawing, SamplingOptions};
use crate::state::Ends;

impl Session {
    /// Draw number `n` by the GPU from `logits`, at most \[V\] of them; biases and penalties are not for the GPU and left out.
    /// Where there is a `mask`, only from the tokens that it allows ([`mask_words`](crate::constraint::mask_words) of the logits).
    /// The session's states stay as they are, its logits on the GPU do not.
    ///
    /// # Errors
    /// [`Error::Sampling`] for options out of range, and where the GPU finds a logit that is no number; [`Error::Argument`] for
    /// more logits than tokens; [`Error::Unsupported`] where the host draws; what the device says.
    pub async fn draw_on_gpu(
        &mut self,
        logits: &[f32],
        options: &SamplingOptions,
        n: u64,
        mask: Option<&[u32]>,
    ) -> Result<u32> {
        options.validate()?;
        if mask.is_some() {
            self.prepare_masked().await?;
        }
        self.engine.model.turns.free().await;
        let reading = self.submit_draw(logits, options, n, mask)?;
        self.arrived_draw(reading).await
    }

    /// Queues a draw as [`Session::draw_on_gpu`] makes it. Whoever has a mask has prepared the plan with masks.
    pub(crate) fn submit_draw(
        &self,
        logits: &[f32],
        options: &SamplingOptions,
        n: u64,
        mask: Option<&[u32]>,
    ) -> Result<Reading> {
        let (model, next) = (&self.engine.model, &self.state.next);
        let vocab_size = model.config.vocab_size;
        if logits.is_empty() || logits.len() > vocab_size as usize {
            return Err(Error::Argument {
                field: "logits".into(),
                expected: format!("1 to {vocab_size}"),
                found: logits.len().to_string(),
            });
        }
        if !options.is_greedy() && !model.draws_at_temperatures() {
            return Err(Error::Unsupported {
                name: model.gpu.name().into(),
                field: "drawing at a temperature".into(),
                expected: "a device whose GPU draws".into(),
                found: "one whose host does".into(),
            });
        }
        let draw = if options.is_greedy() { Draw::Likeliest } else { Draw::Weighted };
        let gpu = &model.gpu;
        let ends = Ends { vocab_size: logits.len() as u32, ..Ends::default() };
        gpu.write(&next.ends, 0, bytemuck::bytes_of(&ends));
        gpu.write(&next.control, 0, &[0; 16]);
        let place = if mask.is_some() { &next.masked } else { &model.scratch.logits };
        gpu.write(place, 0, bytemuck::cast_slice(logits));
        if draw == Draw::Weighted {
            gpu.write(&next.drawing, 0, bytemuck::bytes_of(&Drawing::new(options, n)));
        }
        let plan = match (mask, &self.masked) {
            (Some(mask), Some(plan)) => {
                gpu.write(&next.mask, 0, bytemuck::cast_slice(&mask[..mask.len().min(mask_words(vocab_size))]));
                plan
            }
            _ => &self.decode,
        };
        let dispatches = plan.dispatches();
        let is_last = |needed| matches!(needed, Needed::Token | Needed::Likeliest | Needed::Weighted);
        let first = dispatches.iter().position(|d| is_last(d.needed)).unwrap_or(dispatches.len());
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        let step = Step { tokens: 1, ..Step::default() };
        plan.encode(&mut encoder, &step, draw, first..dispatches.len(), model.kv());
        gpu.queue().submit([encoder.finish()]);
        Ok(gpu.reading_of(&[(next.control.clone(), 0, 16)]))
    }

    /// The token of a draw, once it is here.
    pub(crate) async fn arrived_draw(&self, reading: Reading) -> Result<u32> {
        let found = self.engine.model.gpu.arrive_once::<u32>(reading).await?;
        match found[..] {
            [_, token, 0, _] => Ok(token),
            _ => Err(Error::Sampling {
                field: "logits".into(),
                expected: "numbers".into(),
                found: "one that is none, on the GPU".into(),
            }),
        }
    }
}
