//! Whether draws under a mask are right on this device. The self-check of a model does not try them, since most of its users never
//! do: they are tried before the first answer that needs them.

use super::Session;
use crate::constraint::{allow, mask_words};
use crate::error::{Error, Result};
use crate::sampling::{Sampler, SamplingOptions};

/// Tokens that are drawn at a temperature under each mask.
const DRAWS: u64 = 2;

impl Session {
    /// Compares draws of the GPU under masks with the host's, once for an engine. Where they differ the host draws.
    pub(super) async fn masks_are_right(&mut self) -> Result<bool> {
        if let Some(known) = self.engine.masks.get() {
            return Ok(known);
        }
        let right = self.try_masks().await?;
        self.engine.masks.set(Some(right));
        Ok(right)
    }

    async fn try_masks(&mut self) -> Result<bool> {
        let model = &self.engine.model;
        let (vocab_size, weighted) = (model.config().vocab_size, model.draws_at_temperatures());
        // Spread as a trained model's are, and the likeliest where no mask lets it come.
        let logit = |i: u32| (u64::from(i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1 << 20) as f32 - 8.0;
        let logits: Vec<f32> = (0..vocab_size).map(|i| logit(i) + if i == 1 { 20.0 } else { 0.0 }).collect();
        let drawn = SamplingOptions { temperature: 0.8, top_p: 0.95, ..SamplingOptions::default() };
        // Many tokens; those at the borders of words; the last.
        let masks: [&dyn Fn(u32) -> bool; 3] =
            [&|i| i % 3 == 0, &|i| i % 32 == 31 || (i > 1 && i % 32 == 0), &|i| i + 1 == vocab_size];
        for may_come in masks {
            let mut mask = vec![0; mask_words(vocab_size)];
            (0..vocab_size).for_each(|token| allow(&mut mask, token, may_come(token)));
            for options in [Some(SamplingOptions::greedy()), weighted.then(|| drawn.clone())].into_iter().flatten() {
                let mut sampler = Sampler::new(options.clone())?;
                for n in 0..if options.is_greedy() { 1 } else { DRAWS } {
                    let Ok(expected) = sampler.sample_masked(&logits, &[], Some(&mask)) else { continue };
                    match self.draw_on_gpu(&logits, &options, n, Some(&mask)).await {
                        Ok(found) if found == expected => {}
                        Ok(_) | Err(Error::Sampling { .. }) => return Ok(false),
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(true)
    }
}
