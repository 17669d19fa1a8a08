//! What is recorded, and what happens when it is submitted.

use std::sync::{Arc, Mutex};

use wgpu::custom as wg;

use super::{Group, Pipeline, Processor, Queries, unused};
use crate::cpu::kernels::Program;
use crate::cpu::memory::Buffer;

/// One command.
#[derive(Clone, Debug)]
enum Command {
    Copy { from: Buffer, offset: u64, to: Buffer, to_offset: u64, bytes: Option<u64> },
    Clear { buffer: Buffer, offset: u64, bytes: Option<u64> },
    Dispatch { program: Arc<Program>, groups: [Option<Group>; 2], grid: [u32; 3] },
    Stamp { queries: Queries, index: u32 },
    Resolve { queries: Queries, first: u32, count: u32, to: Buffer, offset: u64 },
}

type List = Arc<Mutex<Vec<Command>>>;

/// Commands that are being recorded.
#[derive(Debug, Default)]
pub struct Encoder(List);

/// Commands in order.
#[derive(Debug)]
pub struct Commands(Vec<Command>);

impl wg::CommandBufferInterface for Commands {}

impl Commands {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One after the other.
    pub fn run(&self, processor: &Processor) {
        for command in &self.0 {
            if let Err(wrong) = command.run(processor) {
                processor.faults.invalid(wrong);
            }
        }
    }
}

impl Command {
    fn run(&self, processor: &Processor) -> Result<(), String> {
        let inside = |inside: bool| if inside { Ok(()) } else { Err("a copy is outside of its buffers".to_string()) };
        match self {
            Self::Copy { from, offset, to, to_offset, bytes } => inside(from.copy(*offset, to, *to_offset, *bytes)),
            Self::Clear { buffer, offset, bytes } => inside(buffer.clear(*offset, *bytes)),
            Self::Dispatch { program, groups, grid } => {
                let [own, cache] = groups.each_ref().map(|group| group.as_ref().map_or(&[][..], |group| &group.0));
                program.run(own, cache, *grid)
            }
            Self::Stamp { queries, index } => {
                if let Some(slot) = queries.0.lock().ok().as_mut().and_then(|times| times.get_mut(*index as usize)) {
                    *slot = processor.now();
                }
                Ok(())
            }
            Self::Resolve { queries, first, count, to, offset } => {
                let times = queries.0.lock().map(|times| times.clone()).unwrap_or_default();
                let range = *first as usize..(*first + *count) as usize;
                inside(times.get(range).is_some_and(|times| to.put(*offset, bytemuck::cast_slice(times))))
            }
        }
    }
}

fn buffer(buffer: &wg::DispatchBuffer) -> Buffer {
    // Another device's is as one that is gone.
    buffer.as_custom::<Buffer>().cloned().unwrap_or_else(Buffer::empty)
}

fn add(list: &List, command: Command) {
    if let Ok(mut list) = list.lock() {
        list.push(command);
    }
}

fn stamp(list: &List, queries: &wg::DispatchQuerySet, index: u32) {
    if let Some(queries) = queries.as_custom::<Queries>() {
        add(list, Command::Stamp { queries: queries.clone(), index });
    }
}

impl wg::CommandEncoderInterface for Encoder {
    fn copy_buffer_to_buffer(
        &self,
        source: &wg::DispatchBuffer,
        offset: wgpu::BufferAddress,
        destination: &wg::DispatchBuffer,
        to_offset: wgpu::BufferAddress,
        bytes: Option<wgpu::BufferAddress>,
    ) {
        let (from, to) = (buffer(source), buffer(destination));
        add(&self.0, Command::Copy { from, offset, to, to_offset, bytes });
    }

    fn copy_buffer_to_texture(
        &self,
        _source: wgpu::TexelCopyBufferInfo<'_>,
        _destination: wgpu::TexelCopyTextureInfo<'_>,
        _size: wgpu::Extent3d,
    ) {
        unused::never("textures")
    }

    fn copy_texture_to_buffer(
        &self,
        _source: wgpu::TexelCopyTextureInfo<'_>,
        _destination: wgpu::TexelCopyBufferInfo<'_>,
        _size: wgpu::Extent3d,
    ) {
        unused::never("textures")
    }

    fn copy_texture_to_texture(
        &self,
        _source: wgpu::TexelCopyTextureInfo<'_>,
        _destination: wgpu::TexelCopyTextureInfo<'_>,
        _size: wgpu::Extent3d,
    ) {
        unused::never("textures")
    }

    fn begin_compute_pass(&self, desc: &wgpu::ComputePassDescriptor<'_>) -> wg::DispatchComputePass {
        let mut end = None;
        if let Some(writes) = &desc.timestamp_writes
            && let Some(queries) = writes.query_set.as_custom::<Queries>()
        {
            if let Some(index) = writes.beginning_of_pass_write_index {
                add(&self.0, Command::Stamp { queries: queries.clone(), index });
            }
            end = writes.end_of_pass_write_index.map(|index| (queries.clone(), index));
        }
        wg::DispatchComputePass::custom(Pass { list: self.0.clone(), program: None, groups: [None, None], end })
    }

    fn begin_render_pass(&self, _desc: &wgpu::RenderPassDescriptor<'_>) -> wg::DispatchRenderPass {
        unused::never("rendering")
    }

    fn finish(&mut self) -> wg::DispatchCommandBuffer {
        let commands = self.0.lock().map(|mut list| std::mem::take(&mut *list)).unwrap_or_default();
        wg::DispatchCommandBuffer::custom(Commands(commands))
    }

    fn clear_texture(&self, _texture: &wg::DispatchTexture, _range: &wgpu::ImageSubresourceRange) {
        unused::never("textures")
    }

    fn clear_buffer(&self, to: &wg::DispatchBuffer, offset: wgpu::BufferAddress, bytes: Option<wgpu::BufferAddress>) {
        add(&self.0, Command::Clear { buffer: buffer(to), offset, bytes });
    }

    fn insert_debug_marker(&self, _label: &str) {}

    fn push_debug_group(&self, _label: &str) {}

    fn pop_debug_group(&self) {}

    fn write_timestamp(&self, queries: &wg::DispatchQuerySet, index: u32) {
        stamp(&self.0, queries, index);
    }

    fn resolve_query_set(
        &self,
        queries: &wg::DispatchQuerySet,
        first: u32,
        count: u32,
        destination: &wg::DispatchBuffer,
        offset: wgpu::BufferAddress,
    ) {
        if let Some(queries) = queries.as_custom::<Queries>() {
            let (queries, to) = (queries.clone(), buffer(destination));
            add(&self.0, Command::Resolve { queries, first, count, to, offset });
        }
    }

    fn mark_acceleration_structures_built<'a>(
        &self,
        _blas: &mut dyn Iterator<Item = &'a wgpu::Blas>,
        _tlas: &mut dyn Iterator<Item = &'a wgpu::Tlas>,
    ) {
        unused::never("ray tracing")
    }

    fn build_acceleration_structures<'a>(
        &self,
        _blas: &mut dyn Iterator<Item = &'a wgpu::BlasBuildEntry<'a>>,
        _tlas: &mut dyn Iterator<Item = &'a wgpu::Tlas>,
    ) {
        unused::never("ray tracing")
    }

    fn transition_resources<'a>(
        &mut self,
        _buffers: &mut dyn Iterator<Item = wgpu::wgt::BufferTransition<&'a wg::DispatchBuffer>>,
        _textures: &mut dyn Iterator<Item = wgpu::wgt::TextureTransition<&'a wg::DispatchTexture>>,
    ) {
    }
}

/// A pass that is being recorded.
#[derive(Debug)]
struct Pass {
    list: List,
    program: Option<Arc<Program>>,
    groups: [Option<Group>; 2],
    /// What is written when it ends.
    end: Option<(Queries, u32)>,
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some((queries, index)) = self.end.take() {
            add(&self.list, Command::Stamp { queries, index });
        }
    }
}

impl wg::ComputePassInterface for Pass {
    fn set_pipeline(&mut self, pipeline: &wg::DispatchComputePipeline) {
        // One that could not be made has been told of.
        self.program = pipeline.as_custom::<Pipeline>().and_then(|pipeline| pipeline.0.as_ref().ok().cloned());
    }

    fn set_bind_group(&mut self, index: u32, group: Option<&wg::DispatchBindGroup>, _offsets: &[wgpu::DynamicOffset]) {
        if let Some(slot) = self.groups.get_mut(index as usize) {
            *slot = group.and_then(|group| group.as_custom::<Group>().cloned());
        }
    }

    fn set_immediates(&mut self, _offset: u32, _data: &[u8]) {
        unused::never("immediates")
    }

    fn insert_debug_marker(&mut self, _label: &str) {}

    fn push_debug_group(&mut self, _label: &str) {}

    fn pop_debug_group(&mut self) {}

    fn write_timestamp(&mut self, queries: &wg::DispatchQuerySet, index: u32) {
        stamp(&self.list, queries, index);
    }

    fn begin_pipeline_statistics_query(&mut self, _queries: &wg::DispatchQuerySet, _index: u32) {}

    fn end_pipeline_statistics_query(&mut self) {}

    fn dispatch_workgroups(&mut self, x: u32, y: u32, z: u32) {
        if let Some(program) = self.program.clone() {
            add(&self.list, Command::Dispatch { program, groups: self.groups.clone(), grid: [x, y, z] });
        }
    }

    fn dispatch_workgroups_indirect(&mut self, _buffer: &wg::DispatchBuffer, _offset: wgpu::BufferAddress) {
        unused::never("indirect dispatches")
    }

    fn transition_resources<'a>(
        &mut self,
        _buffers: &mut dyn Iterator<Item = wgpu::wgt::BufferTransition<&'a wg::DispatchBuffer>>,
        _textures: &mut dyn Iterator<Item = wgpu::wgt::TextureTransition<&'a wg::DispatchTextureView>>,
    ) {
    }
}
