//! Each kernel of `shaders/`, on the CPU. Slices are row-major; shapes as in the heads of the WGSL files. Weights are f32, which every
//! format's values are exactly; what is computed from them is in [`Real`].

use super::real::{Real, each};
use crate::config::Config;

/// E\[id\] scaled: `row` \[D\] is the token's row of the embedding.
pub fn embed<T: Real>(row: &[f32], scale: f32) -> Vec<T> {
    row.iter().map(|e| T::from(scale) * T::from(*e)).collect()
}

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

/// Rows of a matrix that one thread takes at a time.
const ROWS: usize = 32;

/// y \[T, rows\] = scale x Wᵀ, W \[rows, cols\], x \[T, cols\].
pub fn linear<T: Real>(weights: &[f32], x: &[T], cols: usize, scale: f32) -> Vec<T> {
    let (tokens, rows) = (x.len() / cols, weights.len() / cols);
    let blocks: Vec<&[f32]> = weights.chunks(ROWS * cols).collect();
    let blocks = each(blocks, weights.len() * tokens, |block| {
        let row = |row| x.chunks_exact(cols).map(move |x| T::from(scale) * dot(row, x));
        block.chunks_exact(cols).flat_map(row).collect::<Vec<T>>()
    });
    // Row by row all tokens; the result has them token by token.
    let by_row = blocks.concat();
    if tokens == 1 {
        return by_row;
    }
    (0..tokens).flat_map(|t| by_row.iter().skip(t).step_by(tokens).take(rows)).copied().collect()
}

/// silu(gate) up
pub fn swiglu<T: Real>(gate: &[T], up: &[T]) -> Vec<T> {
    gate.iter().zip(up).map(|(g, u)| silu(*g) * *u).collect()
}

/// v sigmoid(v)
pub fn silu<T: Real>(v: T) -> T {
    v / (T::of(1.0) + (-v).exp())
}

/// ln(1 + e^v); above 20 it is v itself in f32.
pub fn softplus<T: Real>(v: T) -> T {
    if v > T::of(20.0) { v } else { v.exp().ln_1p() }
}

fn dot<W: Copy + Into<T>, T: Real>(a: &[W], b: &[T]) -> T {
    let mut sums = [T::default(); 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: T = a8.remainder().iter().zip(b8.remainder()).map(|(x, y)| (*x).into() * *y).sum();
    for (x, y) in a8.zip(b8) {
        for i in 0..8 {
            sums[i] += x[i].into() * y[i];
        }
    }
    tail + sums.into_iter().sum()
}

/// The heads of `x`, turned by the angle of `position`: the pair (i, i + hd/2) by position theta^(-2i/hd), all in f64.
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
    /// \[n\]
    pub dt_bias: Vec<f32>,
    /// A = -exp(A_log) \[n\]
    pub a: Vec<f32>,
    /// \[n\]
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
    /// \[n, P, N\]
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
struct Sections {
    q: usize,
    kv: usize,
    d: usize,
    channels: usize,
    heads: usize,
}

impl Sections {
    fn of(c: &Config) -> Self {
        let [q, kv, d, channels, heads] =
            [c.q_dim(), c.kv_dim(), c.mamba_d_ssm, c.conv_dim(), c.mamba_n_heads].map(|n| n as usize);
        Self { q, kv, d, channels, heads }
    }

    /// q | k | v | z | x | B | C | dt
    fn proj(&self) -> usize {
        self.q + 2 * self.kv + self.d + self.channels + self.heads
    }

    /// q | x | B | C | delta | exp(delta A)
    fn ready(&self) -> usize {
        self.q + self.channels + 2 * self.heads
    }
}

/// What a row \[nkv, hd\] becomes in the cache: whether it is of the values (or of the keys), the index of its first among all of
/// them, and the row.
pub type Keep<'a, T> = dyn Fn(bool, usize, &mut [T]) + 'a;

/// RoPE, KV append, convolution with SiLU, softplus and decay, for tokens from `position` on.
/// `proj` \[T, q | k | v | z | x | B | C | dt\]. Result \[T, q | x | B | C | delta | exp(delta A)\]. The convolution's columns move on
/// here; on the GPU that is the mixer's part. `keep`: how the cache keeps keys and values.
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

/// Causal attention of the last tokens in the cache, those of `ready`, over what is before them. Result \[T, nh hd\].
pub fn attention<T: Real>(c: &Config, ready: &[T], state: &LayerState<T>) -> Vec<T> {
    let sections = Sections::of(c);
    let (head_dim, kv) = (c.head_dim as usize, sections.kv);
    let per_kv = (c.num_attention_heads / c.num_key_value_heads) as usize;
    let scale = T::of(1.0) / T::from(c.head_dim as f32).sqrt();
    let rows: Vec<&[T]> = ready.chunks_exact(sections.ready()).collect();
    let first = state.keys.len() / kv - rows.len();
    let cost = 2 * rows.len() * (state.keys.len() / kv) * sections.q;
    let rows = each(rows.into_iter().enumerate().collect(), cost, |(t, row)| {
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

/// Mamba-2's recurrence for every head, with D skip and gate: S = exp(delta A) S + delta x Bᵀ; y = S C + D x; result y silu(z) \[T, d\].
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

/// RMSNorm of each of the G groups of channels by itself, for each row of `mixed` \[T, d\].
pub fn gated_norm<T: Real>(c: &Config, weight: &[f32], mixed: &[T]) -> Vec<T> {
    let width = (c.mamba_d_ssm / c.mamba_n_groups) as usize;
    let groups = mixed.chunks_exact(width).zip(weight.chunks_exact(width).cycle());
    groups.flat_map(|(x, w)| rmsnorm(x, w, c.rms_norm_eps)).collect()
}
