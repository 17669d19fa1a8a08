//! What a model needs on the GPU, known from its header alone, and whether that fits.
//!
//! Counted is everything that stays: weights as they will lie there, activations, one
//! conversation's states and caches, and what it may spend on snapshots. On top of it come, for a
//! moment, writes on their way while loading (at most 16 MiB; 40 in a browser) and read-backs of
//! logits.

use std::cell::Cell;

use super::recipe::Recipe;
use super::{LoadOptions, Strides};
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::ops::sample::SamplingBuffers;
use crate::ops::ssm::CHUNK as SSD_CHUNK;
use crate::ops::target::Target;
use crate::plan::Step;
use crate::state::{self, KvType, StateBytes, most_splits};

use crate::weights::padded;

/// Most tokens in a step.
const MOST_CHUNK: u32 = 2048;

/// Bytes on the GPU that a session spends on snapshots unless told otherwise, or twice its
/// recurrent states where that is more.
const SNAPSHOTS: u64 = 256 << 20;

/// The same in the host's memory: in a browser the app says how many.
const HOST_SNAPSHOTS: u64 = if cfg!(target_arch = "wasm32") { 0 } else { 1 << 30 };

/// Where a device is thought to have so many bytes for the model, it reads so many tokens at a time
/// in prefill: more of them share what is read of the weights.
const ROOMY: u64 = 8 << 30;
const ROOMY_CHUNK: u32 = 1024;

/// Tokens that a context has at least where nobody asked for one, however little memory the device
/// is thought to have, and what it is a multiple of.
const SHORTEST: u32 = 4096;
const ROUND: u32 = 1024;

/// Most rows of logits of a step unless the options say otherwise: answers need one.
const LOGIT_ROWS: u32 = 8;

/// What matters of a device for the sizes of buffers.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    /// Largest binding, bytes: larger matrices are cut, and a layer's keys and values must fit.
    pub max_binding: u64,
    /// Tokens read at a time in prefill unless the options say otherwise.
    pub chunk: u32,
    /// Whether prompts are read chunk by chunk, as on GPUs: `Ssd` of `model.rs`.
    pub ssd: bool,
    /// All that it can have, bytes, where that is known: wasm32 has addresses for 4 GiB.
    pub most_bytes: Option<u64>,
}

/// What the module itself needs of its memory in a browser: the tokenizer, requests, pieces of
/// weights on their way.
const OWN_BYTES: u64 = 64 << 20;

impl Default for Device {
    /// A desktop's GPU: 2 GiB in a binding.
    fn default() -> Self {
        Self { max_binding: (1 << 31) - 4, chunk: 256, ssd: true, most_bytes: None }
    }
}

impl Device {
    /// This one.
    pub fn of(gpu: &Gpu) -> Self {
        Self::at(gpu, &Target::of(gpu, KvType::default()))
    }

    /// This one, with plans for `target`.
    pub(super) fn at(gpu: &Gpu, target: &Target) -> Self {
        Self {
            max_binding: gpu.max_binding(),
            chunk: target.chunk(),
            ssd: target.has_ssm_chunks(),
            most_bytes: target.most_bytes(OWN_BYTES),
        }
    }
}

impl Device {
    /// Tokens read at a time in prefill where the options do not say.
    fn likely_chunk(&self, options: &LoadOptions) -> u32 {
        // A budget counts what activations take.
        let memory = options.device_memory.filter(|_| options.memory_budget.is_none()).unwrap_or(0);
        let is_roomy = self.ssd && memory >= ROOMY;
        if is_roomy { self.chunk.max(ROOMY_CHUNK) } else { self.chunk }
    }
}

/// Bytes on the GPU for a model and one conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Matrices, norms and the small SSM parameters, with their tables.
    pub weights: u64,
    /// Activations of a step.
    pub scratch: u64,
    /// Convolution and SSM states, and what the next token is sampled from.
    pub states: u64,
    /// Keys and values of `context_length` tokens, in whole pages.
    pub kv_cache: u64,
    /// The smaller arena that is still there while the largest one is filled from it: it grows by
    /// doubling.
    pub kv_growth: u64,
    /// Most bytes of snapshots: as many as the options say; where they say nothing, no more than a
    /// budget leaves.
    pub snapshots: u64,
    /// Most bytes of the host's memory for snapshots that the GPU has no more room for.
    pub host_snapshots: u64,
    /// Tokens of the conversation.
    pub context_length: u32,
}

impl Footprint {
    /// For the context that the options ask for, at most what the model was made for and the device
    /// can bind. The budget of the options is not looked at: see [`Footprint::fit`].
    ///
    /// # Errors
    /// [`Error::MissingTensor`]; [`Error::OutOfMemory`] when a single row exceeds a binding.
    pub fn of(checkpoint: &Checkpoint, options: &LoadOptions, device: Device) -> Result<Self> {
        Estimate::new(checkpoint, options, device).map(|e| e.at(e.most))
    }

    /// The footprint within the options' budget, and what the device has. A context that was not
    /// asked for is as long as the memory allows that the device is thought to have
    /// ([`LoadOptions::device_memory`]), and made as small as it must be.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`], with the largest context that does; and as [`Footprint::of`].
    pub fn fit(checkpoint: &Checkpoint, options: &LoadOptions, device: Device) -> Result<Self> {
        let estimate = Estimate::new(checkpoint, options, device)?;
        let suitable = estimate.suitable();
        // Who says what may be taken knows the device.
        let all = estimate.at(if options.memory_budget.is_some() { estimate.most } else { suitable });
        let Some(budget) = options.memory_budget.into_iter().chain(device.most_bytes).min() else { return Ok(all) };
        if estimate.needed(&all) <= budget {
            return Ok(all.within(budget));
        }
        let largest = estimate.largest(budget);
        match largest.filter(|_| options.context_length.is_none()) {
            Some(context) => Ok(estimate.at(context).within(budget)),
            None => Err(estimate.does_not_fit("the model".into(), suitable, 0, budget)),
        }
    }

    /// The largest context that fits into `budget` bytes, at most the one asked for; `None` when
    /// not even one token does.
    ///
    /// # Errors
    /// As [`Footprint::of`].
    pub fn largest_context(
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        device: Device,
        budget: u64,
    ) -> Result<Option<u32>> {
        Estimate::new(checkpoint, options, device).map(|e| e.largest(budget))
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.least() + self.snapshots
    }

    /// Without snapshots.
    pub fn least(&self) -> u64 {
        self.weights + self.scratch + self.states + self.kv_cache + self.kv_growth
    }

    /// With no more snapshots than a budget has room for.
    pub fn within(self, budget: u64) -> Self {
        Self { snapshots: self.snapshots.min(budget.saturating_sub(self.least())), ..self }
    }
}

/// Tokens of a conversation beside which adapters must have room where nobody asked for a context:
/// that is then as long as memory allows, and adapters make it shorter.
const TOKENS_BESIDE_ADAPTERS: u32 = 2048;

/// What the caller allows, and what of it the model has not taken: room for snapshots and adapters.
pub(crate) struct Budget {
    options: LoadOptions,
    device: Device,
    /// Another one once the context has grown.
    footprint: Cell<Footprint>,
    /// Somebody asked for that context.
    is_asked: Cell<bool>,
}

impl Budget {
    pub(super) fn new(options: &LoadOptions, device: Device, footprint: Footprint) -> Self {
        let is_asked = Cell::new(options.context_length.is_some());
        Self { options: options.clone(), device, footprint: Cell::new(footprint), is_asked }
    }

    /// Bytes allowed, where anybody has said how many.
    fn allowed(&self) -> Option<u64> {
        self.options.memory_budget.into_iter().chain(self.device.most_bytes).min()
    }

    /// What the model takes with a conversation.
    pub fn footprint(&self) -> Footprint {
        self.footprint.get()
    }

    /// Tokens of the longest conversation that there can be.
    pub fn longest(&self, config: &Config) -> u32 {
        longest(config, self.options.kv, self.device)
    }

    /// Conversations have so many tokens from now on, beside so many bytes of adapters. The arena
    /// has `kv` bytes now, from which a larger one is filled.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`]; then nothing has changed.
    pub fn grow(&self, config: &Config, context_length: u32, adapters: u64, kv: u64) -> Result<()> {
        let estimate = Estimate { most: self.longest(config), ..self.estimate(config) };
        let (mut grown, budget) = (estimate.at(context_length), self.allowed().unwrap_or(u64::MAX));
        let more = kv.min(grown.kv_cache).saturating_sub(grown.kv_growth);
        grown.kv_growth += more;
        if estimate.needed(&grown) + adapters > budget {
            return Err(estimate.does_not_fit("the longer context".into(), context_length, adapters + more, budget));
        }
        self.footprint.set(grown.within(budget));
        self.is_asked.set(true);
        Ok(())
    }

    /// Bytes that are left beside the model with a conversation and so many bytes of adapters.
    pub fn left(&self, adapters: u64) -> Option<u64> {
        Some(self.allowed()?.saturating_sub(self.footprint().least() + adapters))
    }

    /// Whether there is room for adapters of so many bytes, and for keys and values of so many that
    /// are there. Snapshots make room, but for what was asked for them.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`], with the largest context that would leave room.
    pub fn expect_room(&self, config: &Config, adapters: u64, kv: u64, names: &str) -> Result<()> {
        let footprint = self.footprint();
        let estimate = self.estimate(config);
        let context_length = match self.is_asked.get() {
            true => footprint.context_length,
            false => footprint.context_length.min(TOKENS_BESIDE_ADAPTERS),
        };
        let conversation = estimate.at(context_length);
        let kv = kv.max(conversation.kv_cache + conversation.kv_growth);
        let needed = self.without_kv() + kv + self.options.snapshot_budget.unwrap_or(0) + adapters;
        match self.allowed().filter(|allowed| needed > *allowed) {
            None => Ok(()),
            Some(budget) => Err(Error::DoesNotFit {
                what: format!("the model with {names}"),
                needed,
                budget,
                context_length,
                largest_context: budget.checked_sub(adapters).and_then(|budget| estimate.largest(budget)),
            }),
        }
    }

    /// Tokens of a conversation that have room beside so many bytes of adapters.
    pub fn context_beside(&self, config: &Config, adapters: u64) -> u32 {
        let all = self.footprint().context_length;
        let Some(allowed) = self.allowed().filter(|_| adapters > 0) else { return all };
        self.estimate(config).largest(allowed.saturating_sub(adapters)).unwrap_or(0)
    }

    fn estimate<'a>(&'a self, config: &'a Config) -> Estimate<'a> {
        let Footprint { weights, context_length: most, .. } = self.footprint();
        Estimate { config, options: &self.options, device: self.device, weights, most }
    }

    fn without_kv(&self) -> u64 {
        let footprint = self.footprint();
        footprint.least() - footprint.kv_cache - footprint.kv_growth
    }
}

/// Sizes of the buffers of a step, bytes; the same names as in [`super::Scratch`].
pub(super) struct ScratchBytes {
    pub chunk: u32,
    pub logit_rows: u32,
    pub rope: u64,
    pub turns: u64,
    pub hidden: u64,
    pub proj: u64,
    pub ready: u64,
    pub mixed: u64,
    /// States, products, decays; zeros without [`super::Ssd`].
    pub ssd: [u64; 3],
    pub ff: u64,
    pub logits: u64,
}

impl ScratchBytes {
    pub fn of(c: &Config, options: &LoadOptions, device: Device) -> Self {
        let strides = Strides::of(c);
        // What a chunk of tokens keeps for the SSM heads.
        let state = 4 * u64::from(c.mamba_d_ssm) * u64::from(c.mamba_d_state);
        let products = 4 * u64::from(SSD_CHUNK * SSD_CHUNK * c.mamba_n_groups);
        let decays = 4 * u64::from(SSD_CHUNK * c.mamba_n_heads);
        // No buffer of a step may exceed a binding.
        let by_rows = device.max_binding / (4 * u64::from(strides.proj.max(strides.ready).max(strides.ff)));
        let by_states = (device.max_binding / state.max(products)).max(1) * u64::from(SSD_CHUNK);
        let most = if device.ssd { by_rows.min(by_states) } else { by_rows };
        let most = most.clamp(1, MOST_CHUNK.into());
        let chunk = options.chunk.unwrap_or_else(|| device.likely_chunk(options)).clamp(1, most as u32);
        let chunks = if device.ssd { u64::from(chunk.div_ceil(SSD_CHUNK)) } else { 0 };
        let wanted = options.logit_rows.unwrap_or(LOGIT_ROWS).clamp(1, chunk);
        let logit_rows = (device.max_binding / (4 * u64::from(c.vocab_size))).clamp(1, wanted.into()) as u32;
        let floats = |width: u32| 4 * u64::from(width) * u64::from(chunk);
        // Room for the splits of the longest context that it may grow to.
        let merged = match most_splits(longest(c, options.kv, device)) {
            1 => 0,
            most => 4 * u64::from(strides.mixed + c.num_attention_heads * most * (c.head_dim + 4)),
        };
        Self {
            chunk,
            logit_rows,
            rope: floats(c.head_dim),
            turns: 1024,
            hidden: floats(strides.hidden),
            proj: floats(strides.proj),
            ready: floats(strides.ready),
            mixed: floats(strides.mixed).max(merged),
            ssd: [state, products, decays].map(|bytes| chunks * bytes),
            ff: floats(strides.ff),
            logits: 4 * u64::from(c.vocab_size) * u64::from(logit_rows),
        }
    }

    fn total(&self) -> u64 {
        let storage = [self.rope, self.hidden, self.hidden, self.proj, self.ready, self.mixed, self.ff, self.logits];
        let ssd = self.ssd.into_iter().filter(|bytes| *bytes > 0).map(Gpu::storage_bytes);
        storage.map(Gpu::storage_bytes).iter().sum::<u64>() + ssd.sum::<u64>() + self.turns + size_of::<Step>() as u64
    }
}

/// Tokens of the longest conversation that there can be: what the model was made for, what a
/// binding holds.
fn longest(c: &Config, kv: KvType, device: Device) -> u32 {
    c.max_position_embeddings.min(state::longest(c, kv, device.max_binding))
}

/// What does not depend on the context is computed once.
struct Estimate<'a> {
    config: &'a Config,
    options: &'a LoadOptions,
    device: Device,
    weights: u64,
    most: u32,
}

impl<'a> Estimate<'a> {
    fn new(checkpoint: &'a Checkpoint, options: &'a LoadOptions, device: Device) -> Result<Self> {
        let config = &checkpoint.config;
        let weights = weight_bytes(checkpoint, device)?;
        let most = options.context_length.unwrap_or(u32::MAX).min(longest(config, options.kv, device));
        Ok(Self { config, options, device, weights, most })
    }

    fn at(&self, context_length: u32) -> Footprint {
        let scratch = ScratchBytes::of(self.config, self.options, self.device);
        let state = StateBytes::of(self.config, context_length, self.options.kv);
        let next = SamplingBuffers::bytes_of(self.config.vocab_size, scratch.chunk);
        Footprint {
            weights: self.weights,
            scratch: scratch.total(),
            states: state.fixed + next,
            kv_cache: state.kv_cache,
            kv_growth: state.kv_growth,
            snapshots: self.options.snapshot_budget.unwrap_or(SNAPSHOTS.max(2 * state.fixed)),
            host_snapshots: self.options.snapshot_host_budget.unwrap_or(HOST_SNAPSHOTS),
            context_length,
        }
    }

    /// The context that was asked for, or one that the memory which the device is thought to have
    /// allows.
    fn suitable(&self) -> u32 {
        let memory = self.options.device_memory.filter(|_| self.options.context_length.is_none());
        // Snapshots get what is left.
        match memory.map(|bytes| self.longest_within(bytes).unwrap_or(0)) {
            None => self.most,
            Some(largest) if largest == self.most => largest,
            Some(largest) => (largest / ROUND * ROUND).max(SHORTEST).min(self.most),
        }
    }

    /// [`Error::DoesNotFit`] of a context beside so many bytes of adapters.
    fn does_not_fit(&self, what: String, context_length: u32, adapters: u64, budget: u64) -> Error {
        Error::DoesNotFit {
            what,
            needed: self.needed(&self.at(context_length)) + adapters,
            budget,
            context_length,
            largest_context: budget.checked_sub(adapters).and_then(|budget| self.largest(budget)),
        }
    }

    /// What cannot be less: snapshots only where they are asked for.
    fn needed(&self, footprint: &Footprint) -> u64 {
        footprint.least() + self.options.snapshot_budget.unwrap_or(0)
    }

    /// The longest context that fits, beside the snapshots that are asked for.
    fn largest(&self, budget: u64) -> Option<u32> {
        self.longest_within(budget.checked_sub(self.options.snapshot_budget.unwrap_or(0))?)
    }

    /// Without any snapshots; by bisection: more context never needs less.
    fn longest_within(&self, bytes: u64) -> Option<u32> {
        let fits = |context: u32| self.at(context).least() <= bytes;
        if !fits(1.min(self.most)) {
            return None;
        }
        let (mut fit, mut over) = (self.most.min(1), u64::from(self.most) + 1);
        while u64::from(fit) + 1 < over {
            let middle = (u64::from(fit) + over) / 2;
            match fits(middle as u32) {
                true => fit = middle as u32,
                false => over = middle,
            }
        }
        Some(fit)
    }
}

/// Bytes of all weights as they will lie on the device.
fn weight_bytes(checkpoint: &Checkpoint, device: Device) -> Result<u64> {
    let (c, recipe) = (&checkpoint.config, Recipe::of(checkpoint));
    let vector = |len: u32| Gpu::storage_bytes(4 * u64::from(padded(len)));
    let mamba = Gpu::storage_bytes(4 * u64::from(c.conv_dim() * (c.mamba_d_conv + 1) + 3 * c.mamba_n_heads));
    let norms = 2 * vector(c.hidden_size) + if c.mamba_rms_norm { vector(c.mamba_d_ssm) } else { 0 };
    let embed = recipe.embed_tokens()?.footprint(device.max_binding)?;
    let mut bytes = vector(c.hidden_size) + embed.weights + embed.tables;
    bytes += match recipe.lm_head()? {
        Some(head) => head.footprint(device.max_binding)?.total(),
        // The same weights under tables of their own.
        None => embed.tables,
    };
    for i in 0..c.num_hidden_layers {
        bytes += norms + mamba;
        for matrix in recipe.layer(i)?.all() {
            bytes += matrix.footprint(device.max_binding)?.total();
        }
    }
    Ok(bytes)
}

impl Footprint {
    /// Whether the model and the beginning of a conversation fit into so many bytes, if it is known
    /// how many there are. Keys and values come as they are needed.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] where they do not.
    pub(super) fn expect_room(&self, name: &str, available: Option<u64>) -> Result<()> {
        let needed = self.weights + self.scratch + self.states;
        match available.filter(|available| needed > *available) {
            None => Ok(()),
            Some(available) => Err(Error::OutOfMemory {
                what: format!("{name} on the processor (the same model in a smaller format may fit)"),
                bytes: Some(needed),
                limit: Some(available),
            }),
        }
    }
}

impl Error {
    /// An allocation that the device refused, said with what was being made.
    pub(super) fn while_loading(self, footprint: &Footprint) -> Self {
        match self {
            Self::OutOfMemory { bytes: None, .. } => Self::OutOfMemory {
                what: format!("the model (with a context of {} tokens)", footprint.context_length),
                bytes: Some(footprint.least()),
                limit: None,
            },
            other => other,
        }
    }
}
