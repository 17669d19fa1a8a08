//! How the next token of an answer comes.
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

use super::ahead::Anchor;
use super::constrained::Constrained;
use super::decoder::SampledTokens;
use super::{GenerateOptions, Session};
use crate::error::{Error, Result};
use crate::gpu::Reading;
use crate::ops::sample::MAX_ENDS;
use crate::plan::{SamplingMode, Step};
use crate::sampling::{Logprobs, Sampler, SamplingParams, forbid, logprobs};

/// How the tokens of an answer are sampled.
pub(super) struct AnswerSampling {
    sampler: Sampler,
    /// By whom, and what is on its way: on the GPU, where nothing looks back.
    pub(super) tokens: SampledTokens,
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

    /// How the GPU samples the next token, where that is at a temperature.
    pub(super) fn params(&mut self) -> Option<SamplingParams> {
        (self.tokens.mode == SamplingMode::Random).then(|| self.sampler.next_params())
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
        let model = &self.engine.model;
        // Under a grammar an end token ends the answer whenever it may come.
        let ignores = options.ignore_end && options.grammar.is_none();
        let ends: &[u32] = if ignores { &[] } else { self.engine.tokenizer.end_tokens() };
        let gpu_may = gpu_may && model.target.samples();
        let on_gpu = gpu_may && options.sampling.is_plain() && options.logprobs.is_none() && ends.len() <= MAX_ENDS;
        let mode = match options.sampling.is_greedy() {
            true if on_gpu => SamplingMode::Greedy,
            false if on_gpu && model.samples_at_temperatures() => SamplingMode::Random,
            _ => SamplingMode::Host,
        };
        if mode != SamplingMode::Host {
            self.decoder.write_ends(ends);
        }
        self.anchor_is_used = false;
        let (constrained, tokens) = (Constrained::begin(self, options)?, SampledTokens::new(mode));
        Ok(AnswerSampling { sampler, tokens, anchor: None, sampled: false, waiting: false, constrained })
    }

    /// The next token, or `None` when cancelled. `left`: so many more will be wanted at most.
    pub(super) async fn next_token(
        &mut self,
        sampling: &mut AnswerSampling,
        left: u32,
        cancel: Option<&dyn Fn() -> bool>,
    ) -> Result<Option<u32>> {
        let is_here = self.pending == 0 && sampling.tokens.is_empty() && !sampling.waiting;
        if sampling.tokens.mode == SamplingMode::Host || is_here {
            return self.sample_here(sampling, cancel).await;
        }
        if cancel.is_some_and(|cancelled| cancelled()) {
            return Ok(None);
        }
        if sampling.constrained.is_some() {
            return self.next_masked(sampling, left > 0, cancel).await;
        }
        if sampling.tokens.is_empty() {
            let chunk = self.engine.model.chunk() as usize;
            if self.pending > chunk && !self.run(cancel, chunk).await? {
                return Ok(None);
            }
            let newest = self.ids[self.ids.len() - self.pending..].to_vec();
            self.engine.model.turns.free().await;
            let step = self.begin_step(&newest, 1)?;
            let Some(first) = self.submit_parts(&step, sampling.tokens.mode, cancel).await? else {
                return Ok(None);
            };
            self.submit_and_sample(sampling, &step, first);
            self.decoder.end_step(&step);
            self.pending = 0;
        }
        sampling.sampled = true;
        let most = if left > 0 { self.most_ahead(sampling)?.min(left) } else { 0 };
        while self.decoder.ahead() < most && self.has_room() {
            self.engine.model.turns.free().await;
            let step = self.begin_on_sampled()?;
            self.submit_and_sample(sampling, &step, 0);
            self.decoder.end_step_ahead(&step);
        }
        let Some(reading) = sampling.tokens.next() else {
            return Err(Error::Gpu { detail: "no token is on its way".into() });
        };
        let token = self.sampled_token(sampling, reading).await?;
        self.decoder.learn_token(&mut sampling.tokens);
        Ok(Some(token))
    }

    /// The next token by the host, which reads what is pending and has the logits.
    async fn sample_here(
        &mut self,
        sampling: &mut AnswerSampling,
        cancel: Option<&dyn Fn() -> bool>,
    ) -> Result<Option<u32>> {
        if !self.catch_up(cancel).await? {
            return Ok(None);
        }
        if self.logits.is_empty() && self.position() > 0 {
            // An answer was abandoned while the GPU sampled it: what comes next is known once its
            // text has been read again.
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
        sampling.sampler.sample_masked(&self.logits, &self.ids, mask).map(Some)
    }

    /// Queues what is left of a step, and the sample of the token after it.
    fn submit_and_sample(&mut self, sampling: &mut AnswerSampling, step: &Step, first: usize) {
        // They stay on the GPU: those that are here are of an earlier place.
        self.logits.clear();
        let params = sampling.params();
        self.decoder.submit_and_sample(&mut sampling.tokens, params, step, first);
    }

    /// The token that was sampled, once it is here.
    pub(super) async fn sampled_token(&mut self, sampling: &mut AnswerSampling, reading: Reading) -> Result<u32> {
        if let Some(token) = self.decoder.sampled(&mut sampling.tokens, reading).await? {
            return Ok(token);
        }
        self.decoder.take_back();
        self.logits = self.decoder.saved_logits().await?;
        self.expect_numbers().await?;
        Err(Error::Gpu { detail: "the token could not be sampled, though all logits are numbers".into() })
    }

    /// The token that was sampled belongs to the answer. The model may be running on it already.
    pub(super) fn accept(&mut self, token: u32) {
        self.ids.push(token);
        if !self.decoder.catches_up() {
            self.pending += 1;
        }
    }

    /// After an answer: the states have read it and no more, and the logits come to the host.
    pub(super) async fn end(&mut self, sampling: AnswerSampling) -> Result<()> {
        if let Some(anchor) = sampling.anchor.filter(|_| self.decoder.ahead() > 0) {
            self.rewind(anchor).await?;
        } else if sampling.waiting {
            self.logits = self.decoder.waiting_logits().await?;
        } else if sampling.sampled {
            self.logits = self.decoder.saved_logits().await?;
        }
        self.anchor_is_used = false;
        self.shrink_anchored();
        Ok(())
    }
}
