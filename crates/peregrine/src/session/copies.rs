//! Copies of recurrent states, on the GPU or in the host's memory.
//!
//! A copy on the host is a buffer that the host may map: with a GPU of its own such buffers lie in
//! the host's memory, and moving a copy there is a command like any other, which nobody waits for.
//! Where GPU and host share their memory it is the same memory.

use std::rc::Rc;

use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::state::{LayerState, State};

/// Most bytes of a buffer, if one layer is not more.
const MOST: u64 = 64 << 20;

/// conv and SSM states of all layers, several layers a buffer.
#[derive(Clone)]
pub(super) struct Copies {
    buffers: Rc<Buffers>,
    on_host: bool,
}

/// Gives its memory back when it goes: in a browser a buffer that is only dropped lies there until
/// the collector comes, which knows nothing of the GPU's memory.
struct Buffers(Vec<wgpu::Buffer>);

impl Drop for Buffers {
    fn drop(&mut self) {
        self.0.iter().for_each(wgpu::Buffer::destroy);
    }
}

impl Copies {
    /// Copies what the state has now. `spare`: copies that nobody needs any more, on the GPU.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn of(gpu: &Gpu, state: &State, spare: Option<Self>) -> Result<Self> {
        let (count, bytes) = layout(gpu, state);
        let room = |layers: &[LayerState]| gpu.storage("snapshot", layers.len() as u64 * bytes);
        let copies = match spare {
            Some(copies) => copies,
            None => {
                let buffers = state.layers.chunks(count).map(room).collect::<Result<Vec<_>>>()?;
                Self { buffers: Rc::new(Buffers(buffers)), on_host: false }
            }
        };
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        for (layer, copy, at) in copies.places(gpu, state) {
            encoder.copy_buffer_to_buffer(&layer.conv, 0, copy, at, layer.conv.size());
            encoder.copy_buffer_to_buffer(&layer.ssm, 0, copy, at + layer.conv.size(), layer.ssm.size());
        }
        gpu.queue().submit([encoder.finish()]);
        Ok(copies)
    }

    pub fn on_host(&self) -> bool {
        self.on_host
    }

    pub fn bytes(&self) -> u64 {
        self.buffers.0.iter().map(wgpu::Buffer::size).sum()
    }

    /// Copies of the copies, on the host.
    pub fn to_host(&self, gpu: &Gpu) -> Self {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        let copy = |buffer: &wgpu::Buffer| {
            let there = gpu.staging(buffer.size());
            encoder.copy_buffer_to_buffer(buffer, 0, &there, 0, buffer.size());
            there
        };
        let buffers = self.buffers.0.iter().map(copy).collect();
        gpu.queue().submit([encoder.finish()]);
        Self { buffers: Rc::new(Buffers(buffers)), on_host: true }
    }

    /// Where each layer's copy begins.
    fn places<'a>(
        &'a self,
        gpu: &Gpu,
        state: &'a State,
    ) -> impl Iterator<Item = (&'a LayerState, &'a wgpu::Buffer, u64)> {
        let (count, bytes) = layout(gpu, state);
        let place = move |(i, layer)| (layer, &self.buffers.0[i / count], (i % count) as u64 * bytes);
        state.layers.iter().enumerate().map(place)
    }

    /// Those of a snapshot that never leaves the GPU.
    pub fn on_gpu(&self) -> Readable<'_> {
        debug_assert!(!self.on_host);
        Readable { copies: self }
    }

    /// Makes them readable, if they are on the host: they are as long as the result lives. Until
    /// then nothing has changed.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub async fn ready(&self, gpu: &Gpu) -> Result<Readable<'_>> {
        let readable = Readable { copies: self };
        if self.on_host {
            for buffer in &self.buffers.0 {
                gpu.map(buffer).await?;
            }
        }
        Ok(readable)
    }
}

/// Copies that a state can be made of at once.
pub(super) struct Readable<'a> {
    copies: &'a Copies,
}

impl Readable<'_> {
    /// Overwrites the state's convolution and SSM states.
    ///
    /// # Errors
    /// [`Error::Gpu`] before anything has changed.
    pub fn put_back(&self, gpu: &Gpu, state: &State) -> Result<()> {
        let wrong = |e: wgpu::MapRangeError| Error::Gpu { detail: e.to_string() };
        if self.copies.on_host {
            for (layer, copy, at) in self.copies.places(gpu, state) {
                let (conv, end) = (layer.conv.size(), layer.conv.size() + layer.ssm.size());
                let bytes = copy.get_mapped_range(at..at + end).map_err(wrong)?;
                gpu.write(&layer.conv, 0, &bytes[..conv as usize]);
                gpu.write(&layer.ssm, 0, &bytes[conv as usize..]);
            }
            return Ok(());
        }
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        for (layer, copy, at) in self.copies.places(gpu, state) {
            encoder.copy_buffer_to_buffer(copy, at, &layer.conv, 0, layer.conv.size());
            encoder.copy_buffer_to_buffer(copy, at + layer.conv.size(), &layer.ssm, 0, layer.ssm.size());
        }
        gpu.queue().submit([encoder.finish()]);
        Ok(())
    }
}

impl Drop for Readable<'_> {
    /// Also where it was given up while the host waited.
    fn drop(&mut self) {
        if self.copies.on_host {
            self.copies.buffers.0.iter().for_each(wgpu::Buffer::unmap);
        }
    }
}

/// Layers in a buffer of copies, and bytes of one.
fn layout(gpu: &Gpu, state: &State) -> (usize, u64) {
    let layer = state.layers.first().map_or(1, |layer| layer.conv.size() + layer.ssm.size());
    let count = (MOST.min(gpu.max_binding()) / layer).max(1) as usize;
    (count, layer)
}
