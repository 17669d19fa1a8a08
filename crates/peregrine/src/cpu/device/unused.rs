//! The device's part of wgpu's interface: what the runtime uses is in [`super::Device`], the rest
//! says that it is not there.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use wgpu::custom as wg;

use super::{Device, Layout, Queries};

/// The runtime computes, and nothing else.
pub fn never(what: &str) -> ! {
    panic!("the processor as a device has no {what}")
}

#[expect(unsafe_code, reason = "wgpu's interface; nothing here is")]
impl wg::DeviceInterface for Device {
    fn features(&self) -> wgpu::Features {
        crate::cpu::FEATURES
    }

    fn limits(&self) -> wgpu::Limits {
        crate::cpu::limits()
    }

    fn adapter_info(&self) -> wgpu::AdapterInfo {
        crate::cpu::info()
    }

    fn create_shader_module(
        &self,
        desc: wgpu::ShaderModuleDescriptor<'_>,
        _checks: wgpu::ShaderRuntimeChecks,
    ) -> wg::DispatchShaderModule {
        wg::DispatchShaderModule::custom(self.module(&desc))
    }

    unsafe fn create_shader_module_passthrough(
        &self,
        _desc: &wgpu::ShaderModuleDescriptorPassthrough<'_>,
    ) -> wg::DispatchShaderModule {
        never("shaders")
    }

    fn create_bind_group_layout(&self, _desc: &wgpu::BindGroupLayoutDescriptor<'_>) -> wg::DispatchBindGroupLayout {
        wg::DispatchBindGroupLayout::custom(Layout)
    }

    fn create_bind_group(&self, desc: &wgpu::BindGroupDescriptor<'_>) -> wg::DispatchBindGroup {
        wg::DispatchBindGroup::custom(self.group(desc))
    }

    fn create_pipeline_layout(&self, _desc: &wgpu::PipelineLayoutDescriptor<'_>) -> wg::DispatchPipelineLayout {
        wg::DispatchPipelineLayout::custom(Layout)
    }

    fn create_render_pipeline(&self, _desc: &wgpu::RenderPipelineDescriptor<'_>) -> wg::DispatchRenderPipeline {
        never("rendering")
    }

    fn create_mesh_pipeline(&self, _desc: &wgpu::MeshPipelineDescriptor<'_>) -> wg::DispatchRenderPipeline {
        never("rendering")
    }

    fn create_compute_pipeline(&self, desc: &wgpu::ComputePipelineDescriptor<'_>) -> wg::DispatchComputePipeline {
        wg::DispatchComputePipeline::custom(self.compute_pipeline(desc))
    }

    unsafe fn create_pipeline_cache(&self, _desc: &wgpu::PipelineCacheDescriptor<'_>) -> wg::DispatchPipelineCache {
        never("pipeline caches")
    }

    fn create_buffer(&self, desc: &wgpu::BufferDescriptor<'_>) -> wg::DispatchBuffer {
        wg::DispatchBuffer::custom(self.buffer(desc))
    }

    fn create_texture(&self, _desc: &wgpu::TextureDescriptor<'_>) -> wg::DispatchTexture {
        never("textures")
    }

    fn create_external_texture(
        &self,
        _desc: &wgpu::ExternalTextureDescriptor<'_>,
        _planes: &[&wgpu::TextureView],
    ) -> wg::DispatchExternalTexture {
        never("textures")
    }

    fn create_blas(
        &self,
        _desc: &wgpu::CreateBlasDescriptor<'_>,
        _sizes: wgpu::BlasGeometrySizeDescriptors,
    ) -> (Option<u64>, wg::DispatchBlas) {
        never("ray tracing")
    }

    fn create_tlas(&self, _desc: &wgpu::CreateTlasDescriptor<'_>) -> wg::DispatchTlas {
        never("ray tracing")
    }

    fn create_sampler(&self, _desc: &wgpu::SamplerDescriptor<'_>) -> wg::DispatchSampler {
        never("textures")
    }

    fn create_query_set(&self, desc: &wgpu::QuerySetDescriptor<'_>) -> wg::DispatchQuerySet {
        wg::DispatchQuerySet::custom(Queries(Arc::new(Mutex::new(vec![0; desc.count as usize]))))
    }

    fn create_command_encoder(&self, _desc: &wgpu::CommandEncoderDescriptor<'_>) -> wg::DispatchCommandEncoder {
        wg::DispatchCommandEncoder::custom(self.encoder())
    }

    fn create_render_bundle_encoder(
        &self,
        _desc: &wgpu::RenderBundleEncoderDescriptor<'_>,
    ) -> wg::DispatchRenderBundleEncoder {
        never("rendering")
    }

    fn set_device_lost_callback(&self, callback: wg::BoxDeviceLostCallback) {
        self.0.set_on_lost(callback);
    }

    fn on_uncaptured_error(&self, handler: Arc<dyn wgpu::UncapturedErrorHandler>) {
        self.0.faults.set_handler(handler);
    }

    fn push_error_scope(&self, filter: wgpu::ErrorFilter) -> u32 {
        self.0.faults.push(filter)
    }

    fn pop_error_scope(&self, index: u32) -> Pin<Box<dyn wg::PopErrorScopeFuture>> {
        Box::pin(std::future::ready(self.0.faults.pop(index)))
    }

    unsafe fn start_graphics_debugger_capture(&self) {}

    unsafe fn stop_graphics_debugger_capture(&self) {}

    fn poll(&self, _kind: wgpu::wgt::PollType<u64>) -> Result<wgpu::PollStatus, wgpu::PollError> {
        Ok(wgpu::PollStatus::QueueEmpty)
    }

    fn get_internal_counters(&self) -> wgpu::InternalCounters {
        wgpu::InternalCounters::default()
    }

    fn generate_allocator_report(&self) -> Option<wgpu::AllocatorReport> {
        None
    }

    fn destroy(&self) {
        self.0.lose();
    }
}
