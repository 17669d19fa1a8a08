//! A model on the wgpu device that an app has already:
//! `cargo run --release -p peregrine --example own_device -- MODEL`.
//!
//! The app squares a few numbers with a shader of its own before and after the model answers, on
//! the same queue.

use peregrine::{Checkpoint, Engine, GenerateOptions, Gpu, GpuOptions, LoadOptions, Message, Session};
use wgpu::util::DeviceExt as _;

const SQUARES: &str = "
@group(0) @binding(0) var<storage, read_write> numbers: array<f32>;
@compute @workgroup_size(4) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  numbers[id.x] = numbers[id.x] * numbers[id.x];
}";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = std::env::args().nth(1).ok_or("which model? A GGUF file, a folder, or an address")?;
    pollster::block_on(run(&model))
}

async fn run(model: &str) -> Result<(), Box<dyn std::error::Error>> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = instance.request_adapter(&wgpu::RequestAdapterOptions::default()).await?;
    let offered = adapter.limits();
    // What models want of a device: large bindings, and subgroups where there are any.
    let descriptor = wgpu::DeviceDescriptor {
        required_limits: wgpu::Limits {
            max_storage_buffer_binding_size: offered.max_storage_buffer_binding_size,
            max_buffer_size: offered.max_buffer_size,
            ..wgpu::Limits::defaults()
        },
        required_features: adapter.features() & wgpu::Features::SUBGROUP,
        ..Default::default()
    };
    let (device, queue) = adapter.request_device(&descriptor).await?;
    println!("squares before: {:?}", squares(&device, &queue)?);

    let gpu = Gpu::shared(&adapter, device.clone(), queue.clone(), &GpuOptions::default())?;
    let checkpoint = Checkpoint::open(model).await?;
    let engine = Engine::load(&gpu, &checkpoint, &LoadOptions::default(), &mut |_| {}).await?;
    let mut session = Session::new(&engine)?;
    let options = GenerateOptions { max_tokens: 16, ..GenerateOptions::default() };
    let answer = session.chat(&[Message::new("user", "What is a falcon?")], &options, &mut |_| true).await?;
    println!("the model: {}", answer.text);

    // The model goes, the device stays.
    drop((session, engine, gpu));
    println!("squares after: {:?}", squares(&device, &queue)?);
    Ok(())
}

/// What any app does with its device.
fn squares(device: &wgpu::Device, queue: &wgpu::Queue) -> Result<Vec<f32>, Box<dyn std::error::Error>> {
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
    let contents: &[u8] = bytemuck::cast_slice(&[1.0_f32, 2.0, 3.0, 4.0]);
    let numbers = device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: None, contents, usage });
    let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ;
    let result =
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 16, usage, mapped_at_creation: false });
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(SQUARES.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: None,
        compilation_options: Default::default(),
        cache: None,
    });
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[wgpu::BindGroupEntry { binding: 0, resource: numbers.as_entire_binding() }],
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    let mut pass = encoder.begin_compute_pass(&Default::default());
    pass.set_pipeline(&pipeline);
    pass.set_bind_group(0, &group, &[]);
    pass.dispatch_workgroups(1, 1, 1);
    drop(pass);
    encoder.copy_buffer_to_buffer(&numbers, 0, &result, 0, 16);
    queue.submit([encoder.finish()]);
    result.slice(..).map_async(wgpu::MapMode::Read, |_| {});
    device.poll(wgpu::PollType::wait_indefinitely())?;
    let squares = bytemuck::cast_slice(&result.slice(..).get_mapped_range()?).to_vec();
    Ok(squares)
}
