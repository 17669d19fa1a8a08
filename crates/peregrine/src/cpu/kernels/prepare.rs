//! What lies between `project_in` and the mixers: RoPE, keys and values into the cache, convolution
//! with SiLU, softplus and decay.

use crate::cpu::pool::prelude::*;

use super::attention::{Cache, PAGE};
use super::{Numbers, Run, Slot};
use crate::cpu::simd::{silu, wide};
use crate::ops::mixers::Prepare;
use crate::plan::Step;
use crate::state::KvType;

/// The kernel's constants.
#[derive(Clone, Copy)]
struct Sizes {
    proj: usize,
    ready: usize,
    head_dim: usize,
    taps: usize,
    q: usize,
    d: usize,
    channels: usize,
    heads: usize,
}

pub fn prepare(c: Numbers<Prepare<'_>>, kv: KvType) -> Result<Run, String> {
    let sizes = Sizes {
        proj: c.PROJ_STRIDE as usize,
        ready: c.READY_STRIDE as usize,
        head_dim: c.HEAD_DIM as usize,
        taps: c.D_CONV as usize,
        q: c.widths.Q_DIM as usize,
        d: c.widths.D_SSM as usize,
        channels: c.widths.CONV_DIM as usize,
        heads: c.widths.SSM_HEADS as usize,
    };
    let cache = Cache::new(&c.sizes, kv)?;
    Ok(Box::new(move |slots: &mut [Slot<'_>], _: [u32; 3]| {
        let [now, proj, rope, conv_state, mamba, ready, pages, control, kv] = slots else { return };
        let (now, halted) = (now.one::<Step>(), control.of::<u32>()[0] as f32);
        let (proj, rope, pages) = (proj.of::<f32>(), rope.of::<f32>(), pages.of::<u32>());
        let mut key = vec![0.0; cache.kv_dim];
        let kv = kv.written::<u8>();
        for (t, proj) in proj.chunks_exact(sizes.proj).take(now.tokens as usize).enumerate() {
            let position = now.position as usize + t;
            let (page, row) = (pages[position / PAGE] as usize, position % PAGE);
            turn(&proj[sizes.q..], &rope[t * sizes.head_dim..], sizes.head_dim, &mut key);
            cache.store(kv, page, row, &key);
            cache.store(kv, page, PAGE + row, &proj[sizes.q + cache.kv_dim..][..cache.kv_dim]);
        }
        let before = Before { proj, ring: conv_state.of(), mamba: mamba.of(), position: now.position as usize };
        let rows = ready.written::<f32>().par_chunks_mut(sizes.ready).take(now.tokens as usize);
        rows.enumerate().for_each(|(t, ready)| {
            let own = &proj[t * sizes.proj..(t + 1) * sizes.proj];
            turn(own, &rope[t * sizes.head_dim..], sizes.head_dim, &mut ready[..sizes.q]);
            let columns = sizes.q + 2 * cache.kv_dim + sizes.d;
            convolve(&before, sizes, columns, t, &mut ready[sizes.q..sizes.q + sizes.channels]);
            let dt = &own[columns + sizes.channels..];
            let small = &before.mamba[sizes.channels * (sizes.taps + 1)..];
            let (bias, a) = small.split_at(sizes.heads);
            let (delta, rest) = ready[sizes.q + sizes.channels..].split_at_mut(sizes.heads);
            for head in 0..sizes.heads {
                let v = dt[head] + bias[head];
                // Above 20 it is v itself in f32.
                delta[head] = if v > 20.0 { v } else { v.exp().ln_1p() };
                rest[head] = (delta[head] * a[head]).exp();
            }
            rest[sizes.heads] = halted;
        });
    }))
}

/// Heads, turned by a token's angles: cos and sin of each pair (i, i + hd / 2).
fn turn(x: &[f32], turns: &[f32], head_dim: usize, to: &mut [f32]) {
    let half = head_dim / 2;
    for (x, to) in x.chunks_exact(head_dim).zip(to.chunks_exact_mut(head_dim)) {
        for i in 0..half {
            let (cos, sin) = (turns[2 * i], turns[2 * i + 1]);
            to[i] = x[i] * cos - x[i + half] * sin;
            to[i + half] = x[i + half] * cos + x[i] * sin;
        }
    }
}

/// What the convolution reads.
struct Before<'a> {
    proj: &'a [f32],
    /// \[channels, taps\]: columns before this step, that of position p at p % taps.
    ring: &'a [f32],
    mamba: &'a [f32],
    position: usize,
}

wide! {
    fn convolve[](before: &Before<'_>, sizes: Sizes, columns: usize, t: usize, to: &mut [f32]) = convolve_body
}

#[inline(always)]
fn convolve_body<I, const L: usize, const FMA: bool>(
    before: &Before<'_>,
    sizes: Sizes,
    columns: usize,
    t: usize,
    to: &mut [f32],
) {
    let Sizes { taps, channels, .. } = sizes;
    to.copy_from_slice(&before.mamba[channels * taps..channels * (taps + 1)]);
    for j in 0..taps {
        // Tap j multiplies the column of taps - 1 - j tokens ago: in this step, or from before it.
        let source = t + j;
        let weights = &before.mamba[j..];
        if source < taps - 1 {
            let ring = &before.ring[(before.position + source + 1) % taps..];
            for (i, to) in to.iter_mut().enumerate() {
                *to += weights[i * taps] * ring[i * taps];
            }
        } else {
            let column = &before.proj[(source + 1 - taps) * sizes.proj + columns..][..channels];
            for (i, to) in to.iter_mut().enumerate() {
                *to += weights[i * taps] * column[i];
            }
        }
    }
    for v in to.iter_mut() {
        *v = silu::<FMA>(*v);
    }
}
