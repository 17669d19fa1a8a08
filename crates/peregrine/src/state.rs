//! What a conversation leaves behind in the model: position, KV cache, convolution and SSM states.
//! A value of its own, apart from the weights, so that several conversations can share a model.

mod kv_type;
mod pages;

use std::rc::Rc;

use futures_util::future::try_join;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Reading};
pub use kv_type::KvType;
pub use pages::{Arena, MAX_PAGES, PAGE, PageTable};
pub(crate) use pages::{Page, Pages};

/// The recurrent states of one layer.
pub struct LayerState {
    /// \[conv_dim, K\]: columns before the convolution, a ring: that of position p at p % K. A step
    /// writes its own slot and reads the others, so its workgroups need not wait for each other.
    pub conv: wgpu::Buffer,
    /// \[H, P, N\], f32.
    pub ssm: wgpu::Buffer,
}

/// All that one sequence of tokens has left behind.
pub struct State {
    /// Tokens read so far.
    pub position: u32,
    /// One a layer.
    pub layers: Vec<LayerState>,
    /// Keys and values.
    pub(crate) pages: Pages,
}

/// Most splits of the context in decode: `MOST_SPLITS` of
/// `shaders/attention/merge.wgsl`.
const MAX_SPLITS: u32 = 256;

/// Most of them that `shaders/mixers/mixer_step.wgsl` makes: its `MOST_SPLITS`. More are
/// `shaders/attention/attention_long.wgsl`'s.
pub const SHORT_SPLITS: u32 = 128;

/// Splits of a context of so many positions, each so many pages and none empty. Two are put
/// together by the linear layer that reads them, more by a dispatch of their own.
pub fn splits(positions: u32) -> u32 {
    let pages = positions.div_ceil(PAGE).max(1);
    pages.div_ceil(pages.div_ceil(MAX_SPLITS))
}

/// Most splits of a context that grows to so many positions.
pub fn most_splits(positions: u32) -> u32 {
    positions.div_ceil(PAGE).clamp(1, MAX_SPLITS)
}

impl State {
    /// The state before the first token.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] from the adapter's limits.
    pub fn new(gpu: &Gpu, config: &Config, arena: &Rc<Arena>) -> Result<Self> {
        let layers = (0..config.num_hidden_layers)
            .map(|_| {
                Ok(LayerState {
                    conv: gpu.storage("conv state", 4 * u64::from(config.conv_dim() * config.mamba_d_conv))?,
                    ssm: gpu
                        .storage("SSM state", 4 * u64::from(config.mamba_d_ssm) * u64::from(config.mamba_d_state))?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { position: 0, layers, pages: Pages::new(arena) })
    }

    /// Most positions.
    pub fn context_length(&self) -> u32 {
        self.pages.arena().context_length()
    }

    /// Positions that there are pages for.
    pub fn capacity(&self) -> u32 {
        self.pages.held().len() as u32 * PAGE
    }

    /// Makes room for `tokens` more. Returns whether it has other pages than before.
    ///
    /// # Errors
    /// [`Error::ContextFull`], [`Error::OutOfMemory`] before anything has changed.
    pub fn reserve(&mut self, tokens: u32) -> Result<bool> {
        let needed = u64::from(self.position) + u64::from(tokens);
        let context_length = u64::from(self.context_length());
        if needed > context_length {
            return Err(Error::ContextFull { needed, context_length });
        }
        self.pages.reserve(self.position, needed as u32)
    }

    /// Keys and values of a layer at positions
    /// \[`from`, `to`), as they are kept: \[to - from, nkv, hd\] each.
    ///
    /// # Errors
    /// What the device says.
    pub async fn keys_and_values(&self, gpu: &Gpu, layer: usize, from: u32, to: u32) -> Result<[Vec<f32>; 2]> {
        let arena = self.pages.arena();
        let [keys, values] = [false, true].map(|values| self.rows(layer, values, from, to));
        let (keys, values) = try_join(gpu.read_places(&keys), gpu.read_places(&values)).await?;
        Ok([keys, values].map(|bytes| arena.kv_type().decode(&bytes, arena.head_dim())))
    }

    /// Asks for what [`State::keys_and_values`] reads, before what follows overwrites it: bytes as
    /// they are kept.
    pub(crate) fn copy_keys_and_values(&self, gpu: &Gpu, layer: usize, to: u32) -> [Reading; 2] {
        [false, true].map(|values| gpu.reading_of(&self.rows(layer, values, 0, to)))
    }

    /// Where the keys (or the values) of positions \[`from`, `to`) of a layer lie, page by page:
    /// buffer, first byte, bytes.
    pub(crate) fn rows(&self, layer: usize, values: bool, from: u32, to: u32) -> Vec<(wgpu::Buffer, u64, u64)> {
        let arena = self.pages.arena();
        let pages = (from / PAGE..to.div_ceil(PAGE)).filter(|_| from < to);
        pages
            .map(|page| {
                let (first, end) = (from.max(page * PAGE) % PAGE, (to - page * PAGE).min(PAGE));
                let slot = self.pages.held()[page as usize].index();
                let offset = arena.offset(slot, values, first);
                (arena.layer(layer), offset, arena.offset(slot, values, end) - offset)
            })
            .collect()
    }

    /// Back to the state before the first token. The pages are free; the arena keeps their room.
    pub fn clear(&mut self, gpu: &Gpu) {
        self.pages.clear();
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        for layer in &self.layers {
            encoder.clear_buffer(&layer.conv, 0, None);
            encoder.clear_buffer(&layer.ssm, 0, None);
        }
        gpu.queue().submit([encoder.finish()]);
        self.position = 0;
    }

    /// The last K - 1 columns before a layer's convolution at position `end`, oldest first:
    /// \[conv_dim, K - 1\].
    ///
    /// # Errors
    /// What the device says.
    pub async fn conv_columns(&self, gpu: &Gpu, config: &Config, layer: usize, end: u32) -> Result<Vec<f32>> {
        let ring = gpu.arrive_once::<f32>(self.copy_convolution(gpu, config, layer)).await?;
        Ok(columns(&ring, config.mamba_d_conv, end))
    }

    /// Asks for what [`State::conv_columns`] reads, before what follows overwrites it: see
    /// [`columns`].
    pub(crate) fn copy_convolution(&self, gpu: &Gpu, config: &Config, layer: usize) -> Reading {
        let bytes = 4 * u64::from(config.conv_dim() * config.mamba_d_conv);
        gpu.reading_of(&[(self.layers[layer].conv.clone(), 0, bytes)])
    }

    /// Bytes of the recurrent states on the GPU.
    pub fn recurrent_bytes(&self) -> u64 {
        self.layers.iter().map(|l| l.conv.size() + l.ssm.size()).sum()
    }

    /// Bytes on the GPU of all that does not grow: recurrent states, and the table of pages.
    pub fn fixed_bytes(&self) -> u64 {
        self.recurrent_bytes() + pages::TABLE_BYTES
    }

    /// Bytes on the GPU: recurrent states, and the pages it has, shared or not.
    pub fn bytes(&self) -> u64 {
        self.recurrent_bytes() + self.pages.held().len() as u64 * self.pages.arena().bytes_of_page()
    }
}

/// The last K - 1 columns before position `end` of a layer's ring, oldest first.
pub(crate) fn columns(ring: &[f32], k: u32, end: u32) -> Vec<f32> {
    let slots = (1..k).map(|j| ((end + j) % k) as usize);
    ring.chunks_exact(k as usize).flat_map(|ring| slots.clone().map(|slot| ring[slot])).collect()
}

impl Drop for State {
    /// A browser gives the memory of a buffer back when the collector has found it, which may be
    /// never: it knows nothing of a GPU's.
    fn drop(&mut self) {
        self.layers.iter().flat_map(|layer| [&layer.conv, &layer.ssm]).for_each(wgpu::Buffer::destroy);
    }
}

/// Most positions of a sequence whose pages fit a binding.
pub(crate) fn longest(config: &Config, kv: KvType, max_binding: u64) -> u32 {
    let pages = (max_binding / kv.page_bytes(config).max(1)).min(MAX_PAGES.into());
    PAGE * pages as u32
}

/// Bytes of a [`State`] and its pages on the GPU, known before there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateBytes {
    /// Convolution and SSM states, and the table of pages.
    pub fixed: u64,
    /// Keys and values of a full context.
    pub kv_cache: u64,
    /// The arena before it last grew: the larger one is filled from it.
    pub kv_growth: u64,
}

impl StateBytes {
    /// Of a state for conversations of `context_length` tokens.
    pub fn of(config: &Config, context_length: u32, kv: KvType) -> Self {
        let (c, layers) = (config, u64::from(config.num_hidden_layers));
        let conv = Gpu::storage_bytes(4 * u64::from(c.conv_dim()) * u64::from(c.mamba_d_conv));
        let ssm = Gpu::storage_bytes(4 * u64::from(c.mamba_d_ssm) * u64::from(c.mamba_d_state));
        let (pages, before) = pages::full(context_length);
        let bytes = |pages: u32| layers * u64::from(pages) * kv.page_bytes(c);
        Self { fixed: layers * (conv + ssm) + pages::TABLE_BYTES, kv_cache: bytes(pages), kv_growth: bytes(before) }
    }
}
