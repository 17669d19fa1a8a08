//! The twin of `shaders/mixers/prepare.wgsl`, and what a layer keeps between tokens. That of
//! `mixer_step.wgsl` is it with those of attention and SSM heads.

use crate::config::Config;
use crate::ops::linear::reference::{dot, silu};
use crate::reference::Real;

/// ln(1 + e^v); above 20 it is v itself in f32.
pub fn softplus<T: Real>(v: T) -> T {
    if v > T::of(20.0) { v } else { v.exp().ln_1p() }
}

/// The heads of `x`, turned by the angle of `position`: the pair (i, i + hd/2) by position
/// theta^(-2i/hd), all in f64.
pub fn rope<T: Real>(x: &[T], head_dim: usize, theta: f64, position: u32) -> Vec<T> {
    let mut y = x.to_vec();
    let half = head_dim / 2;
    for i in 0..half {
        let angle = f64::from(position) * theta.powf(-2.0 * i as f64 / head_dim as f64);
        let (sin, cos) = angle.sin_cos();
        for head in y.chunks_exact_mut(head_dim) {
            let (a, b): (f64, f64) = (head[i].into(), head[i + half].into());
            head[i] = T::of(a * cos - b * sin);
            head[i + half] = T::of(b * cos + a * sin);
        }
    }
    y
}

/// A layer's small SSM parameters, unpacked.
#[derive(Clone, Debug)]
pub struct Mamba {
    /// conv1d.weight \[conv_dim, K\]
    pub conv_weight: Vec<f32>,
    /// conv1d.bias \[conv_dim\]
    pub conv_bias: Vec<f32>,
    /// \[H\]
    pub dt_bias: Vec<f32>,
    /// A = -exp(A_log) \[H\]
    pub a: Vec<f32>,
    /// \[H\]
    pub d: Vec<f32>,
}

/// What one layer keeps between tokens, on the CPU.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerState<T = f32> {
    /// \[tokens, nkv hd\], with RoPE
    pub keys: Vec<T>,
    /// \[tokens, nkv hd\]
    pub values: Vec<T>,
    /// \[conv_dim, K - 1\], oldest first
    pub conv: Vec<T>,
    /// \[H, P, N\]
    pub ssm: Vec<T>,
}

impl<T: Real> LayerState<T> {
    /// Before the first token.
    pub fn new(c: &Config) -> Self {
        Self {
            keys: Vec::new(),
            values: Vec::new(),
            conv: vec![T::default(); (c.conv_dim() * (c.mamba_d_conv - 1)) as usize],
            ssm: vec![T::default(); (c.mamba_d_ssm * c.mamba_d_state) as usize],
        }
    }
}

/// Where the sections of a row of `proj` and `ready` begin.
pub(crate) struct Sections {
    pub q: usize,
    pub kv: usize,
    pub d: usize,
    pub channels: usize,
    pub heads: usize,
}

impl Sections {
    pub fn of(c: &Config) -> Self {
        let [q, kv, d, channels, heads] =
            [c.q_dim(), c.kv_dim(), c.mamba_d_ssm, c.conv_dim(), c.mamba_n_heads].map(|n| n as usize);
        Self { q, kv, d, channels, heads }
    }

    /// q | k | v | z | x | B | C | dt
    pub fn proj(&self) -> usize {
        self.q + 2 * self.kv + self.d + self.channels + self.heads
    }

    /// q | x | B | C | delta | exp(delta A)
    pub fn ready(&self) -> usize {
        self.q + self.channels + 2 * self.heads
    }
}

/// What a row \[nkv, hd\] becomes in the cache: whether it is of the values (or of the keys), the
/// index of its first among all of them, and the row.
pub type Keep<'a, T> = dyn Fn(bool, usize, &mut [T]) + 'a;

/// RoPE, KV append, convolution with SiLU, softplus and decay, for tokens from `position` on.
/// `proj` \[T, q | k | v | z | x | B | C | dt\]. Result
/// \[T, q | x | B | C | delta | exp(delta A)\]. The convolution's columns move on here; on the GPU
/// that is the mixer's part. `keep`: how the cache keeps keys and values.
pub fn prepare<T: Real>(
    c: &Config,
    mamba: &Mamba,
    proj: &[T],
    position: u32,
    state: &mut LayerState<T>,
    keep: &Keep<'_, T>,
) -> Vec<T> {
    let Sections { q, kv, d, channels, .. } = Sections::of(c);
    let (head_dim, k) = (c.head_dim as usize, c.mamba_d_conv as usize);
    let mut ready = Vec::new();
    for (proj, position) in proj.chunks_exact(Sections::of(c).proj()).zip(position..) {
        let turned = rope(&proj[..q + kv], head_dim, c.rope_theta, position);
        ready.extend(&turned[..q]);
        let first = state.keys.len();
        state.keys.extend(&turned[q..]);
        keep(false, first, &mut state.keys[first..]);
        state.values.extend(&proj[q + kv..q + 2 * kv]);
        keep(true, first, &mut state.values[first..]);

        let columns = &proj[q + 2 * kv + d..][..channels];
        for (channel, now) in columns.iter().enumerate() {
            let kept = &mut state.conv[channel * (k - 1)..(channel + 1) * (k - 1)];
            let taps = &mamba.conv_weight[channel * k..(channel + 1) * k];
            let sum = T::from(mamba.conv_bias[channel]) + dot(&taps[..k - 1], kept) + T::from(taps[k - 1]) * *now;
            ready.push(silu(sum));
            kept.rotate_left(1);
            kept[k - 2] = *now;
        }
        let dt = &proj[q + 2 * kv + d + channels..];
        let delta: Vec<T> = dt.iter().zip(&mamba.dt_bias).map(|(dt, bias)| softplus(*dt + T::from(*bias))).collect();
        ready.extend(&delta);
        ready.extend(delta.iter().zip(&mamba.a).map(|(delta, a)| (*delta * T::from(*a)).exp()));
    }
    ready
}
