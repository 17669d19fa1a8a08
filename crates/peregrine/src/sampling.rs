//! From logits to the next token.
//!
//! The order is Hugging Face's: biases and penalties, temperature, top-k, top-p, min-p, each on
//! what the one before left.

mod temperature;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
pub(crate) use self::temperature::{MOST_TOKENS, SamplingParams};
use crate::constraint::allows;
use crate::{Error, Result};

/// How the next token is sampled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingOptions {
    /// Logits are divided by it. 0: always the likeliest token (greedy).
    pub temperature: f32,
    /// Only the k likeliest tokens. 0: off.
    pub top_k: u32,
    /// Only the likeliest tokens that together reach this probability. 1: off.
    pub top_p: f32,
    /// Only tokens at least this fraction as likely as the likeliest. 0: off.
    pub min_p: f32,
    /// Logits of tokens that occurred lately are divided by it (multiplied where negative). 1: off.
    pub repetition_penalty: f32,
    /// How many of the last tokens count as lately. 0: all.
    pub repetition_window: u32,
    /// Taken off the logit of every token that the answer has already (OpenAI's). 0: off.
    pub presence_penalty: f32,
    /// Taken off a token's logit once for each time that the answer has it already (OpenAI's). 0:
    /// off.
    pub frequency_penalty: f32,
    /// Added to the logits of these tokens; minus infinity forbids one.
    pub logit_bias: Vec<(u32, f32)>,
    /// Samples are a function of the seed and of how many came before.
    pub seed: u64,
}

impl Default for SamplingOptions {
    fn default() -> Self {
        Self {
            temperature: 0.7,
            top_k: 0,
            top_p: 0.9,
            min_p: 0.0,
            repetition_penalty: 1.0,
            repetition_window: 64,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 0,
        }
    }
}

impl SamplingOptions {
    /// Always the likeliest token.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, top_p: 1.0, ..Self::default() }
    }

    /// Whether the logits are taken as they are: no bias, no penalty.
    pub fn is_plain(&self) -> bool {
        let Self { repetition_penalty, presence_penalty, frequency_penalty, logit_bias, .. } = self;
        *repetition_penalty == 1.0 && *presence_penalty == 0.0 && *frequency_penalty == 0.0 && logit_bias.is_empty()
    }

    /// Whether the likeliest token is always taken.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0 || self.top_k == 1
    }

    /// Checks every range.
    ///
    /// # Errors
    /// [`Error::Sampling`] with the option's name.
    pub fn validate(&self) -> Result<()> {
        let check = |ok: bool, field: &str, expected: &str, found: f32| match ok {
            true => Ok(()),
            false => Err(wrong(field, expected, found.to_string())),
        };
        let temperature = self.temperature;
        check(temperature.is_finite() && temperature >= 0.0, "temperature", "a number of at least 0", temperature)?;
        check(self.top_p > 0.0 && self.top_p <= 1.0, "top_p", "a number above 0, at most 1", self.top_p)?;
        check((0.0..=1.0).contains(&self.min_p), "min_p", "a number from 0 to 1", self.min_p)?;
        let penalty = self.repetition_penalty;
        check(penalty.is_finite() && penalty > 0.0, "repetition_penalty", "a number above 0", penalty)?;
        check(self.presence_penalty.is_finite(), "presence_penalty", "a number", self.presence_penalty)?;
        check(self.frequency_penalty.is_finite(), "frequency_penalty", "a number", self.frequency_penalty)?;
        let bad = self.logit_bias.iter().find(|(_, bias)| bias.is_nan() || *bias == f32::INFINITY);
        bad.map_or(Ok(()), |(token, bias)| {
            Err(wrong("logit_bias", "a number or minus infinity", format!("{bias} for token {token}")))
        })
    }
}

/// Samples tokens. The same options and the same logits give the same tokens.
#[derive(Debug, Clone)]
pub struct Sampler {
    options: SamplingOptions,
    /// How many samples were made: with the seed, the whole state of the generator.
    samples: u64,
    /// How often the answer has each token.
    written: BTreeMap<u32, u32>,
    // Kept between calls, as V can be 261,120.
    logits: Vec<f32>,
    keys: Vec<u64>,
}

/// A token that may be sampled. Ordered by logit, then the lower id is the greater.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    logit: f32,
    id: u32,
}

impl Candidate {
    fn new((id, logit): (u32, &f32)) -> Self {
        // Adding 0 makes -0 to 0: they are equal, so the lower id must win.
        Self { logit: logit + 0.0, id }
    }
}

impl Eq for Candidate {}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.logit.total_cmp(&other.logit).then(other.id.cmp(&self.id))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Sampler {
    /// A sampler before its first sample.
    ///
    /// # Errors
    /// [`Error::Sampling`] for an option out of its range.
    pub fn new(options: SamplingOptions) -> Result<Self> {
        options.validate()?;
        Ok(Self { options, samples: 0, written: BTreeMap::new(), logits: Vec::new(), keys: Vec::new() })
    }

    /// The options it was made with.
    pub fn options(&self) -> &SamplingOptions {
        &self.options
    }

    /// Counts a token of the answer, for the penalties on presence and frequency.
    pub fn accept(&mut self, token: u32) {
        *self.written.entry(token).or_insert(0) += 1;
    }

    /// Samples from `logits` `[V]`. `history` are the tokens so far, oldest first; only the
    /// repetition penalty looks at them. Among equals the lowest id wins.
    ///
    /// # Errors
    /// [`Error::Sampling`] if a logit is NaN or plus infinity, if there is none, or if all are
    /// minus infinity; [`Error::TokenOutOfRange`] for a token of the history or of the biases that
    /// has no logit.
    pub fn sample(&mut self, logits: &[f32], history: &[u32]) -> Result<u32> {
        self.sample_masked(logits, history, None)
    }

    /// The same of the tokens that a [mask](crate::constraint::Constraint::mask) allows. Logits
    /// that are no numbers are errors whether the mask allows their tokens or not.
    ///
    /// # Errors
    /// As [`Sampler::sample`]; [`Error::Grammar`] where mask and biases together allow no token.
    pub fn sample_masked(&mut self, logits: &[f32], history: &[u32], mask: Option<&[u32]>) -> Result<u32> {
        if let Some((at, bad)) = logits.iter().enumerate().find(|(_, l)| l.is_nan() || **l == f32::INFINITY) {
            return Err(wrong("logits", "numbers", format!("{bad} for token {at}")));
        }
        if self.options.is_plain() && mask.is_none() {
            return self.sample_from(logits);
        }
        let mut scratch = std::mem::take(&mut self.logits);
        scratch.clear();
        scratch.extend_from_slice(logits);
        self.bias(&mut scratch)?;
        if self.options.repetition_penalty != 1.0 {
            self.penalize(&mut scratch, history)?;
        }
        if let Some(mask) = mask {
            forbid(&mut scratch, mask);
            if scratch.iter().all(|logit| *logit == f32::NEG_INFINITY) {
                let detail = "no token is allowed here: neither the grammar nor the biases leave one".into();
                return Err(Error::Grammar { place: "constraint".into(), detail });
            }
        }
        let token = self.sample_from(&scratch);
        self.logits = scratch;
        token
    }

    fn bias(&self, logits: &mut [f32]) -> Result<()> {
        let SamplingOptions { presence_penalty, frequency_penalty, logit_bias, .. } = &self.options;
        let vocab_size = u32::try_from(logits.len()).unwrap_or(u32::MAX);
        let penalties =
            self.written.iter().map(|(token, count)| (*token, -presence_penalty - frequency_penalty * *count as f32));
        for (token, bias) in penalties.chain(logit_bias.iter().copied()) {
            *logits.get_mut(token as usize).ok_or(Error::TokenOutOfRange { token, vocab_size })? += bias;
        }
        Ok(())
    }

    fn penalize(&self, logits: &mut [f32], history: &[u32]) -> Result<()> {
        let window = match self.options.repetition_window as usize {
            0 => history.len(),
            window => window.min(history.len()),
        };
        let mut recent = history[history.len() - window..].to_vec();
        recent.sort_unstable();
        recent.dedup();
        let vocab_size = u32::try_from(logits.len()).unwrap_or(u32::MAX);
        for token in recent {
            let logit = logits.get_mut(token as usize).ok_or(Error::TokenOutOfRange { token, vocab_size })?;
            let penalty = self.options.repetition_penalty;
            *logit = if *logit < 0.0 { *logit * penalty } else { *logit / penalty };
        }
        Ok(())
    }

    fn sample_from(&mut self, logits: &[f32]) -> Result<u32> {
        let Some(best) = (0u32..).zip(logits).map(Candidate::new).max() else {
            return Err(wrong("logits", "one for each token", "none".into()));
        };
        if best.logit == f32::NEG_INFINITY {
            return Err(wrong("logits", "at least one finite number", "minus infinity only".into()));
        }
        if self.options.is_greedy() {
            return Ok(best.id);
        }
        let params = self.next_params();
        Ok(params.sample(logits, best.logit, &mut self.keys))
    }

    /// What the next token is sampled with, for a sample on the GPU; it counts as made.
    pub(crate) fn next_params(&mut self) -> SamplingParams {
        let params = SamplingParams::new(&self.options, self.samples);
        self.samples += 1;
        params
    }
}

/// Sample number `n` of `seed`: 32 bits. SplitMix64 (Steele, Lea and Flood, 2014): a counter, well
/// mixed; the seed is mixed first, so that neighboring seeds are not shifted copies of each other.
fn random(seed: u64, n: u64) -> u32 {
    (mix(mix(seed.wrapping_add(GOLDEN_GAMMA)).wrapping_add(GOLDEN_GAMMA.wrapping_mul(n.wrapping_add(1)))) >> 32) as u32
}

/// How far SplitMix64 counts at a time.
#[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
pub(crate) const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// What SplitMix64 does to its counter: a bijection without a visible pattern.
#[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How likely a model found a token.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprobs {
    /// Natural logarithm of the probability of the token that was sampled.
    pub logprob: f32,
    /// The likeliest tokens and theirs, the likeliest first.
    pub top: Vec<(u32, f32)>,
}

impl Logprobs {
    /// Of a token that had to come.
    pub fn certain(token: u32, top: u32) -> Self {
        Self { logprob: 0.0, top: (top > 0).then_some((token, 0.0)).into_iter().collect() }
    }
}

/// Makes the logits of tokens that a mask does not allow minus infinity.
pub fn forbid(logits: &mut [f32], mask: &[u32]) {
    (0u32..).zip(logits).filter(|(id, _)| !allows(mask, *id)).for_each(|(_, logit)| *logit = f32::NEG_INFINITY);
}

/// Log-probabilities of `token` and of the `top` likeliest tokens under `logits` \[V\], before any
/// bias, penalty or temperature. Tokens whose logit is minus infinity are not among the likeliest.
pub fn logprobs(logits: &[f32], token: u32, top: u32) -> Logprobs {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - max).exp()).sum();
    let of = |logit: f32| (f64::from(logit - max) - sum.ln()) as f32;
    let possible = (0u32..).zip(logits).filter(|(_, logit)| **logit != f32::NEG_INFINITY);
    let mut candidates: Vec<Candidate> = possible.map(Candidate::new).collect();
    let top = (top as usize).min(candidates.len());
    if top > 0 && top < candidates.len() {
        candidates.select_nth_unstable_by(top - 1, |a, b| b.cmp(a));
    }
    candidates.truncate(top);
    candidates.sort_unstable_by(|a, b| b.cmp(a));
    Logprobs {
        logprob: logits.get(token as usize).map_or(f32::NEG_INFINITY, |logit| of(*logit)),
        top: candidates.iter().map(|c| (c.id, of(c.logit))).collect(),
    }
}

fn wrong(field: &str, expected: &str, found: String) -> Error {
    Error::Sampling { field: field.into(), expected: expected.into(), found }
}
