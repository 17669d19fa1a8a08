//! What a conversation leaves behind in the model: position, KV cache, convolution and SSM states. A value of its own, apart
//! from the weights, so that several conversations can share a model.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::gpu::Gpu;

/// The states of one layer.
pub struct LayerState {
    /// \[context, nkv, hd\], with RoPE.
    pub keys: wgpu::Buffer,
    /// \[context, nkv, hd\]
    pub values: wgpu::Buffer,
    /// \[conv_dim, K - 1\]: the last columns before the convolution, oldest first.
    pub conv: wgpu::Buffer,
    /// \[n, P, N\], f32.
    pub ssm: wgpu::Buffer,
}

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
}

/// Positions of a fresh cache.
const FIRST_CAPACITY: u32 = 256;

impl State {
    /// The state before the first token. `context_length` is cut to what one binding of the adapter holds.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] from the adapter's limits.
    pub fn new(gpu: &Gpu, config: &Config, context_length: u32) -> Result<Self> {
        let row = 4 * u64::from(config.kv_dim());
        let context_length = context_length.min(u32::try_from(gpu.max_binding() / row).unwrap_or(u32::MAX));
        let capacity = FIRST_CAPACITY.min(context_length);
        let layers = (0..config.num_hidden_layers)
            .map(|_| {
                Ok(LayerState {
                    keys: gpu.storage("keys", row * u64::from(capacity))?,
                    values: gpu.storage("values", row * u64::from(capacity))?,
                    conv: gpu.storage("conv state", 4 * u64::from(config.conv_dim() * (config.mamba_d_conv - 1)))?,
                    ssm: gpu
                        .storage("SSM state", 4 * u64::from(config.mamba_d_ssm) * u64::from(config.mamba_d_state))?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { position: 0, capacity, context_length, layers })
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

    /// Bytes on the GPU.
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(|l| l.keys.size() + l.values.size() + l.conv.size() + l.ssm.size()).sum()
    }
}
