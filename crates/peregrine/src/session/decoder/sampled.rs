//! Tokens that the GPU samples: what samples them is queued behind the step before, and they are
//! read back while the next one runs.

use std::collections::VecDeque;

use super::Decoder;
use crate::error::Result;
use crate::gpu::{Instant, Reading};
use crate::ops::sample::Ends;
use crate::plan::{SamplingMode, Step};
use crate::sampling::SamplingParams;

/// Tokens of one answer that are on their way to the host.
pub struct SampledTokens {
    /// Who samples them, and how.
    pub mode: SamplingMode,
    /// The next one first.
    readings: VecDeque<Reading>,
    /// Buffers to read others with.
    spare: Vec<wgpu::Buffer>,
    /// When the last one came.
    came: Option<Instant>,
}

impl SampledTokens {
    /// None yet.
    pub fn new(mode: SamplingMode) -> Self {
        Self { mode, readings: VecDeque::new(), spare: Vec::new(), came: None }
    }

    /// Whether none is on its way.
    pub fn is_empty(&self) -> bool {
        self.readings.is_empty()
    }

    /// The one that comes next.
    pub fn next(&mut self) -> Option<Reading> {
        self.readings.pop_front()
    }
}

impl Decoder {
    /// The tokens that halt what is queued, at most
    /// [`MAX_ENDS`](crate::ops::sample::MAX_ENDS).
    pub fn write_ends(&self, ends: &[u32]) {
        let vocab_size = self.model.config().vocab_size;
        let mut table = Ends { count: ends.len() as u32, vocab_size, ..Ends::default() };
        table.id.iter_mut().zip(ends).for_each(|(to, end)| *to = *end);
        self.model.gpu.write(&self.next.ends, 0, bytemuck::bytes_of(&table));
    }

    /// Which tokens the next sample under a mask may be.
    pub fn write_mask(&self, mask: &[u32]) {
        self.model.gpu.write(&self.next.mask, 0, bytemuck::cast_slice(mask));
    }

    /// How the next token is sampled, where that is at a temperature: before anything that reads it
    /// is submitted.
    fn write_params(&self, params: Option<SamplingParams>) {
        if let Some(params) = params {
            self.model.gpu.write(&self.next.params, 0, bytemuck::bytes_of(&params));
        }
    }

    /// Queues what is left of a step, from that dispatch on, whose last token's successor is
    /// sampled on the GPU, and a read-back of that token. The step is to be ended.
    pub fn submit_and_sample(
        &self,
        tokens: &mut SampledTokens,
        params: Option<SamplingParams>,
        step: &Step,
        first: usize,
    ) {
        self.write_params(params);
        let mode = tokens.mode;
        let first = self.submit_head(step, mode, first);
        let reading =
            self.read_sampled(tokens, |encoder| self.encode_into(encoder, step, mode, first..self.dispatches(step)));
        tokens.readings.push_back(reading);
    }

    /// Makes what samples under a mask, unless it is there: before a step, since none may be waited
    /// for between a step and its sample.
    ///
    /// # Errors
    /// What the device says.
    pub async fn prepare_masked(&mut self) -> Result<()> {
        if self.masked.is_none() {
            let plan = self.model.masked_sample(&self.next);
            self.model.pipelines.finish().await?;
            self.masked = Some(plan);
        }
        Ok(())
    }

    /// Queues what is left of a step, and puts its logits where they wait for their mask. The step
    /// is to be ended.
    pub fn submit_waiting(&self, step: &Step, first: usize) {
        let first = self.submit_head(step, SamplingMode::Host, first);
        let model = &self.model;
        let mut encoder = model.gpu.device().create_command_encoder(&Default::default());
        self.encode_into(&mut encoder, step, SamplingMode::Host, first..self.dispatches(step));
        let bytes = 4 * u64::from(model.config.vocab_size);
        encoder.copy_buffer_to_buffer(&model.scratch.logits, 0, &self.next.masked_logits, 0, bytes);
        model.gpu.queue().submit([encoder.finish()]);
    }

    /// Queues a sample from the logits that wait for their mask, and a read-back of it.
    pub fn sample_waiting(&self, tokens: &mut SampledTokens, params: Option<SamplingParams>) -> Reading {
        let step = Step { tokens: 1, ..Step::default() };
        self.write_params(params);
        let mode = tokens.mode;
        self.read_sampled(tokens, |encoder| {
            if let Some(plan) = &self.masked {
                plan.encode(encoder, &step, mode, 0..plan.dispatches().len(), self.model.kv());
            }
        })
    }

    /// Queues what samples a token, and a read-back of it.
    fn read_sampled(&self, tokens: &mut SampledTokens, encode: impl FnOnce(&mut wgpu::CommandEncoder)) -> Reading {
        let gpu = &self.model.gpu;
        let staging = tokens.spare.pop().unwrap_or_else(|| gpu.staging(16));
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        encode(&mut encoder);
        encoder.copy_buffer_to_buffer(&self.next.control, 0, &staging, 0, 16);
        gpu.submit_reading(encoder, staging)
    }

    /// The token that was sampled, once it is here; `None` where a logit was no number.
    ///
    /// # Errors
    /// What the device says.
    pub async fn sampled(&self, tokens: &mut SampledTokens, reading: Reading) -> Result<Option<u32>> {
        let (found, staging) = self.model.gpu().arrive::<[u32; 4]>(reading).await?;
        tokens.spare.push(staging);
        match found.first() {
            Some([_, token, 0, _]) => Ok(Some(*token)),
            _ => Ok(None),
        }
    }

    /// A token has come: how long after the one before is learned.
    pub fn learn_token(&self, tokens: &mut SampledTokens) {
        let now = Instant::now();
        if let Some(before) = tokens.came.replace(now) {
            self.model.pace.learn_token(now.since(before));
        }
    }

    /// The logits that the last token was sampled from.
    ///
    /// # Errors
    /// What the device says.
    pub async fn saved_logits(&self) -> Result<Vec<f32>> {
        self.model.gpu.read(&self.next.saved_logits, 0, self.model.config.vocab_size.into()).await
    }

    /// The logits that wait for their mask.
    ///
    /// # Errors
    /// What the device says.
    pub async fn waiting_logits(&self) -> Result<Vec<f32>> {
        self.model.gpu.read(&self.next.masked_logits, 0, self.model.config.vocab_size.into()).await
    }
}
