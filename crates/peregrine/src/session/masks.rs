//! Whether samples under a mask are right on this device. The self-check of a model does not try
//! them, since most of its users never do: they are tried before the first answer that needs them.

use super::Session;
use super::decoder::spread_logits;
use crate::constraint::{allow, mask_words};
use crate::error::Result;
use crate::sampling::SamplingOptions;

impl Session {
    /// Compares samples of the GPU under masks with the host's, once for an engine. Where they
    /// differ the host samples.
    pub(super) async fn masks_are_right(&mut self) -> Result<bool> {
        if let Some(known) = self.engine.masks.get() {
            return Ok(known);
        }
        let right = self.try_masks().await?;
        self.engine.masks.set(Some(right));
        Ok(right)
    }

    async fn try_masks(&mut self) -> Result<bool> {
        let vocab_size = self.engine.model.config().vocab_size;
        // The likeliest is one that no mask lets come.
        let mut logits = spread_logits(vocab_size);
        logits.iter_mut().skip(1).take(1).for_each(|logit| *logit += 20.0);
        let sampled = SamplingOptions { temperature: 0.8, top_p: 0.95, ..SamplingOptions::default() };
        // Many tokens; those at the borders of words; the last.
        let masks: [&dyn Fn(u32) -> bool; 3] =
            [&|i| i % 3 == 0, &|i| i % 32 == 31 || (i > 1 && i % 32 == 0), &|i| i + 1 == vocab_size];
        for may_come in masks {
            let mut mask = vec![0; mask_words(vocab_size)];
            (0..vocab_size).for_each(|token| allow(&mut mask, token, may_come(token)));
            if self.decoder.first_mismatch_under_mask(&logits, &sampled, &mask).await?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
