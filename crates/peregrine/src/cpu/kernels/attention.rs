//! Attention heads over the pages of keys and values, a page at a time: what is kept becomes f32
//! once for all heads and tokens that read it.

#[cfg(test)]
mod tests;

use crate::cpu::pool::prelude::*;

use super::elements::product;
use super::{Numbers, Run, Slot};
use crate::cpu::pool;
use crate::cpu::simd::{Wide, exp, fma, half, wide};
use crate::ops::attention::Attention;
use crate::ops::mixers::KvSizes;
use crate::plan::Step;
use crate::state::KvType;

/// Positions of a page.
pub const PAGE: usize = crate::state::PAGE as usize;

/// Tokens that share a page while it is f32.
const TOKENS: usize = 16;

/// How keys and values are kept: `shaders/kv`.
#[derive(Clone, Copy)]
pub struct Cache {
    kv: KvType,
    /// Values of a row: nkv hd.
    pub kv_dim: usize,
    /// Values that share a scale, in 8 bits.
    block: usize,
}

impl Cache {
    pub fn new(sizes: &KvSizes, kv: KvType) -> Result<Self, String> {
        let block = match (kv, sizes.KV_FOURS) {
            (KvType::Q8, Some(fours)) => 4 * fours as usize,
            (KvType::Q8, None) => return Err("the constant KV_FOURS is missing".into()),
            (KvType::F16 | KvType::F32, _) => 1,
        };
        Ok(Self { kv, kv_dim: sizes.KV_DIM as usize, block })
    }

    /// Bytes of so many values of a row.
    fn bytes(&self, values: usize) -> usize {
        match self.kv {
            KvType::F16 => 2 * values,
            KvType::F32 => 4 * values,
            KvType::Q8 => values / self.block * (self.block + 4),
        }
    }

    /// Where a row of a page begins: keys first, then PAGE rows of values.
    fn row(&self, page: usize, row: usize) -> usize {
        (page * 2 * PAGE + row) * self.bytes(self.kv_dim)
    }

    /// Keeps a row.
    pub fn store(&self, kv: &mut [u8], page: usize, row: usize, values: &[f32]) {
        let at = self.row(page, row);
        let to = &mut kv[at..at + self.bytes(self.kv_dim)];
        match self.kv {
            KvType::F32 => to.copy_from_slice(bytemuck::cast_slice(values)),
            KvType::F16 => {
                for (to, v) in to.chunks_exact_mut(2).zip(values) {
                    to.copy_from_slice(&::half::f16::from_f32(v.clamp(-65504.0, 65504.0)).to_le_bytes());
                }
            }
            KvType::Q8 => {
                for (to, block) in to.chunks_exact_mut(self.block + 4).zip(values.chunks_exact(self.block)) {
                    let scale = KvType::scale(block);
                    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
                    let (quants, end) = to.split_at_mut(self.block);
                    for (quant, v) in quants.iter_mut().zip(block) {
                        *quant = (inverse * v).clamp(-127.0, 127.0).round_ties_even() as i8 as u8;
                    }
                    end.copy_from_slice(&scale.to_le_bytes());
                }
            }
        }
    }

    /// A head of rows that lie one after the other, as f32.
    fn load(&self, kv: &[u8], page: usize, row: usize, first: usize, head_dim: usize, to: &mut [f32]) {
        let (stride, at, bytes) = (self.bytes(self.kv_dim), self.bytes(first), self.bytes(head_dim));
        let rows = kv[self.row(page, row)..].chunks(stride);
        for (from, to) in rows.zip(to.chunks_exact_mut(head_dim)) {
            unpack(*self, &from[at..at + bytes], to);
        }
    }
}

wide! {
    fn unpack[](cache: Cache, from: &[u8], to: &mut [f32]) = unpack_body
}

#[inline(always)]
fn unpack_body<I, const L: usize, const FMA: bool>(cache: Cache, from: &[u8], to: &mut [f32]) {
    match cache.kv {
        KvType::F16 => {
            for (to, v) in to.iter_mut().zip(bytemuck::cast_slice::<u8, u16>(from)) {
                *to = half(*v);
            }
        }
        KvType::F32 => to.copy_from_slice(bytemuck::cast_slice(from)),
        KvType::Q8 => {
            for (to, from) in to.chunks_exact_mut(cache.block).zip(from.chunks_exact(cache.block + 4)) {
                let (quants, scale) = from.split_at(cache.block);
                let scale = f32::from_le_bytes([scale[0], scale[1], scale[2], scale[3]]);
                for (to, quant) in to.iter_mut().zip(quants) {
                    *to = scale * f32::from(*quant as i8);
                }
            }
        }
    }
}

/// What an attention head has seen so far.
struct Seen {
    query: Vec<f32>,
    maximum: f32,
    total: f32,
    output: Vec<f32>,
}

impl Seen {
    fn new(query: &[f32]) -> Self {
        let scale = 1.0 / (query.len() as f32).sqrt();
        let query: Vec<f32> = query.iter().map(|v| scale * v).collect();
        Self { maximum: f32::NEG_INFINITY, total: 0.0, output: vec![0.0; query.len()], query }
    }

    /// Some positions more.
    fn see(&mut self, keys: &[f32], values: &[f32]) {
        let width = self.query.len();
        let mut shares = [0.0; PAGE];
        let shares = &mut shares[..keys.len() / width];
        for (share, key) in shares.iter_mut().zip(keys.chunks_exact(width)) {
            *share = product(&self.query, key);
        }
        // A NaN must come through, whatever a maximum makes of it.
        let higher = shares.iter().fold(self.maximum, |most, score| if *score > most { *score } else { most });
        let fade = if self.total > 0.0 { (self.maximum - higher).exp() } else { 0.0 };
        self.maximum = higher;
        self.total = self.total * fade + weights(shares, higher);
        add(shares, values, fade, &mut self.output);
    }

    /// Several pieces of one context, put together.
    fn merge(pieces: &[&Self], to: &mut [f32]) {
        let higher = pieces.iter().fold(f32::NEG_INFINITY, |most, piece| most.max(piece.maximum));
        let mut total = 0.0;
        to.fill(0.0);
        for piece in pieces {
            let share = (piece.maximum - higher).exp();
            total += share * piece.total;
            to.iter_mut().zip(&piece.output).for_each(|(to, v)| *to += share * v);
        }
        to.iter_mut().for_each(|v| *v /= total);
    }
}

wide! {
    /// Scores become weights; their sum.
    fn weights[](scores: &mut [f32], maximum: f32) -> f32 = weights_body
}

#[inline(always)]
fn weights_body<I, const L: usize, const FMA: bool>(scores: &mut [f32], maximum: f32) -> f32 {
    for score in scores.iter_mut() {
        *score = exp::<FMA>(*score - maximum);
    }
    scores.iter().sum()
}

wide! {
    /// output = fade output + the weighted values
    fn add[](weights: &[f32], values: &[f32], fade: f32, output: &mut [f32]) = add_body
}

#[inline(always)]
fn add_body<I: Wide<L>, const L: usize, const FMA: bool>(
    weights: &[f32],
    values: &[f32],
    fade: f32,
    output: &mut [f32],
) {
    let width = output.len();
    let (wide, rest) = output.as_chunks_mut::<L>();
    for (at, to) in wide.iter_mut().enumerate() {
        let mut sum = I::mul(I::splat(fade), I::load(to));
        for (weight, values) in weights.iter().zip(values.chunks_exact(width)) {
            if let Some(values) = values.as_chunks::<L>().0.get(at) {
                sum = I::fma(I::splat(*weight), I::load(values), sum);
            }
        }
        I::store(sum, to);
    }
    let first = width - rest.len();
    for (at, to) in rest.iter_mut().enumerate() {
        *to *= fade;
        for (weight, values) in weights.iter().zip(values.chunks_exact(width)) {
            *to = fma::<FMA>(*weight, values[first + at], *to);
        }
    }
}

/// The kernel's constants.
#[derive(Clone, Copy)]
struct Sizes {
    ready: usize,
    mixed: usize,
    heads: usize,
    head_dim: usize,
    per_kv: usize,
    cache: Cache,
}

/// What all tasks read.
struct Read<'a> {
    now: Step,
    ready: &'a [f32],
    pages: &'a [u32],
    kv: &'a [u8],
}

impl Read<'_> {
    /// All heads of all tokens, over a context in so many pieces.
    fn all(&self, s: Sizes, pieces: usize, mixed: &mut [f32]) {
        let (tokens, kv_heads) = (self.now.tokens as usize, s.heads / s.per_kv);
        let blocks = tokens.div_ceil(TOKENS);
        let tasks: Vec<(usize, usize, usize)> = (0..blocks)
            .flat_map(|block| (0..kv_heads).flat_map(move |head| (0..pieces).map(move |piece| (block, head, piece))))
            .collect();
        let seen: Vec<Vec<Seen>> = tasks
            .into_par_iter()
            .map(|(block, head, piece)| {
                let tokens = block * TOKENS..((block + 1) * TOKENS).min(tokens);
                let pages = (self.now.position as usize + tokens.end).div_ceil(PAGE);
                let pages = pages * piece / pieces..pages * (piece + 1) / pieces;
                self.over(s, head, tokens, pages)
            })
            .collect();
        for (i, together) in seen.chunks_exact(pieces).enumerate() {
            let (block, kv_head) = (i / kv_heads, i % kv_heads);
            for at in 0..together[0].len() {
                let (t, head) = (block * TOKENS + at / s.per_kv, kv_head * s.per_kv + at % s.per_kv);
                let to = t * s.mixed + head * s.head_dim;
                let own: Vec<&Seen> = together.iter().map(|piece| &piece[at]).collect();
                Seen::merge(&own, &mut mixed[to..to + s.head_dim]);
            }
        }
    }

    /// Heads that share keys and values, for some tokens, over some pages: \[token\]\[head\].
    fn over(
        &self,
        s: Sizes,
        kv_head: usize,
        tokens: std::ops::Range<usize>,
        pages: std::ops::Range<usize>,
    ) -> Vec<Seen> {
        let queries = tokens.clone().flat_map(|t| {
            let row = &self.ready[t * s.ready + kv_head * s.per_kv * s.head_dim..];
            row.chunks_exact(s.head_dim).take(s.per_kv)
        });
        let mut all: Vec<Seen> = queries.map(Seen::new).collect();
        let mut room = vec![0.0; 2 * PAGE * s.head_dim];
        let (keys, values) = room.split_at_mut(PAGE * s.head_dim);
        for page in pages {
            let base = page * PAGE;
            let here = |t: usize| (self.now.position as usize + t + 1).saturating_sub(base).min(PAGE);
            let most = here(tokens.end - 1);
            let (slot, first) = (self.pages[page] as usize, kv_head * s.head_dim);
            s.cache.load(self.kv, slot, 0, first, s.head_dim, &mut keys[..most * s.head_dim]);
            s.cache.load(self.kv, slot, PAGE, first, s.head_dim, &mut values[..most * s.head_dim]);
            for (t, heads) in tokens.clone().zip(all.chunks_exact_mut(s.per_kv)) {
                let seen = here(t) * s.head_dim;
                if seen > 0 {
                    heads.iter_mut().for_each(|head| head.see(&keys[..seen], &values[..seen]));
                }
            }
        }
        all
    }
}

pub fn attention(c: Numbers<Attention<'_>>, kv: KvType) -> Result<Run, String> {
    let sizes = Sizes {
        ready: c.READY_STRIDE as usize,
        mixed: c.MIXED_STRIDE as usize,
        heads: c.HEADS as usize,
        head_dim: c.HEAD_DIM as usize,
        per_kv: c.Q_PER_KV as usize,
        cache: Cache::new(&c.sizes, kv)?,
    };
    Ok(Box::new(move |slots: &mut [Slot<'_>], _: [u32; 3]| {
        let [now, ready, pages, mixed, kv] = slots else { return };
        let read = Read { now: now.one(), ready: ready.of(), pages: pages.of(), kv: kv.of() };
        // In pieces where there are more threads than heads and tokens.
        let (tokens, kv_heads) = (read.now.tokens as usize, sizes.heads / sizes.per_kv);
        let length = read.now.position as usize + tokens;
        let pieces = pool::threads() / (tokens.div_ceil(TOKENS) * kv_heads);
        read.all(sizes, pieces.clamp(1, length.div_ceil(PAGE)), mixed.written());
    }))
}
