//! Much that is read back, one piece after the other.

use std::collections::VecDeque;

use super::Gpu;
use super::reading::Reading;
use crate::error::{Error, Result};

/// A piece of a buffer: the buffer, its first byte, its bytes; both multiples of 4.
pub(crate) type Place = (wgpu::Buffer, u64, u64);

/// Readings that are under way at a time: a browser answers late, but several at once.
const UNDER_WAY: usize = 3;

/// Places in a row that together have at most `most` bytes, or are one.
pub(crate) fn batches(places: &[Place], most: u64) -> Vec<&[Place]> {
    let (mut batches, mut first, mut sum) = (Vec::new(), 0, 0);
    for (i, (_, _, bytes)) in places.iter().enumerate() {
        if sum + bytes > most && first < i {
            batches.push(&places[first..i]);
            (first, sum) = (i, 0);
        }
        sum += bytes;
    }
    batches.extend((first < places.len()).then(|| &places[first..]));
    batches
}

/// Bytes of these places.
pub(crate) fn bytes_of(places: &[Place]) -> u64 {
    places.iter().map(|(_, _, bytes)| bytes).sum()
}

/// Buffers that are given back however this ends: in a browser they would lie there until the
/// collector comes.
struct Staging(Vec<wgpu::Buffer>);

impl Drop for Staging {
    fn drop(&mut self) {
        self.0.iter().for_each(wgpu::Buffer::destroy);
    }
}

impl Gpu {
    /// Hands `take` the bytes of each batch of places in turn, after all work queued so far. Those
    /// that follow are under way meanwhile.
    ///
    /// # Errors
    /// As [`Gpu::read`], and what `take` says.
    pub(crate) async fn stream_places(
        &self,
        batches: &[&[Place]],
        take: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        // The processor copies at once what it is asked for: more at a time is memory for nothing.
        let under_way = if self.is_processor() { 1 } else { UNDER_WAY }.min(batches.len());
        let largest = batches.iter().map(|batch| bytes_of(batch)).max().unwrap_or(0);
        let staging = Staging((0..under_way).map(|_| self.staging(largest)).collect());
        let begun = batches.iter().zip(&staging.0).map(|(batch, buffer)| self.reading_into(buffer.clone(), batch));
        let mut readings: VecDeque<Reading> = begun.collect();
        let mut following = batches.iter().skip(under_way);
        for batch in batches {
            let Some(reading) = readings.pop_front() else { break };
            let buffer = self.mapped(reading).await?;
            let view = buffer.get_mapped_range(..).map_err(|e| Error::Gpu { detail: e.to_string() })?;
            let taken = take(&view[..bytes_of(batch) as usize]);
            drop(view);
            buffer.unmap();
            taken?;
            readings.extend(following.next().map(|next| self.reading_into(buffer, next)));
        }
        Ok(())
    }
}
