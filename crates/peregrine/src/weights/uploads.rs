//! Weights on their way to the GPU: read piece by piece, looked at and laid out by several threads,
//! written while the next piece is laid out. No more than some pieces are on the host at a time,
//! whatever the file's size.

use std::collections::VecDeque;

use super::table::GpuPart;
use super::{PartSpec, SAMPLED_ROWS};
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::gpu::{Fence, Gpu, Instant};
use crate::sampling::{GOLDEN_GAMMA, mix};

/// Seconds of loading, by what was done in them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadTimes {
    /// Bytes came from the checkpoint's source.
    pub read: f64,
    /// Weights were looked at and laid out as the kernels want them.
    pub repack: f64,
    /// They were handed to the device, or waited for it.
    pub upload: f64,
    /// Pipelines were made.
    pub pipelines: f64,
}

/// Bytes of the file read and laid out at a time. In a browser there is one thread, and less
/// memory.
const PIECE: u64 = if cfg!(target_arch = "wasm32") { 2 << 20 } else { 4 << 20 };
/// Bytes queued between two marks.
const QUEUED: u64 = 8 << 20;
/// Marks that are not waited for yet. A browser answers late, from another process, and what it has
/// not got yet it cannot copy meanwhile. With the pieces, the bound on host memory.
const MARKS: usize = if cfg!(target_arch = "wasm32") { 4 } else { 1 };
/// Rows of a piece that are worth a thread, bytes.
const SHARE: usize = 128 << 10;

/// A piece as the kernels want it.
#[derive(Default)]
struct Piece {
    /// Where its strips go: byte of the buffer.
    strips_at: u64,
    strips: Vec<u32>,
    /// And its scales.
    halves_at: u64,
    halves: Vec<u16>,
    weights: Option<wgpu::Buffer>,
}

impl Piece {
    /// Hands it to the device.
    fn write(&mut self, gpu: &Gpu) {
        if let Some(weights) = self.weights.take() {
            gpu.write(&weights, self.strips_at, bytemuck::cast_slice(&self.strips));
            if !self.halves.is_empty() {
                gpu.write(&weights, self.halves_at, bytemuck::cast_slice(&self.halves));
            }
        }
    }
}

/// What is on its way, for the progress bar and for the bound on host memory.
pub struct Uploads<'a> {
    done: u64,
    total: u64,
    queued: u64,
    fences: VecDeque<Fence>,
    fingerprint: u64,
    times: LoadTimes,
    threads: usize,
    raw: Vec<u8>,
    /// Laid out, and not written yet.
    ready: Piece,
    spare: Piece,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl<'a> Uploads<'a> {
    /// `total`: bytes of all tensors; `progress(done, total)` is called after each piece.
    pub fn new(total: u64, progress: &'a mut dyn FnMut(u64, u64)) -> Self {
        let threads = if cfg!(target_arch = "wasm32") {
            1
        } else {
            std::thread::available_parallelism().map_or(1, |threads| threads.get().min(8))
        };
        Self {
            done: 0,
            total,
            queued: 0,
            fences: VecDeque::new(),
            fingerprint: 0,
            times: LoadTimes::default(),
            threads,
            raw: Vec::new(),
            ready: Piece::default(),
            spare: Piece::default(),
            progress,
        }
    }

    /// A sample of all weights, the same on every device: a sum, so that the order in which slabs
    /// are read does not matter.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Where the time went.
    pub fn times(&self) -> LoadTimes {
        self.times
    }

    /// Counts bytes that were read some other way.
    pub fn count(&mut self, bytes: u64) {
        self.done = (self.done + bytes).min(self.total);
        (self.progress)(self.done, self.total);
    }

    /// Writes what is laid out, and waits for the device.
    ///
    /// # Errors
    /// What the device says.
    pub async fn finish(&mut self, gpu: &Gpu) -> Result<()> {
        let start = Instant::now();
        self.ready.write(gpu);
        gpu.sync().await?;
        self.times.upload += Instant::now().since(start);
        Ok(())
    }

    pub(super) async fn part(
        &mut self,
        gpu: &Gpu,
        checkpoint: &Checkpoint,
        part: &PartSpec<'_>,
        placed: &GpuPart,
        weights: &wgpu::Buffer,
    ) -> Result<()> {
        let row_bytes = part.tensor.format.row_bytes(part.cols() as u64).unwrap_or(0);
        let (row_words, row_halves) = (part.row_words(), part.row_halves());
        // An even number of rows, so that every piece of plane S begins at a whole word.
        let step = ((PIECE / row_bytes.max(1)) as u32 / 2 * 2).max(2);
        let mut row = 0;
        while row < part.rows {
            let rows = step.min(part.rows - row);
            let start = Instant::now();
            self.raw.resize(rows as usize * row_bytes as usize, 0);
            let first = part.tensor_row + row;
            checkpoint.read(part.tensor, u64::from(first) * row_bytes, &mut self.raw).await?;
            let read = Instant::now();
            self.times.read += read.since(start);

            let piece = &mut self.spare;
            // What the piece before left there is overwritten, but for the half that fills a word.
            piece.strips.resize(rows as usize * row_words as usize, 0);
            piece.halves.resize(rows as usize * row_halves as usize, 0);
            piece.halves.resize(piece.halves.len().next_multiple_of(2), 0);
            piece.strips_at = 4 * (u64::from(placed.quants) + u64::from(row) * row_words);
            piece.halves_at = 2 * (u64::from(placed.scales) + u64::from(row) * row_halves);
            piece.weights = Some(weights.clone());
            let (ready, write) = (&mut self.ready, &mut self.times.upload);
            // The device gets the last piece while the threads lay out this one.
            let sample = lay_out(checkpoint, part, first, &self.raw, piece, self.threads, || {
                let start = Instant::now();
                ready.write(gpu);
                *write += Instant::now().since(start);
            })?;
            self.fingerprint = self.fingerprint.wrapping_add(sample);
            std::mem::swap(&mut self.ready, &mut self.spare);
            let laid_out = Instant::now();
            self.times.repack += laid_out.since(read);

            row += rows;
            self.count(self.raw.len() as u64);
            self.queued += self.raw.len() as u64;
            if self.queued >= QUEUED {
                self.queued = 0;
                self.fences.push_back(gpu.fence());
                if self.fences.len() > MARKS
                    && let Some(oldest) = self.fences.pop_front()
                {
                    gpu.passed(oldest).await?;
                }
                self.times.upload += Instant::now().since(laid_out);
            }
        }
        Ok(())
    }
}

/// Lays out `raw`, rows from `first` on of the part's tensor, in `threads` threads; `meanwhile`
/// runs on this one. Gives what the rows add to the fingerprint.
fn lay_out(
    checkpoint: &Checkpoint,
    part: &PartSpec<'_>,
    first: u32,
    raw: &[u8],
    piece: &mut Piece,
    threads: usize,
    meanwhile: impl FnOnce(),
) -> Result<u64> {
    let spec = part.tensor.format.spec();
    let row_bytes = part.tensor.format.row_bytes(part.cols() as u64).unwrap_or(0).max(1) as usize;
    let (row_words, row_halves) = (part.row_words() as usize, part.row_halves() as usize);
    let name = part.tensor.name.as_str();
    let rows = raw.len() / row_bytes;
    let share = |first: u32, raw: &[u8], strips: &mut [u32], halves: &mut [u16]| -> (bool, u64) {
        let mut fingerprint = 0u64;
        for (i, row) in raw.chunks_exact(row_bytes).enumerate() {
            fingerprint = fingerprint.wrapping_add(sample(name, u64::from(first) + i as u64, row));
            spec.repack_row(
                row,
                &mut strips[i * row_words..(i + 1) * row_words],
                &mut halves[i * row_halves..(i + 1) * row_halves],
            );
        }
        (spec.first_not_finite(raw).is_none(), fingerprint)
    };
    let wanted = threads.min(raw.len().div_ceil(SHARE)).max(1);
    let (finite, fingerprint) = if wanted == 1 {
        meanwhile();
        share(first, raw, &mut piece.strips, &mut piece.halves)
    } else {
        let count = rows.div_ceil(wanted);
        std::thread::scope(|scope| {
            let (mut strips, mut halves) = (&mut piece.strips[..], &mut piece.halves[..]);
            let mut handles = Vec::new();
            for (i, raw) in raw.chunks(count * row_bytes).enumerate() {
                let rows = raw.len() / row_bytes;
                let (my_strips, rest) = std::mem::take(&mut strips).split_at_mut(rows * row_words);
                strips = rest;
                let (my_halves, rest) = std::mem::take(&mut halves).split_at_mut(rows * row_halves);
                halves = rest;
                let share = &share;
                handles.push(scope.spawn(move || share(first + (i * count) as u32, raw, my_strips, my_halves)));
            }
            meanwhile();
            let outcomes = handles.into_iter().map(|handle| match handle.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            outcomes.fold((true, 0u64), |(all, sum), (finite, sample)| (all && finite, sum.wrapping_add(sample)))
        })
    };
    if !finite {
        // Again, for the words that name the row.
        checkpoint.check_finite(part.tensor, first.into(), raw)?;
    }
    Ok(fingerprint)
}

/// What a row of a tensor adds to the fingerprint, if it is one of those that are sampled.
fn sample(name: &str, row: u64, bytes: &[u8]) -> u64 {
    if !row.is_multiple_of(SAMPLED_ROWS) {
        return 0;
    }
    let parts = name.bytes().chain(row.to_le_bytes()).chain(bytes.iter().copied().take(64));
    parts.fold(0, |hash: u64, byte| mix(hash.wrapping_add(GOLDEN_GAMMA) ^ u64::from(byte)))
}
