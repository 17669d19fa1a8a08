//! Where a session's next token is sampled: it stays there, and the step that is queued behind
//! another reads it.

use bytemuck::{Pod, Zeroable};

use crate::constraint::mask_words;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::sampling::SamplingParams;

/// Slices of the vocabulary, each a workgroup's.
pub const CANDIDATES: u32 = 64;

/// Most end tokens that the GPU looks for.
pub const MAX_ENDS: usize = 16;

/// `Ends` of `shaders/sample/candidate.wgsl`, same layout.
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

/// The buffers of one session. Nothing in them outlives an answer: they belong to no conversation's
/// state.
pub struct SamplingBuffers {
    /// Input of the next step \[T\], u32: written by the host, or by
    /// `shaders/sample/next_token.wgsl` on the GPU.
    pub ids: wgpu::Buffer,
    /// Halted, token, failed: see `shaders/sample/sample.wgsl` and `multinomial.wgsl`.
    pub control: wgpu::Buffer,
    /// \[V\]: the logits that the last token was sampled from.
    pub saved_logits: wgpu::Buffer,
    /// \[64, 4\]: the likeliest token of each slice of the vocabulary, `Candidate` of
    /// `shaders/sample/candidate.wgsl`.
    pub candidates: wgpu::Buffer,
    /// [`Ends`]: tokens that end an answer.
    pub ends: wgpu::Buffer,
    /// [`SamplingParams`]: how the next token is sampled at a temperature.
    pub params: wgpu::Buffer,
    /// \[3, 1024\], u32: tokens, and their weight, by bins: see `shaders/sample/histogram.wgsl`.
    pub bins: wgpu::Buffer,
    /// \[66, 4\], u32: the same of the slices of the vocabulary, see
    /// `shaders/sample/threshold.wgsl`.
    pub slices: wgpu::Buffer,
    /// \[V / 32\], u32: which tokens a constraint lets come next, bit t % 32 of word t / 32 is
    /// token t's.
    pub mask: wgpu::Buffer,
    /// \[V\]: logits that wait for their mask; then the same, but minus infinity for tokens that it
    /// does not allow.
    pub masked_logits: wgpu::Buffer,
}

impl SamplingBuffers {
    /// For a vocabulary of that size, and steps of up to `chunk` tokens.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory) from the adapter's limits.
    pub fn new(gpu: &Gpu, vocab_size: u32, chunk: u32) -> Result<Self> {
        let [ids, control, logits, candidates, bins, slices, mask] = Self::storage_bytes(vocab_size, chunk);
        Ok(Self {
            ids: gpu.storage("ids", ids)?,
            control: gpu.storage("control", control)?,
            saved_logits: gpu.storage("saved logits", logits)?,
            candidates: gpu.storage("candidates", candidates)?,
            ends: gpu.uniform("ends", bytemuck::bytes_of(&Ends::default())),
            params: gpu.uniform("sampling", bytemuck::bytes_of(&SamplingParams::default())),
            bins: gpu.storage("bins", bins)?,
            slices: gpu.storage("slices", slices)?,
            mask: gpu.storage("mask", mask)?,
            masked_logits: gpu.storage("masked logits", logits)?,
        })
    }

    fn all(&self) -> [&wgpu::Buffer; 10] {
        let Self { ids, control, saved_logits, candidates, ends, params, bins, slices, mask, masked_logits } = self;
        [ids, control, saved_logits, candidates, ends, params, bins, slices, mask, masked_logits]
    }

    /// ids, control, saved (and masked) logits, candidates, bins, slices, mask
    fn storage_bytes(vocab_size: u32, chunk: u32) -> [u64; 7] {
        let (slices, logits, mask) = (u64::from(CANDIDATES), 4 * u64::from(vocab_size), mask_words(vocab_size));
        [4 * u64::from(chunk), 16, logits, 16 * slices, 4 * 3 * 1024, 16 * (slices + 2), 4 * mask as u64]
    }

    /// Bytes of all of them on the GPU.
    pub fn bytes(&self) -> u64 {
        self.all().map(wgpu::Buffer::size).iter().sum()
    }

    /// The same, known before there are any.
    pub fn bytes_of(vocab_size: u32, chunk: u32) -> u64 {
        let storage = Self::storage_bytes(vocab_size, chunk).map(Gpu::storage_bytes);
        storage.iter().sum::<u64>() + storage[2] + (size_of::<Ends>() + size_of::<SamplingParams>()) as u64
    }
}

impl Drop for SamplingBuffers {
    /// As [`State`](crate::state::State)'s: a browser's collector knows nothing of a GPU's memory.
    fn drop(&mut self) {
        self.all().into_iter().for_each(wgpu::Buffer::destroy);
    }
}
