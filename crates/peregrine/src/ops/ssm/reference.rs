//! The twin of `shaders/ssm`.

use crate::config::Config;
use crate::ops::linear::reference::{dot, silu};
use crate::ops::mixers::reference::{LayerState, Mamba, Sections};
use crate::reference::{Real, each};

/// Mamba-2's recurrence for every head, with D skip and gate: S = exp(delta A) S + delta x Bᵀ; y =
/// S C + D x; result y silu(z) \[T, d\].
pub fn selective_scan<T: Real>(
    c: &Config,
    mamba: &Mamba,
    proj: &[T],
    ready: &[T],
    state: &mut LayerState<T>,
) -> Vec<T> {
    let sections = Sections::of(c);
    let Sections { q, kv, d, channels, heads } = sections;
    let (p, n, groups) = (c.mamba_d_head as usize, c.mamba_d_state as usize, c.mamba_n_groups as usize);
    let tokens = proj.len() / sections.proj();
    let cost = 3 * tokens * state.ssm.len();
    let states = state.ssm.chunks_exact_mut(p * n).enumerate().collect();
    // \[head\]\[T, P\]
    let by_head = each(states, cost, |(head, state)| {
        let group = head / (heads / groups);
        let mut mixed = Vec::with_capacity(tokens * p);
        for (proj, ready) in proj.chunks_exact(sections.proj()).zip(ready.chunks_exact(sections.ready())) {
            let x = &ready[q..q + d];
            let b = &ready[q + d + group * n..][..n];
            let cc = &ready[q + d + (groups + group) * n..][..n];
            let (delta, decay) = (ready[q + channels + head], ready[q + channels + heads + head]);
            let z = &proj[q + 2 * kv..][..d];
            for (row, state) in state.chunks_exact_mut(n).enumerate() {
                let channel = head * p + row;
                let weighted = delta * x[channel];
                for (s, b) in state.iter_mut().zip(b) {
                    *s = decay * *s + weighted * *b;
                }
                let y = dot::<T, T>(state, cc) + T::from(mamba.d[head]) * x[channel];
                mixed.push(y * silu(z[channel]));
            }
        }
        mixed
    });
    (0..tokens).flat_map(|t| by_head.iter().flat_map(move |head| &head[t * p..(t + 1) * p])).copied().collect()
}
