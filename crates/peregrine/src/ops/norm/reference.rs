//! The twins of `shaders/norm`.

use crate::config::Config;
use crate::reference::Real;

/// y = weight x / sqrt(mean(x²) + eps), for each row of x \[T, weight.len()\].
pub fn rmsnorm<T: Real>(x: &[T], weight: &[f32], eps: f32) -> Vec<T> {
    let width = weight.len();
    let rows = x.chunks_exact(width).flat_map(|row| {
        let mean = row.iter().map(|v| *v * *v).sum::<T>() / T::of(width as f64);
        let scale = T::of(1.0) / (mean + T::from(eps)).sqrt();
        row.iter().zip(weight).map(move |(v, w)| T::from(*w) * (*v * scale))
    });
    rows.collect()
}

/// RMSNorm of each of the G groups of channels by itself, for each row of `mixed` \[T, d\].
pub fn gated_norm<T: Real>(c: &Config, weight: &[f32], mixed: &[T]) -> Vec<T> {
    let width = (c.mamba_d_ssm / c.mamba_n_groups) as usize;
    let groups = mixed.chunks_exact(width).zip(weight.chunks_exact(width).cycle());
    groups.flat_map(|(x, w)| rmsnorm(x, w, c.rms_norm_eps)).collect()
}
