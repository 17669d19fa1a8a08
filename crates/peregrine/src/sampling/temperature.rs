//! Sampling a token at a temperature, in whole numbers: sums of them are the same in any order, so
//! the host and the GPU (`shaders/sample/histogram.wgsl`, `threshold.wgsl`, `multinomial.wgsl`)
//! sample the same token, bit by bit.
//!
//! A token's *difference* is the largest logit minus its own, in f32: one rounded subtraction.
//! Tokens are ordered by it, among equals by their ids. Its *weight* is 2^28 exp(-difference /
//! temperature) in whole numbers: 16 bits of the power of two, which is 6e-5 of it at worst, and
//! nothing below 2^-29 of the likeliest. top-k and top-p keep a beginning of the order, min-p what
//! weighs enough. A random share of the weight that is left is then walked to in the order of the
//! ids.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use bytemuck::{Pod, Zeroable};

use super::{SamplingOptions, random};

/// `SamplingParams` of `shaders/sample/weights.wgsl`, same layout: what the weights of one token's
/// candidates depend on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct SamplingParams {
    /// From a difference to steps of 1/65536 of a power of two: 65536 log2(e) / temperature.
    pub scale: f32,
    /// Only the first so many. 0: off.
    pub top_k: u32,
    /// Only the first that together have this share of the weight, in 1 / 2^32. 0: off.
    pub top_p: u32,
    /// Only those of at least this weight.
    pub least: u32,
    /// The point to walk to, as a share of the weight, in 1 / 2^32.
    pub random: u32,
    /// Padding to a multiple of 16 bytes.
    pub unused: [u32; 3],
}

/// The weight of the likeliest token.
const MOST: u32 = 1 << 28;

/// Most tokens of a vocabulary whose weights the GPU can add up: halves of 14 bits, in 32.
pub const MOST_TOKENS: u32 = (1 << 18) - 1;

/// The difference of a token that is never sampled: infinity's bits.
const NEVER: u32 = f32::INFINITY.to_bits();

impl SamplingParams {
    /// Sample number `n` with these options, whose temperature is above 0.
    pub fn new(options: &SamplingOptions, n: u64) -> Self {
        let share = |value: f32| (f64::from(value) * 2f64.powi(32)).round().clamp(1.0, f64::from(u32::MAX)) as u32;
        let scale = 65536.0 * std::f64::consts::LOG2_E / f64::from(options.temperature);
        Self {
            scale: (scale as f32).min(f32::MAX),
            top_k: options.top_k,
            top_p: if options.top_p < 1.0 { share(options.top_p) } else { 0 },
            least: (f64::from(options.min_p) * f64::from(MOST)).ceil() as u32,
            random: random(options.seed, n),
            unused: [0; 3],
        }
    }

    /// The token that is sampled from `logits` \[V\], none of which is above `best`, which is
    /// finite and one of them.
    pub(super) fn sample(&self, logits: &[f32], best: f32, keys: &mut Vec<u64>) -> u32 {
        keys.clear();
        let key = |id: u32, logit: f32| u64::from(difference(best, logit)) << 32 | u64::from(id);
        let weight = |key: u64| self.weight((key >> 32) as u32);
        let mut last = u64::MAX;
        if self.top_k > 0 || self.top_p > 0 {
            keys.extend((0u32..).zip(logits).map(|(id, logit)| key(id, *logit)));
        }
        let k = self.top_k as usize;
        if k > 0 && k < keys.len() {
            last = *keys.select_nth_unstable(k - 1).1;
            keys.truncate(k);
        }
        if self.top_p > 0 {
            let all: u64 = keys.iter().map(|key| u64::from(weight(*key))).sum();
            let target = part(self.top_p, all);
            // Only as much of the order is made as is needed: a heap, not a sort.
            let mut heap: BinaryHeap<Reverse<u64>> = std::mem::take(keys).into_iter().map(Reverse).collect();
            let mut reached = 0;
            while let Some(Reverse(key)) = heap.pop() {
                reached += u64::from(weight(key));
                last = key;
                if reached >= target {
                    break;
                }
            }
        }
        let admitted = |id: u32, logit: f32| {
            let key = key(id, logit);
            Some(weight(key)).filter(|weight| key <= last && *weight >= self.least).map_or(0, u64::from)
        };
        let total: u64 = (0u32..).zip(logits).map(|(id, logit)| admitted(id, *logit)).sum();
        let point = part(self.random, total);
        let mut reached = 0;
        let hit = (0u32..).zip(logits).find(|(id, logit)| {
            reached += admitted(*id, **logit);
            reached > point
        });
        hit.map_or(0, |(id, _)| id)
    }

    /// The weight of a token by its difference.
    fn weight(&self, difference: u32) -> u32 {
        let steps = f32::from_bits(difference) * self.scale;
        if difference >= NEVER || steps >= (29 << 16) as f32 {
            return 0;
        }
        let steps = steps as u32;
        // 2^-f by its series, in 1/65536: ln(2)^n / n!, each in the brackets of the one before.
        let f = steps & 0xffff;
        let power = [10, 87, 630, 3638, 15743, 45426, 65536].into_iter().reduce(|sum, next| next - ((f * sum) >> 16));
        ((power.unwrap_or(0) << 13 >> (steps >> 16)) + 1) >> 1
    }
}

/// The bits of best - logit: at least 0, so that they are ordered as the numbers are. Numbers below
/// 2^-126 count as 0, since a GPU may take them so.
fn difference(best: f32, logit: f32) -> u32 {
    if !logit.is_finite() {
        return NEVER;
    }
    let plain = |x: f32| if x.is_normal() { x } else { 0.0 };
    // An overflow is infinity, which is no normal number.
    match plain(best) - plain(logit) {
        difference if difference.is_finite() => plain(difference).to_bits(),
        _ => NEVER,
    }
}

/// floor(share whole / 2^32)
fn part(share: u32, whole: u64) -> u64 {
    ((u128::from(share) * u128::from(whole)) >> 32) as u64
}
