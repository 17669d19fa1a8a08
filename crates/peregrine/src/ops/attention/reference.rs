//! The twin of `shaders/attention`.

use crate::config::Config;
use crate::ops::linear::reference::dot;
use crate::ops::mixers::reference::{LayerState, Sections};
use crate::reference::{Real, each};

/// Causal attention of the last tokens in the cache, those of `ready`, over what is before them.
/// Result \[T, nh hd\].
pub fn attention<T: Real>(c: &Config, ready: &[T], state: &LayerState<T>) -> Vec<T> {
    let tokens = ready.len() / Sections::of(c).ready();
    attention_at(c, ready, state, &(0..tokens as u32).collect::<Vec<_>>())
}

/// The same for some of the tokens of `ready`.
pub(crate) fn attention_at<T: Real>(c: &Config, ready: &[T], state: &LayerState<T>, tokens: &[u32]) -> Vec<T> {
    let sections = Sections::of(c);
    let (head_dim, kv) = (c.head_dim as usize, sections.kv);
    let per_kv = (c.num_attention_heads / c.num_key_value_heads) as usize;
    let scale = T::of(1.0) / T::from(c.head_dim as f32).sqrt();
    let width = sections.ready();
    let first = state.keys.len() / kv - ready.len() / width;
    let cost = 2 * tokens.len() * (state.keys.len() / kv) * sections.q;
    let rows = tokens.iter().map(|t| (*t as usize, &ready[*t as usize * width..][..width])).collect();
    let rows = each(rows, cost, |(t, row): (usize, &[T])| {
        let seen = (first + t + 1) * kv;
        let mut mixed = Vec::with_capacity(sections.q);
        for (head, query) in row[..sections.q].chunks_exact(head_dim).enumerate() {
            let at = head / per_kv * head_dim;
            let keys = state.keys[..seen].chunks_exact(kv);
            let scores: Vec<T> = keys.map(|k| scale * dot::<T, T>(query, &k[at..at + head_dim])).collect();
            let maximum = scores.iter().copied().fold(T::of(f64::NEG_INFINITY), |m, s| if s > m { s } else { m });
            let weights: Vec<T> = scores.iter().map(|s| (*s - maximum).exp()).collect();
            let total: T = weights.iter().copied().sum();
            let mut out = vec![T::default(); head_dim];
            for (weight, values) in weights.iter().zip(state.values.chunks_exact(kv)) {
                for (o, v) in out.iter_mut().zip(&values[at..at + head_dim]) {
                    *o += *weight * *v;
                }
            }
            mixed.extend(out.iter().map(|o| *o / total));
        }
        mixed
    });
    rows.concat()
}
