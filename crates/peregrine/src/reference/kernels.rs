//! Each kernel of `shaders/`, on the CPU. Slices are row-major; shapes as in the heads of the WGSL files.

use crate::config::Config;

/// E\[id\] scaled: `row` \[D\] is the token's row of the embedding.
pub fn embed(row: &[f32], scale: f32) -> Vec<f32> {
    row.iter().map(|e| scale * e).collect()
}

/// y = weight x / sqrt(mean(x²) + eps)
pub fn rmsnorm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let mean = x.iter().map(|v| v * v).sum::<f32>() / x.len() as f32;
    let scale = 1.0 / (mean + eps).sqrt();
    x.iter().zip(weight).map(|(v, w)| w * (v * scale)).collect()
}

/// y \[rows\] = scale W x, W \[rows, x.len()\]
pub fn linear(weights: &[f32], x: &[f32], scale: f32) -> Vec<f32> {
    weights.chunks_exact(x.len()).map(|row| scale * dot(row, x)).collect()
}

/// silu(gate) up
pub fn swiglu(gate: &[f32], up: &[f32]) -> Vec<f32> {
    gate.iter().zip(up).map(|(g, u)| silu(*g) * u).collect()
}

/// v sigmoid(v)
pub fn silu(v: f32) -> f32 {
    v / (1.0 + (-v).exp())
}

/// ln(1 + e^v); above 20 it is v itself in f32.
pub fn softplus(v: f32) -> f32 {
    if v > 20.0 { v } else { v.exp().ln_1p() }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: f32 = a8.remainder().iter().zip(b8.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a8.zip(b8) {
        for i in 0..8 {
            sums[i] += x[i] * y[i];
        }
    }
    tail + sums.iter().sum::<f32>()
}

/// The heads of `x`, turned by the angle of `position`: the pair (i, i + hd/2) by position theta^(-2i/hd), all in f64.
pub fn rope(x: &[f32], head_dim: usize, theta: f64, position: u32) -> Vec<f32> {
    let mut y = x.to_vec();
    let half = head_dim / 2;
    for head in y.chunks_exact_mut(head_dim) {
        for i in 0..half {
            let angle = f64::from(position) * theta.powf(-2.0 * i as f64 / head_dim as f64);
            let (sin, cos) = angle.sin_cos();
            let (a, b) = (f64::from(head[i]), f64::from(head[i + half]));
            head[i] = (a * cos - b * sin) as f32;
            head[i + half] = (b * cos + a * sin) as f32;
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
pub struct LayerState {
    /// \[tokens, nkv hd\], with RoPE
    pub keys: Vec<f32>,
    /// \[tokens, nkv hd\]
    pub values: Vec<f32>,
    /// \[conv_dim, K - 1\], oldest first
    pub conv: Vec<f32>,
    /// \[n, P, N\]
    pub ssm: Vec<f32>,
}

impl LayerState {
    /// Before the first token.
    pub fn new(c: &Config) -> Self {
        Self {
            keys: Vec::new(),
            values: Vec::new(),
            conv: vec![0.0; (c.conv_dim() * (c.mamba_d_conv - 1)) as usize],
            ssm: vec![0.0; (c.mamba_d_ssm * c.mamba_d_state) as usize],
        }
    }
}

/// What a value becomes in the cache: whether it is one of the values (or of the keys), its index among all of them, and itself.
pub type Keep<'a> = dyn Fn(bool, usize, f32) -> f32 + 'a;

/// RoPE, KV append, convolution with SiLU, softplus and decay, for one token at `position`.
/// `proj`: q | k | v | z | x | B | C | dt. Result: q | x | B | C | delta | exp(delta A). The convolution's columns move on here;
/// on the GPU that is the mixer's part. `keep`: how the cache keeps keys and values.
pub fn prepare(
    c: &Config,
    mamba: &Mamba,
    proj: &[f32],
    position: u32,
    state: &mut LayerState,
    keep: &Keep<'_>,
) -> Vec<f32> {
    let (q, kv, d, channels) = (c.q_dim() as usize, c.kv_dim() as usize, c.mamba_d_ssm as usize, c.conv_dim() as usize);
    let head_dim = c.head_dim as usize;
    let mut ready = rope(&proj[..q], head_dim, c.rope_theta, position);
    let keys = rope(&proj[q..q + kv], head_dim, c.rope_theta, position);
    let first = state.keys.len();
    state.keys.extend(keys.iter().enumerate().map(|(i, key)| keep(false, first + i, *key)));
    let values = proj[q + kv..q + 2 * kv].iter().enumerate();
    state.values.extend(values.map(|(i, value)| keep(true, first + i, *value)));

    let columns = &proj[q + 2 * kv + d..][..channels];
    let k = c.mamba_d_conv as usize;
    for (channel, now) in columns.iter().enumerate() {
        let kept = &mut state.conv[channel * (k - 1)..(channel + 1) * (k - 1)];
        let taps = &mamba.conv_weight[channel * k..(channel + 1) * k];
        let sum = mamba.conv_bias[channel] + dot(&taps[..k - 1], kept) + taps[k - 1] * now;
        ready.push(silu(sum));
        kept.rotate_left(1);
        kept[k - 2] = *now;
    }
    let dt = &proj[q + 2 * kv + d + channels..];
    let delta: Vec<f32> = dt.iter().zip(&mamba.dt_bias).map(|(dt, bias)| softplus(dt + bias)).collect();
    ready.extend(&delta);
    ready.extend(delta.iter().zip(&mamba.a).map(|(delta, a)| (delta * a).exp()));
    ready
}

/// Causal attention of one token over everything in the cache. Result \[nh hd\].
pub fn attention(c: &Config, ready: &[f32], state: &LayerState) -> Vec<f32> {
    let (head_dim, kv) = (c.head_dim as usize, c.kv_dim() as usize);
    let per_kv = (c.num_attention_heads / c.num_key_value_heads) as usize;
    let scale = 1.0 / (c.head_dim as f32).sqrt();
    let mut mixed = Vec::with_capacity(c.q_dim() as usize);
    for (head, query) in ready[..c.q_dim() as usize].chunks_exact(head_dim).enumerate() {
        let at = head / per_kv * head_dim;
        let scores: Vec<f32> = state.keys.chunks_exact(kv).map(|k| scale * dot(query, &k[at..at + head_dim])).collect();
        let maximum = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights: Vec<f32> = scores.iter().map(|s| (s - maximum).exp()).collect();
        let total: f32 = weights.iter().sum();
        let mut out = vec![0.0; head_dim];
        for (weight, values) in weights.iter().zip(state.values.chunks_exact(kv)) {
            for (o, v) in out.iter_mut().zip(&values[at..at + head_dim]) {
                *o += weight * v;
            }
        }
        mixed.extend(out.iter().map(|o| o / total));
    }
    mixed
}

/// One step of Mamba-2's recurrence for every head, with D skip and gate:
/// S = exp(delta A) S + delta x Bᵀ; y = S C + D x; result y silu(z) \[d\].
pub fn selective_scan(c: &Config, mamba: &Mamba, proj: &[f32], ready: &[f32], state: &mut LayerState) -> Vec<f32> {
    let (q, kv, d, channels) = (c.q_dim() as usize, c.kv_dim() as usize, c.mamba_d_ssm as usize, c.conv_dim() as usize);
    let (heads, p, n, groups) =
        (c.mamba_n_heads as usize, c.mamba_d_head as usize, c.mamba_d_state as usize, c.mamba_n_groups as usize);
    let x = &ready[q..q + d];
    let delta = &ready[q + channels..q + channels + heads];
    let decay = &ready[q + channels + heads..];
    let z = &proj[q + 2 * kv..q + 2 * kv + d];
    let mut mixed = Vec::with_capacity(d);
    for head in 0..heads {
        let group = head / (heads / groups);
        let b = &ready[q + d + group * n..][..n];
        let cc = &ready[q + d + (groups + group) * n..][..n];
        for row in 0..p {
            let channel = head * p + row;
            let state = &mut state.ssm[channel * n..(channel + 1) * n];
            let weighted = delta[head] * x[channel];
            for (s, b) in state.iter_mut().zip(b) {
                *s = decay[head] * *s + weighted * b;
            }
            let y = dot(state, cc) + mamba.d[head] * x[channel];
            mixed.push(y * silu(z[channel]));
        }
    }
    mixed
}

/// RMSNorm of each of the G groups of channels by itself.
pub fn gated_norm(c: &Config, weight: &[f32], mixed: &[f32]) -> Vec<f32> {
    let width = (c.mamba_d_ssm / c.mamba_n_groups) as usize;
    mixed.chunks_exact(width).zip(weight.chunks_exact(width)).flat_map(|(x, w)| rmsnorm(x, w, c.rms_norm_eps)).collect()
}
