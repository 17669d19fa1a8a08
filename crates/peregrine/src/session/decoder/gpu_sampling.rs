//! Samples of the GPU from given logits, and whether they are the host's.

use super::Decoder;
use crate::constraint::mask_words;
use crate::error::{Error, Result};
use crate::gpu::Reading;
use crate::ops::sample::Ends;
use crate::plan::{Needed, SamplingMode, Step};
use crate::sampling::{Sampler, SamplingOptions, SamplingParams};

/// Tokens that are sampled at a temperature.
const SAMPLES: u64 = 2;

/// A sample of the GPU that is not the host's.
pub(crate) struct SampleMismatch {
    /// Whether it was to be the likeliest token.
    pub is_greedy: bool,
    /// The GPU's token; `u32::MAX` where it has found a logit that is no number.
    pub found: u32,
    /// The host's.
    pub expected: u32,
}

/// Logits spread as a trained model's are.
pub(crate) fn spread_logits(vocab_size: u32) -> Vec<f32> {
    let logit = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1 << 20) as f32 - 8.0;
    (0..u64::from(vocab_size)).map(logit).collect()
}

/// Samples that are on their way, to be compared with the host's.
pub(crate) struct GpuSamples<'a> {
    logits: &'a [f32],
    mask: Option<&'a [u32]>,
    /// How, and the tokens of samples 0, 1 and so on.
    of: Vec<(SamplingOptions, Vec<Reading>)>,
}

impl GpuSamples<'_> {
    /// The first that is not the host's. Where the host finds nothing to sample, nothing is
    /// compared.
    pub(crate) async fn first_mismatch(self, decoder: &Decoder) -> Result<Option<SampleMismatch>> {
        for (options, readings) in self.of {
            let is_greedy = options.is_greedy();
            let mut sampler = Sampler::new(options)?;
            for reading in readings {
                let Ok(expected) = sampler.sample_masked(self.logits, &[], self.mask) else { continue };
                let found = match decoder.arrived_sample(reading).await {
                    Ok(found) => found,
                    Err(Error::Sampling { .. }) => u32::MAX,
                    Err(error) => return Err(error),
                };
                if found != expected {
                    return Ok(Some(SampleMismatch { is_greedy, found, expected }));
                }
            }
        }
        Ok(None)
    }
}

impl Decoder {
    /// Queues samples from `logits` under a mask or without one: the likeliest token and, where the
    /// GPU samples at temperatures, some with `options`. Whoever has a mask has prepared the plan
    /// with masks.
    pub(crate) fn submit_samples<'a>(
        &self,
        logits: &'a [f32],
        options: &SamplingOptions,
        mask: Option<&'a [u32]>,
    ) -> Result<GpuSamples<'a>> {
        let weighted = self.model.samples_at_temperatures().then(|| (options.clone(), SAMPLES));
        let submit = |(options, count): (SamplingOptions, u64)| {
            let readings = (0..count).map(|n| self.submit_sample(logits, &options, n, mask)).collect::<Result<_>>()?;
            Ok((options, readings))
        };
        let of = [Some((SamplingOptions::greedy(), 1)), weighted].into_iter().flatten().map(submit);
        Ok(GpuSamples { logits, mask, of: of.collect::<Result<_>>()? })
    }

    /// Makes such samples under a mask, and compares them.
    pub(crate) async fn first_mismatch_under_mask(
        &mut self,
        logits: &[f32],
        options: &SamplingOptions,
        mask: &[u32],
    ) -> Result<Option<SampleMismatch>> {
        self.prepare_masked().await?;
        self.model.turns.free().await;
        let samples = self.submit_samples(logits, options, Some(mask))?;
        samples.first_mismatch(self).await
    }

    /// Sample number `n` by the GPU from `logits`, at most \[V\] of them; biases and penalties are
    /// not for the GPU and left out. Where there is a `mask`, only from the tokens that it allows
    /// ([`mask_words`](crate::constraint::mask_words) of the logits). The states stay as they are,
    /// the logits on the GPU do not.
    ///
    /// # Errors
    /// [`Error::Sampling`] for options out of range, and where the GPU finds a logit that is no
    /// number; [`Error::Argument`] for more logits than tokens; [`Error::Unsupported`] where the
    /// host samples; what the device says.
    pub(crate) async fn sample_on_gpu(
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
        self.model.turns.free().await;
        let reading = self.submit_sample(logits, options, n, mask)?;
        self.arrived_sample(reading).await
    }

    /// Queues a sample as [`Decoder::sample_on_gpu`] makes it. Whoever has a mask has prepared the
    /// plan with masks.
    pub(crate) fn submit_sample(
        &self,
        logits: &[f32],
        options: &SamplingOptions,
        n: u64,
        mask: Option<&[u32]>,
    ) -> Result<Reading> {
        let (model, next) = (&self.model, &self.next);
        let vocab_size = model.config.vocab_size;
        if logits.is_empty() || logits.len() > vocab_size as usize {
            return Err(Error::Argument {
                field: "logits".into(),
                expected: format!("1 to {vocab_size}"),
                found: logits.len().to_string(),
            });
        }
        if !options.is_greedy() && !model.samples_at_temperatures() {
            return Err(Error::Unsupported {
                name: model.gpu.name().into(),
                field: "sampling at a temperature".into(),
                expected: "a device whose GPU samples".into(),
                found: "one whose host does".into(),
            });
        }
        let mode = if options.is_greedy() { SamplingMode::Greedy } else { SamplingMode::Random };
        let gpu = &model.gpu;
        let ends = Ends { vocab_size: logits.len() as u32, ..Ends::default() };
        gpu.write(&next.ends, 0, bytemuck::bytes_of(&ends));
        gpu.write(&next.control, 0, &[0; 16]);
        let place = if mask.is_some() { &next.masked_logits } else { &model.scratch.logits };
        gpu.write(place, 0, bytemuck::cast_slice(logits));
        if mode == SamplingMode::Random {
            gpu.write(&next.params, 0, bytemuck::bytes_of(&SamplingParams::new(options, n)));
        }
        let plan = match (mask, &self.masked) {
            (Some(mask), Some(plan)) => {
                gpu.write(&next.mask, 0, bytemuck::cast_slice(&mask[..mask.len().min(mask_words(vocab_size))]));
                plan
            }
            _ => &self.decode,
        };
        let dispatches = plan.dispatches();
        let is_last = |needed| matches!(needed, Needed::Token | Needed::Greedy | Needed::Random);
        let first = dispatches.iter().position(|d| is_last(d.needed)).unwrap_or(dispatches.len());
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        let step = Step { tokens: 1, ..Step::default() };
        plan.encode(&mut encoder, &step, mode, first..dispatches.len(), model.kv());
        gpu.queue().submit([encoder.finish()]);
        Ok(gpu.reading_of(&[(next.control.clone(), 0, 16)]))
    }

    /// The token of a sample, once it is here.
    pub(crate) async fn arrived_sample(&self, reading: Reading) -> Result<u32> {
        let found = self.model.gpu.arrive_once::<u32>(reading).await?;
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
