//! What a conversation leaves behind in the model: position, KV cache, convolution and SSM states. A value of its own, apart
//! from the weights, so that several conversations can share a model.

mod pages;

use std::rc::Rc;

use bytemuck::{Pod, Zeroable};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
pub use pages::{Arena, KvType, MAX_PAGES, PAGE};
pub(crate) use pages::{Page, Pages};

/// The recurrent states of one layer.
pub struct LayerState {
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
    /// Most positions.
    pub context_length: u32,
    /// One a layer.
    pub layers: Vec<LayerState>,
    /// Keys and values.
    pub(crate) pages: Pages,
    /// What the next step reads.
    pub next: NextToken,
}

/// Most pieces that the context is cut into in decode: `MOST_SPLITS` of `shaders/merge.wgsl`.
const MAX_SPLITS: u32 = 128;

/// Pieces for a context of so many positions: one workgroup is enough for a short one, and each has at least a block of
/// `shaders/mixer_step.wgsl` to do.
pub fn splits(positions: u32) -> u32 {
    if positions <= 256 { 1 } else { positions.div_ceil(128).min(MAX_SPLITS) }
}

impl State {
    /// The state before the first token, for steps of up to `chunk` tokens. `context_length` is cut to what one binding of the adapter holds.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] from the adapter's limits.
    pub fn new(gpu: &Gpu, config: &Config, context_length: u32, chunk: u32, arena: &Rc<Arena>) -> Result<Self> {
        let context_length = context_length.min(longest(config, arena.kv(), gpu.max_binding()));
        let layers = (0..config.num_hidden_layers)
            .map(|_| {
                Ok(LayerState {
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
        Ok(Self { position: 0, context_length, layers, pages: Pages::new(arena), next })
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
        if needed > u64::from(self.context_length) {
            return Err(Error::ContextFull { needed, context_length: self.context_length.into() });
        }
        self.pages.reserve(self.position, needed as u32)
    }

    /// Keys and values of a layer at positions \[`from`, `to`), as they are kept: \[to - from, nkv, hd\] each.
    ///
    /// # Errors
    /// What the device says.
    pub async fn keys_and_values(&self, gpu: &Gpu, layer: usize, from: u32, to: u32) -> Result<[Vec<f32>; 2]> {
        let mut found = [Vec::new(), Vec::new()];
        let arena = self.pages.arena();
        for (values, found) in [false, true].into_iter().zip(&mut found) {
            let places = self.rows(layer, values, from, to);
            let bytes = gpu.read_places(&places).await?;
            match arena.kv() {
                KvType::F16 => {
                    let value = |b: &[u8]| half::f16::from_le_bytes([b[0], b[1]]).to_f32();
                    found.extend(bytes.chunks_exact(2).map(value));
                }
                KvType::F32 => {
                    found.extend(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])))
                }
            }
        }
        Ok(found)
    }

    /// Where the keys (or the values) of positions \[`from`, `to`) of a layer lie, page by page: buffer, first byte, bytes.
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

    /// Bytes of the recurrent states on the GPU.
    pub fn recurrent_bytes(&self) -> u64 {
        self.layers.iter().map(|l| l.conv.size() + l.ssm.size()).sum()
    }

    /// Bytes on the GPU: recurrent states, and the pages it has, shared or not.
    pub fn bytes(&self) -> u64 {
        self.recurrent_bytes() + self.pages.held().len() as u64 * self.pages.arena().bytes_of_page()
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
    /// Convolution and SSM states, the table of pages, and [`NextToken`].
    pub fixed: u64,
    /// Keys and values of a full context.
    pub kv_cache: u64,
    /// The arena before it last grew: the larger one is filled from it.
    pub kv_growth: u64,
}

impl StateBytes {
    /// Of a state for conversations of `context_length` tokens and steps of `chunk`.
    pub fn of(config: &Config, context_length: u32, chunk: u32, kv: KvType) -> Self {
        let (c, layers) = (config, u64::from(config.num_hidden_layers));
        let conv = Gpu::storage_bytes(4 * u64::from(c.conv_dim()) * u64::from(c.mamba_d_conv));
        let ssm = Gpu::storage_bytes(4 * u64::from(c.mamba_d_ssm) * u64::from(c.mamba_d_state));
        let next = [4 * u64::from(chunk), 16, 4 * u64::from(c.vocab_size), 16 * u64::from(CANDIDATES)];
        let next = next.map(Gpu::storage_bytes).iter().sum::<u64>() + size_of::<Ends>() as u64;
        let (pages, before) = pages::full(context_length);
        let bytes = |pages: u32| layers * u64::from(pages) * kv.page_bytes(c);
        Self {
            fixed: layers * (conv + ssm) + pages::TABLE_BYTES + next,
            kv_cache: bytes(pages),
            kv_growth: bytes(before),
        }
    }
}
