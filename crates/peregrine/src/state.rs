//! What a conversation leaves behind in the model: position, KV cache, convolution and SSM states. A value of its own, apart
//! from the weights, so that several conversations can share a model.

use bytemuck::{Pod, Zeroable};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::gpu::Gpu;

/// The states of one layer.
pub struct LayerState {
    /// \[context, nkv, hd\], with RoPE.
    pub keys: wgpu::Buffer,
    /// \[context, nkv, hd\]
    pub values: wgpu::Buffer,
    /// \[conv_dim, K\]: columns before the convolution, a ring: that of position p at p % K. A step writes its own slot and reads
    /// the others, so its workgroups need not wait for each other.
    pub conv: wgpu::Buffer,
    /// \[n, P, N\], f32.
    pub ssm: wgpu::Buffer,
}

/// How a step that is queued behind another learns the token that the other draws.
pub struct NextToken {
    /// Input of the next step \[T\], u32: written by the host, or by `shaders/sample.wgsl` on the GPU.
    pub ids: wgpu::Buffer,
    /// Halted, token, failed: see `shaders/sample.wgsl`.
    pub control: wgpu::Buffer,
    /// \[V\]: the logits that the last token was drawn from.
    pub kept: wgpu::Buffer,
    /// The likeliest token of each piece of the vocabulary: `Candidate` of `shaders/candidate.wgsl`.
    pub candidates: wgpu::Buffer,
    /// [`Ends`]: tokens that end an answer.
    pub ends: wgpu::Buffer,
}

/// Pieces of the vocabulary, each a workgroup's.
pub const CANDIDATES: u32 = 64;

/// `Ends` of `shaders/candidate.wgsl`, same layout.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Ends {
    /// How many there are.
    pub count: u32,
    /// V
    pub vocab_size: u32,
    /// Padding to 16 bytes.
    pub unused: [u32; 2],
    /// The tokens.
    pub id: [u32; MAX_ENDS],
}

/// Most end tokens that the GPU looks for.
pub const MAX_ENDS: usize = 16;

/// All that one sequence of tokens has left behind.
pub struct State {
    /// Tokens read so far.
    pub position: u32,
    /// Positions that the KV cache has room for; it grows by doubling.
    pub capacity: u32,
    /// Most positions it may grow to.
    pub context_length: u32,
    /// One a layer.
    pub layers: Vec<LayerState>,
    /// What the next step reads.
    pub next: NextToken,
}

/// Most pieces that the context is cut into in decode.
const MAX_SPLITS: u32 = 128;

/// Pieces for a context of so many positions: one workgroup is enough for a short one, and each has at least a block of
/// `shaders/mixer_step.wgsl` to do.
pub fn splits(positions: u32) -> u32 {
    if positions <= 256 { 1 } else { positions.div_ceil(128).min(MAX_SPLITS) }
}

/// Positions of a fresh cache.
const FIRST_CAPACITY: u32 = 256;

impl State {
    /// The state before the first token, for steps of up to `chunk` tokens. `context_length` is cut to what one binding of the adapter holds.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] from the adapter's limits.
    pub fn new(gpu: &Gpu, config: &Config, context_length: u32, chunk: u32) -> Result<Self> {
        let row = 4 * u64::from(config.kv_dim());
        let context_length = context_length.min(u32::try_from(gpu.max_binding() / row).unwrap_or(u32::MAX));
        let capacity = FIRST_CAPACITY.min(context_length);
        let layers = (0..config.num_hidden_layers)
            .map(|_| {
                Ok(LayerState {
                    keys: gpu.storage("keys", row * u64::from(capacity))?,
                    values: gpu.storage("values", row * u64::from(capacity))?,
                    conv: gpu.storage("conv state", 4 * u64::from(config.conv_dim() * config.mamba_d_conv))?,
                    ssm: gpu
                        .storage("SSM state", 4 * u64::from(config.mamba_d_ssm) * u64::from(config.mamba_d_state))?,
                })
            })
            .collect::<Result<_>>()?;
        let next = NextToken {
            ids: gpu.storage("ids", 4 * u64::from(chunk))?,
            control: gpu.storage("control", 16)?,
            kept: gpu.storage("kept logits", 4 * u64::from(config.vocab_size))?,
            candidates: gpu.storage("candidates", 16 * u64::from(CANDIDATES))?,
            ends: gpu.uniform("ends", bytemuck::bytes_of(&Ends::default())),
        };
        Ok(Self { position: 0, capacity, context_length, layers, next })
    }

    /// Makes room for `tokens` more. Returns whether the caches are new buffers, which plans must be recorded for again.
    ///
    /// # Errors
    /// [`Error::ContextFull`] before anything has changed.
    pub fn reserve(&mut self, gpu: &Gpu, config: &Config, tokens: u32) -> Result<bool> {
        let needed = u64::from(self.position) + u64::from(tokens);
        if needed > u64::from(self.context_length) {
            return Err(Error::ContextFull { needed, context_length: self.context_length.into() });
        }
        let needed = needed as u32;
        if needed <= self.capacity {
            return Ok(false);
        }
        let capacity = needed.next_power_of_two().min(self.context_length);
        let row = 4 * u64::from(config.kv_dim());
        let used = row * u64::from(self.position.min(self.capacity));
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        for layer in &mut self.layers {
            for cache in [&mut layer.keys, &mut layer.values] {
                let larger = gpu.storage("KV cache", row * u64::from(capacity))?;
                if used > 0 {
                    encoder.copy_buffer_to_buffer(cache, 0, &larger, 0, used);
                }
                *cache = larger;
            }
        }
        gpu.queue().submit([encoder.finish()]);
        self.capacity = capacity;
        Ok(true)
    }

    /// Back to the state before the first token. The caches keep their room; what is in them is never read again.
    pub fn clear(&mut self, gpu: &Gpu) {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        for layer in &self.layers {
            encoder.clear_buffer(&layer.conv, 0, None);
            encoder.clear_buffer(&layer.ssm, 0, None);
        }
        gpu.queue().submit([encoder.finish()]);
        self.position = 0;
    }

    /// The last K - 1 columns before a layer's convolution at position `end`, oldest first: \[conv_dim, K - 1\].
    ///
    /// # Errors
    /// What the device says.
    pub async fn conv_columns(&self, gpu: &Gpu, config: &Config, layer: usize, end: u32) -> Result<Vec<f32>> {
        let k = config.mamba_d_conv;
        let ring = gpu.read(&self.layers[layer].conv, 0, u64::from(config.conv_dim() * k)).await?;
        let slots = (1..k).map(|j| ((end + j) % k) as usize);
        Ok(ring.chunks_exact(k as usize).flat_map(|ring| slots.clone().map(|slot| ring[slot])).collect())
    }

    /// Bytes on the GPU.
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(|l| l.keys.size() + l.values.size() + l.conv.size() + l.ssm.size()).sum()
    }
}

/// Bytes of a [`State`] on the GPU, known before there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateBytes {
    /// Convolution and SSM states, and [`NextToken`].
    pub fixed: u64,
    /// Keys and values of a full context.
    pub kv_cache: u64,
    /// The cache before its last doubling: [`State::reserve`] copies from it.
    pub kv_growth: u64,
}

impl StateBytes {
    /// Of a state for conversations of `context_length` tokens and steps of `chunk`.
    pub fn of(config: &Config, context_length: u32, chunk: u32) -> Self {
        let (c, layers) = (config, u64::from(config.num_hidden_layers));
        let conv = Gpu::storage_bytes(4 * u64::from(c.conv_dim()) * u64::from(c.mamba_d_conv));
        let ssm = Gpu::storage_bytes(4 * u64::from(c.mamba_d_ssm) * u64::from(c.mamba_d_state));
        let next = [4 * u64::from(chunk), 16, 4 * u64::from(c.vocab_size), 16 * u64::from(CANDIDATES)];
        let next = next.map(Gpu::storage_bytes).iter().sum::<u64>() + size_of::<Ends>() as u64;
        let caches = |tokens: u32| 2 * layers * Gpu::storage_bytes(4 * u64::from(c.kv_dim()) * u64::from(tokens));
        let before = context_length.saturating_sub(1).checked_ilog2().map_or(0, |log| 1 << log);
        Self {
            fixed: layers * (conv + ssm) + next,
            kv_cache: caches(context_length),
            kv_growth: if before < FIRST_CAPACITY { 0 } else { caches(before) },
        }
    }
}
