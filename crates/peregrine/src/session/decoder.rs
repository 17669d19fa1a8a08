//! Steps of a session: what is queued on the GPU, and how the next token comes back.
//!
//! Answers are sampled on the GPU, the likeliest token or at a temperature: the token is the next
//! step's input without leaving it, and the host queues that step, and on fast devices some after
//! it (`ahead.rs`), before it has read the token. Only an end token must not be read by the model,
//! and `shaders/sample/next_token.wgsl` sees to that: it halts what is queued, which then leaves
//! the states as they are, bit by bit. A sample depends on the seed and its number alone, so one
//! that is taken back leaves nothing behind.
//!
//! Penalties, biases and log-probabilities look at every logit with what the answer has so far:
//! such answers are sampled on the host, which reads the logits of every token back; so are all at
//! a temperature where the CPU computes, to which a read-back costs nothing. Both sample the same
//! tokens. On the processor all are: a step that is queued there is done before anything else, and
//! whoever waits for a token would wait for the step after it, too.

use std::collections::VecDeque;

use super::ahead::Anchor;
use super::constrained::Constrained;
use super::{GenerateOptions, Session, rope_table};
use crate::error::{Error, Result};
use crate::gpu::{Instant, Reading};
use crate::model::turns::Turn;
use crate::ops::sample::{Ends, MAX_ENDS};
use crate::plan::{self, Step};
use crate::sampling::{Logprobs, Sampler, forbid, logprobs};
use crate::state::splits;

/// How the tokens of an answer are sampled.
pub(super) struct AnswerSampling {
    sampler: Sampler,
    /// On the GPU, where nothing looks back.
    by: plan::SamplingMode,
    /// The tokens that are on their way, the next one first.
    readings: VecDeque<Reading>,
    /// Buffers to read others with.
    spare: Vec<wgpu::Buffer>,
    /// When the last one came.
    came: Option<Instant>,
    /// Where to go back to when the answer ends before the tokens that are on their way.
    pub(super) anchor: Option<Anchor>,
    /// Whether the session's logits are still on the GPU.
    pub(super) sampled: bool,
    /// Whether the newest token has been read, and its logits wait for a mask.
    pub(super) waiting: bool,
    /// What may come.
    pub(super) constrained: Option<Constrained>,
}

impl AnswerSampling {
    /// The session is at another place than where its last token was read.
    pub(super) fn moved(&mut self) {
        self.waiting = false;
        self.anchor = None;
    }

    /// The token that was sampled, or had to come, belongs to the answer.
    pub(super) fn accept(&mut self, token: u32) -> Result<()> {
        self.sampler.accept(token);
        self.constrained.as_mut().map_or(Ok(()), |constrained| constrained.accept(token))
    }

    /// A token that must come next, if there is one.
    pub(super) fn forced(&mut self) -> Result<Option<u32>> {
        self.constrained.as_mut().map_or(Ok(None), Constrained::next_forced)
    }

    /// Whether nothing can follow.
    pub(super) fn is_finished(&mut self) -> bool {
        self.constrained.as_mut().is_some_and(Constrained::is_finished)
    }

    /// Whether the answer ends with this token, whatever the caller does with end tokens.
    pub(super) fn must_end(&self, token: u32) -> bool {
        self.constrained.as_ref().is_some_and(|constrained| constrained.must_end(token))
    }

    /// How likely the token was that was sampled from these logits.
    pub(super) fn logprobs(&self, logits: &[f32], token: u32, top: u32) -> Logprobs {
        match &self.constrained {
            None => logprobs(logits, token, top),
            Some(constrained) => {
                let mut masked = logits.to_vec();
                forbid(&mut masked, constrained.last_mask());
                logprobs(&masked, token, top)
            }
        }
    }
}

impl Session {
    /// Prepares an answer. `gpu_may`: its tokens may be sampled on the GPU.
    pub(super) fn begin_sampling(&mut self, options: &GenerateOptions, gpu_may: bool) -> Result<AnswerSampling> {
        let sampler = Sampler::new(options.sampling.clone())?;
        let tokenizer = &self.engine.tokenizer;
        // Under a grammar an end token ends the answer whenever it may come.
        let ignores = options.ignore_end && options.grammar.is_none();
        let ends: &[u32] = if ignores { &[] } else { tokenizer.end_tokens() };
        let vocab_size = self.engine.config().vocab_size;
        let gpu_may = gpu_may && self.engine.model.target.samples();
        let on_gpu = gpu_may && options.sampling.is_plain() && options.logprobs.is_none() && ends.len() <= MAX_ENDS;
        let by = match options.sampling.is_greedy() {
            true if on_gpu => plan::SamplingMode::Greedy,
            false if on_gpu && self.engine.model.samples_at_temperatures() => plan::SamplingMode::Random,
            _ => plan::SamplingMode::Host,
        };
        if by != plan::SamplingMode::Host {
            let mut table = Ends { count: ends.len() as u32, vocab_size, ..Ends::default() };
            table.id.iter_mut().zip(ends).for_each(|(to, end)| *to = *end);
            let gpu = self.engine.model.gpu();
            gpu.write(&self.next.ends, 0, bytemuck::bytes_of(&table));
        }
        self.anchor_is_used = false;
        let constrained = Constrained::begin(self, options)?;
        Ok(AnswerSampling {
            sampler,
            by,
            readings: VecDeque::new(),
            spare: Vec::new(),
            came: None,
            anchor: None,
            sampled: false,
            waiting: false,
            constrained,
        })
    }

    /// The next token, or `None` when cancelled. `left`: so many more will be wanted at most.
    pub(super) async fn next_token(
        &mut self,
        sampling: &mut AnswerSampling,
        left: u32,
        cancel: Option<&dyn Fn() -> bool>,
    ) -> Result<Option<u32>> {
        let is_here = self.pending == 0 && sampling.readings.is_empty() && !sampling.waiting;
        if sampling.by == plan::SamplingMode::Host || is_here {
            if !self.catch_up(cancel).await? {
                return Ok(None);
            }
            if self.logits.is_empty() && self.state.position > 0 {
                // An answer was abandoned while the GPU sampled it: what comes next is known once
                // its text has been read again.
                self.read_again();
                if !self.catch_up(cancel).await? {
                    return Ok(None);
                }
            }
            if self.logits.is_empty() {
                return Err(Error::Argument {
                    field: "prompt".into(),
                    expected: "at least one token".into(),
                    found: "none".into(),
                });
            }
            let mask = sampling.constrained.as_mut().map(Constrained::mask).transpose()?;
            return sampling.sampler.sample_masked(&self.logits, &self.ids, mask).map(Some);
        }
        if cancel.is_some_and(|cancelled| cancelled()) {
            return Ok(None);
        }
        if sampling.constrained.is_some() {
            return self.next_masked(sampling, left > 0, cancel).await;
        }
        if sampling.readings.is_empty() {
            let chunk = self.engine.model.chunk() as usize;
            if self.pending > chunk && !self.run(cancel, chunk).await? {
                return Ok(None);
            }
            let newest = self.ids[self.ids.len() - self.pending..].to_vec();
            self.engine.model.turns.free().await;
            let step = self.begin_step(&newest, 1)?;
            let Some(first) = self.submit_parts(&step, sampling.by, cancel).await? else {
                return Ok(None);
            };
            self.submit_and_sample(sampling, &step, first);
            self.pending = 0;
        }
        sampling.sampled = true;
        let most = if left > 0 { self.most_ahead(sampling)?.min(left) } else { 0 };
        while self.ahead < most && self.state.position < self.state.context_length {
            self.engine.model.turns.free().await;
            let step = self.begin_on_sampled()?;
            self.submit_and_sample(sampling, &step, 0);
            self.ahead += 1;
        }
        let Some(reading) = sampling.readings.pop_front() else {
            return Err(Error::Gpu { detail: "no token is on its way".into() });
        };
        let token = self.sampled_token(sampling, reading).await?;
        let now = Instant::now();
        if let Some(before) = sampling.came.replace(now) {
            self.engine.model.pace.learn_token(now.since(before));
        }
        Ok(Some(token))
    }

    /// The token that was sampled, once it is here.
    pub(super) async fn sampled_token(&mut self, sampling: &mut AnswerSampling, reading: Reading) -> Result<u32> {
        let (found, staging) = self.engine.model.gpu().arrive::<[u32; 4]>(reading).await?;
        sampling.spare.push(staging);
        match found.first() {
            Some([_, token, 0, _]) => Ok(*token),
            _ => {
                self.take_back();
                self.logits = self.saved_logits().await?;
                self.expect_numbers().await?;
                Err(Error::Gpu { detail: "the token could not be sampled, though all logits are numbers".into() })
            }
        }
    }

    /// After an answer: the states have read it and no more, and the logits come to the host.
    pub(super) async fn end(&mut self, sampling: AnswerSampling) -> Result<()> {
        if let Some(anchor) = sampling.anchor.filter(|_| self.ahead > 0) {
            self.rewind(anchor).await?;
        } else if sampling.waiting {
            self.logits = self.waiting_logits().await?;
        } else if sampling.sampled {
            self.logits = self.saved_logits().await?;
        }
        self.anchor_is_used = false;
        Ok(())
    }

    /// Where an answer was abandoned (its future dropped) with a step under way, the states have
    /// read a token that nobody knows, or parts of some: everything is to be read again.
    pub(super) fn settle(&mut self) {
        self.anchor_is_used = false;
        if self.ahead > 0 || self.halfway {
            self.read_again();
        }
    }

    /// All of it is to be read again, by nothing that the states have kept.
    pub(super) fn read_again(&mut self) {
        let (ids, consumed) = (std::mem::take(&mut self.ids), self.consumed.take());
        self.forget();
        self.prefix_cache.clear();
        self.push(&ids);
        self.consumed = consumed;
    }

    async fn saved_logits(&self) -> Result<Vec<f32>> {
        let model = &self.engine.model;
        model.gpu.read(&self.next.saved_logits, 0, model.config.vocab_size.into()).await
    }

    /// Queues what is left of a step, from that dispatch on, whose last token's successor is
    /// sampled on the GPU, and a read-back of that token.
    fn submit_and_sample(&mut self, sampling: &mut AnswerSampling, step: &Step, first: usize) {
        // They stay on the GPU: those that are here are of an earlier place.
        self.logits.clear();
        self.write_params(sampling);
        let first = self.submit_head(step, sampling.by, first);
        let reading = self.read_sampled(sampling, |session, encoder, by| {
            session.encode_into(encoder, step, by, first..session.dispatches(step));
        });
        sampling.readings.push_back(reading);
        self.end_step(step);
    }

    /// How the next token is sampled: before anything that reads it is submitted.
    pub(super) fn write_params(&self, sampling: &mut AnswerSampling) {
        if sampling.by == plan::SamplingMode::Random {
            let params = sampling.sampler.next_params();
            self.engine.model.gpu.write(&self.next.params, 0, bytemuck::bytes_of(&params));
        }
    }

    /// Queues what samples a token, and a read-back of it.
    pub(super) fn read_sampled(
        &self,
        sampling: &mut AnswerSampling,
        encode: impl FnOnce(&Self, &mut wgpu::CommandEncoder, plan::SamplingMode),
    ) -> Reading {
        let gpu = &self.engine.model.gpu;
        let staging = sampling.spare.pop().unwrap_or_else(|| gpu.staging(16));
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        encode(self, &mut encoder, sampling.by);
        encoder.copy_buffer_to_buffer(&self.next.control, 0, &staging, 0, 16);
        gpu.submit_reading(encoder, staging)
    }

    /// Queues one step over `ids` with logits for the last `rows` tokens.
    pub(crate) fn step(&mut self, ids: &[u32], rows: u32) -> Result<()> {
        let step = self.begin_step(ids, rows)?;
        self.submit(&step, plan::SamplingMode::Host, 0..self.dispatches(&step));
        self.end_step(&step);
        Ok(())
    }

    /// Waits until no other session of the model is in the middle of a step, and keeps others from
    /// beginning one.
    pub(crate) async fn turn(&self) -> Turn {
        let turns = &self.engine.model.turns;
        turns.free().await;
        turns.take()
    }

    /// The same for tests, as long as the result lives.
    #[doc(hidden)]
    pub async fn hold_turn(&self) -> impl Sized + use<> {
        self.turn().await
    }

    /// Makes room and writes what the dispatches of a step read. `check` runs them one by one in
    /// between.
    pub(crate) fn begin_step(&mut self, ids: &[u32], rows: u32) -> Result<Step> {
        self.begin(ids.len() as u32, Some(ids), rows)
    }

    /// The same of one token, the one that was sampled last.
    pub(super) fn begin_on_sampled(&mut self) -> Result<Step> {
        self.begin(1, None, 1)
    }

    fn begin(&mut self, tokens: u32, ids: Option<&[u32]>, rows: u32) -> Result<Step> {
        let engine = self.engine.clone();
        let model = &engine.model;
        self.make_room(tokens)?;
        let position = self.state.position;
        let splits = if tokens == 1 { splits(position + 1) } else { 1 };
        let step = Step { tokens, position, first: tokens - rows, splits };
        let rope = rope_table(&self.frequencies, position, tokens);
        model.gpu.write(&model.step, 0, bytemuck::bytes_of(&step));
        if let Some(ids) = ids {
            model.gpu.write(&self.next.ids, 0, bytemuck::cast_slice(ids));
            // What the host gives is to be read, whatever was sampled before it.
            model.gpu.write(&self.next.control, 0, &[0; 16]);
        }
        let fused = model.target.tokens(tokens > 1).fused();
        model.gpu.write(if fused { &model.scratch.turns } else { &model.scratch.rope }, 0, bytemuck::cast_slice(&rope));
        Ok(step)
    }

    pub(crate) fn end_step(&mut self, step: &Step) {
        self.state.position += step.tokens;
        self.halfway = false;
    }

    /// Counts tokens that `check` has run dispatch by dispatch as read.
    pub(crate) fn remember(&mut self, ids: &[u32]) {
        self.ids.extend_from_slice(ids);
    }

    pub(super) async fn read_logits(&self, rows: u32) -> Result<Vec<f32>> {
        self.engine.model.gpu.arrive_once(self.reading_of_logits(rows)).await
    }

    /// The same, asked for now and read later: what follows may overwrite them.
    pub(crate) fn reading_of_logits(&self, rows: u32) -> Reading {
        let model = &self.engine.model;
        let bytes = 4 * u64::from(rows) * u64::from(model.config.vocab_size);
        model.gpu.reading_of(&[(model.scratch.logits.clone(), 0, bytes)])
    }
}
