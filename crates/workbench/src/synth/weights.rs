//! Random weights of the right magnitude, ready-quantized.

use std::collections::HashMap;

use peregrine::checkpoint::names::{Bake, Expected};
use peregrine::config::Config;
use peregrine::format::Format;
use peregrine::sampling::{GOLDEN_GAMMA, mix};

/// Values in a unit of a pool: whole blocks in every format. The rows of every official shape are
/// whole units; others may end within one.
const UNIT: usize = 256;
/// A pool has two to this power units. Sums over a row then behave as if all weights were sampled
/// one by one.
const POOL_BITS: u32 = 11;

/// Standard deviation of the logits, about that of a trained model.
const LOGITS: f32 = 2.0;
/// Standard deviation of dt before its bias: small, so that the bias sets the range of the time
/// steps.
const DT: f32 = 0.5;
/// Standard deviation of B and C before the convolution: what comes back out of the SSM state is
/// then as large as what skips it.
const BC: f32 = 2.0;

/// Numbers that depend on seed, name and place only: SplitMix64 from a start that mixes the three.
pub(super) struct Noise(u64);

impl Noise {
    pub fn new(seed: u64, name: &str, place: u64) -> Self {
        // FNV-1a; mixing does the rest.
        let hash =
            name.bytes().fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        let start = mix(mix(seed.wrapping_add(GOLDEN_GAMMA)) ^ hash);
        Self(mix(start.wrapping_add(GOLDEN_GAMMA.wrapping_mul(place.wrapping_add(1)))))
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN_GAMMA);
        mix(self.0)
    }

    /// In `low..high`.
    fn uniform(&mut self, low: f64, high: f64) -> f64 {
        let share = (self.bits() >> 11) as f64 / (1u64 << 53) as f64;
        low + (high - low) * share
    }

    /// Standard deviation 1, at most 3.5 from zero: the sum of four uniform numbers, which every
    /// machine rounds alike.
    pub fn normal(&mut self) -> f32 {
        let bits = self.bits();
        let sum: u64 = [0, 16, 32, 48].into_iter().map(|shift| (bits >> shift) & 0xffff).sum();
        (sum as f32 - 2.0 * 65_535.0) / 65_536.0 * 3f32.sqrt()
    }
}

/// Samples the rows of tensors.
pub(super) struct Weights<'a> {
    seed: u64,
    config: &'a Config,
    /// By format and the bits of the standard deviation.
    pools: HashMap<(Format, u32), Vec<u8>>,
}

impl<'a> Weights<'a> {
    pub fn new(seed: u64, config: &'a Config) -> Self {
        Self { seed, config, pools: HashMap::new() }
    }

    /// Appends row `row` of `tensor` in `format` to `out`.
    pub fn row(&mut self, tensor: &Expected, format: Format, row: u64, out: &mut Vec<u8>) {
        let mut noise = Noise::new(self.seed, &tensor.gguf, row);
        let cols = tensor.shape.last().copied().unwrap_or(1) as usize;
        if matches!(tensor.bake, Bake::Small | Bake::A) {
            return out.extend((0..cols).flat_map(|_| small(tensor, &mut noise).to_le_bytes()));
        }
        let spec = format.spec();
        let pool = self.pool(format, deviation(tensor, self.config, row));
        let bytes = pool.len() >> POOL_BITS;
        for _ in 0..cols / UNIT {
            let unit = (noise.bits() >> (64 - POOL_BITS)) as usize;
            out.extend_from_slice(&pool[unit * bytes..(unit + 1) * bytes]);
        }
        // Shapes of the caller's own may end within a unit; the plan has seen that they are whole
        // blocks.
        let rest = cols % UNIT / spec.block as usize * spec.bytes as usize;
        if rest > 0 {
            let unit = (noise.bits() >> (64 - POOL_BITS)) as usize;
            out.extend_from_slice(&pool[unit * bytes..unit * bytes + rest]);
        }
    }

    /// The units of one format and standard deviation. There are about ten pools a file, of at most
    /// 2 MiB.
    fn pool(&mut self, format: Format, deviation: f32) -> &[u8] {
        let seed = self.seed;
        self.pools.entry((format, deviation.to_bits())).or_insert_with(|| {
            let spec = format.spec();
            let name = format!("{format} {deviation}");
            let mut pool = vec![0; (UNIT / spec.block as usize * spec.bytes as usize) << POOL_BITS];
            let size = pool.len() >> POOL_BITS;
            for (unit, bytes) in pool.chunks_exact_mut(size).enumerate() {
                let mut noise = Noise::new(seed, &name, unit as u64);
                let values: Vec<f32> = (0..UNIT).map(|_| deviation * noise.normal()).collect();
                spec.quantize_blocks(&values, bytes);
            }
            pool
        })
    }
}

/// The standard deviation of a row of a matrix. Inputs are normalized, so 1/√inputs gives outputs
/// of about 1. Each of a layer's three branches adds 1/(3 layers) to the variance of the residual
/// stream, which so stays near 1 at any depth.
fn deviation(tensor: &Expected, config: &Config, row: u64) -> f32 {
    let inputs = tensor.shape.last().copied().unwrap_or(1) as f32;
    let unit = 1.0 / inputs.sqrt();
    let (bc, dt) = (2 * config.mamba_d_ssm, config.in_proj_rows() - config.mamba_n_heads);
    match tensor.bake {
        // As LM head; beside what the layers add, the embedding is small then, or every token would
        // predict itself.
        Bake::Embedding if config.tie_word_embeddings => LOGITS * unit,
        Bake::Embedding => 1.0,
        Bake::LmHead => LOGITS * unit,
        Bake::SsmIn if row >= dt.into() => DT * unit,
        Bake::SsmIn if row >= bc.into() => BC * unit,
        Bake::AttentionOut | Bake::SsmOut => unit / (3.0 * config.num_hidden_layers as f32).sqrt(),
        // silu(gate) up of two normal numbers has a standard deviation of 0.6.
        Bake::Down => unit / 0.6 / (3.0 * config.num_hidden_layers as f32).sqrt(),
        _ => unit,
    }
}

/// A value of a vector, or of the convolution.
fn small(tensor: &Expected, noise: &mut Noise) -> f32 {
    let is = |end: &str| tensor.hf.ends_with(end);
    let value = if tensor.bake == Bake::A {
        // exp(A_log) is uniform in 1..16, as Mamba-2 begins its training.
        -noise.uniform(1.0, 16.0)
    } else if is("mamba.dt_bias") {
        // Time steps spread evenly over their orders of magnitude, 0.001 to 0.1; the bias is
        // softplus⁻¹ of them.
        let step = 1e-3 * 100f64.powf(noise.uniform(0.0, 1.0));
        step.exp_m1().ln()
    } else if is("conv1d.weight") {
        noise.uniform(-1.0, 1.0)
    } else if is("conv1d.bias") {
        noise.uniform(-0.1, 0.1)
    } else {
        // Norms and D.
        noise.uniform(0.8, 1.2)
    };
    value as f32
}
