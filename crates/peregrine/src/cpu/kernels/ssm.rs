//! SSM heads (Mamba-2), token by token, a head a task: S = exp(delta A) S + delta x Bᵀ; y = S C + D
//! x; y silu(z).

use crate::cpu::pool::prelude::*;

use super::{Numbers, Run, Slot};
use crate::cpu::simd::{Wide, fma, silu, wide};
use crate::ops::ssm::SelectiveScan;
use crate::plan::Step;

/// The kernel's constants.
#[derive(Clone, Copy)]
struct Sizes {
    proj: usize,
    ready: usize,
    mixed: usize,
    offset: usize,
    columns: usize,
    taps: usize,
    q: usize,
    d: usize,
    channels: usize,
    heads: usize,
    p: usize,
    n: usize,
    groups: usize,
}

pub fn selective_scan(c: Numbers<SelectiveScan<'_>>) -> Run {
    let s = Sizes {
        proj: c.PROJ_STRIDE as usize,
        ready: c.READY_STRIDE as usize,
        mixed: c.MIXED_STRIDE as usize,
        offset: c.SSM_OFFSET as usize,
        columns: c.COLUMNS as usize,
        taps: c.D_CONV as usize,
        q: c.widths.Q_DIM as usize,
        d: c.widths.D_SSM as usize,
        channels: c.widths.CONV_DIM as usize,
        heads: c.widths.SSM_HEADS as usize,
        p: c.state.P as usize,
        n: c.state.N as usize,
        groups: c.state.G as usize,
    };
    Box::new(move |slots: &mut [Slot<'_>], _: [u32; 3]| {
        let [now, proj, ready, mamba, conv_state, ssm_state, mixed] = slots else { return };
        let now = now.one::<Step>();
        let (proj, ready, mamba) = (proj.of::<f32>(), ready.of::<f32>(), mamba.of::<f32>());
        // After an end token the states stay as they are.
        let halted = ready[s.q + s.channels + 2 * s.heads] != 0.0;
        if !halted {
            keep_columns(&now, s, proj, conv_state.written());
        }
        let tokens = now.tokens as usize;
        let skips = &mamba[s.channels * (s.taps + 1) + 2 * s.heads..];
        let states = ssm_state.written::<f32>().par_chunks_exact_mut(s.p * s.n).take(s.heads);
        let heads: Vec<Vec<f32>> = states
            .enumerate()
            .map(|(head, state)| {
                let mut y = vec![0.0; tokens * s.p];
                for (t, y) in y.chunks_exact_mut(s.p).enumerate() {
                    let (ready, proj) = (&ready[t * s.ready..(t + 1) * s.ready], &proj[t * s.proj..(t + 1) * s.proj]);
                    let token = Token::new(s, head, ready, proj, skips[head]);
                    match halted {
                        true => step(&token, &mut state.to_vec(), y),
                        false => step(&token, state, y),
                    }
                }
                y
            })
            .collect();
        let rows = mixed.written::<f32>().par_chunks_mut(s.mixed).take(tokens);
        rows.enumerate().for_each(|(t, row)| {
            for (head, to) in heads.iter().zip(row[s.offset..].chunks_exact_mut(s.p)) {
                to.copy_from_slice(&head[t * s.p..(t + 1) * s.p]);
            }
        });
    })
}

/// The last columns before the convolution go to the ring. `prepare`, which reads the old ones, has
/// run already.
fn keep_columns(now: &Step, s: Sizes, proj: &[f32], ring: &mut [f32]) {
    let tokens = now.tokens as usize;
    for t in tokens.saturating_sub(s.taps)..tokens {
        let slot = (now.position as usize + t) % s.taps;
        let columns = &proj[t * s.proj + s.columns..][..s.channels];
        for (ring, column) in ring.chunks_exact_mut(s.taps).zip(columns) {
            ring[slot] = *column;
        }
    }
}

/// What a token brings to a head.
struct Token<'a> {
    x: &'a [f32],
    z: &'a [f32],
    b: &'a [f32],
    c: &'a [f32],
    delta: f32,
    decay: f32,
    skip: f32,
}

impl<'a> Token<'a> {
    fn new(s: Sizes, head: usize, ready: &'a [f32], proj: &'a [f32], skip: f32) -> Self {
        let group = head / (s.heads / s.groups);
        let b = s.q + s.d + group * s.n;
        let c = b + s.groups * s.n;
        Self {
            x: &ready[s.q + head * s.p..][..s.p],
            z: &proj[s.columns - s.d + head * s.p..][..s.p],
            b: &ready[b..b + s.n],
            c: &ready[c..c + s.n],
            delta: ready[s.q + s.channels + head],
            decay: ready[s.q + s.channels + s.heads + head],
            skip,
        }
    }
}

wide! {
    fn step[](token: &Token<'_>, state: &mut [f32], y: &mut [f32]) = step_body
}

#[inline(always)]
fn step_body<I: Wide<L>, const L: usize, const FMA: bool>(token: &Token<'_>, state: &mut [f32], y: &mut [f32]) {
    let n = token.b.len();
    let ((b, b_rest), (c, c_rest)) = (token.b.as_chunks::<L>(), token.c.as_chunks::<L>());
    let decay = I::splat(token.decay);
    for ((row, x), y) in state.chunks_exact_mut(n).zip(token.x).zip(y.iter_mut()) {
        let weighted = token.delta * x;
        let (wide, mut lanes) = (I::splat(weighted), I::splat(0.0));
        let (row, rest) = row.as_chunks_mut::<L>();
        for ((s, b), c) in row.iter_mut().zip(b).zip(c) {
            let now = I::fma(wide, I::load(b), I::mul(decay, I::load(s)));
            I::store(now, s);
            lanes = I::fma(now, I::load(c), lanes);
        }
        let mut sum = I::sum(lanes);
        for ((s, b), c) in rest.iter_mut().zip(b_rest).zip(c_rest) {
            *s = fma::<FMA>(weighted, *b, token.decay * *s);
            sum = fma::<FMA>(*s, *c, sum);
        }
        *y = sum + token.skip * x;
    }
    for (y, z) in y.iter_mut().zip(token.z) {
        *y *= silu::<FMA>(*z);
    }
}
