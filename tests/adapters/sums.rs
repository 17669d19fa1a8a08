//! The sums of `shaders/lora/publish.wgsl`, next to whole numbers of the host.

use bytemuck::cast_slice;

use super::*;
use crate::shaders::expand::expand;

/// What four sums are of as many workgroups, which add a value to each.
const PUBLISH: &str = "
@group(0) @binding(0) var<storage, read> values: array<f32>;
@group(0) @binding(1) var<storage, read_write> sums_out: array<atomic<i32>>;

@compute @workgroup_size(4)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) k: u32) {
  publish(group.x, k, values[4u * group.x + k]);
}
";

const READ: &str = "
@group(0) @binding(0) var<storage, read> sums_in: array<vec4<i32>>;
@group(0) @binding(1) var<storage, read_write> numbers: array<f32>;
var<private> lora_b: array<f32, 1>;
var<private> x: array<vec4<f32>, 1>;
struct Step { splits: u32 }
var<private> now: Step;
const SPLITS_OFFSET: u32 = 0u;
const HEAD: u32 = 1u;
override THREADS: u32 = 4u;

@compute @workgroup_size(4)
fn main(@builtin(local_invocation_index) index: u32) {
  let ranks = vec2<u32>(4u, 0u);
  stage(ranks, index, published_at(index, ranks), published_at(index + THREADS, ranks));
  workgroupBarrier();
  numbers[index] = t_of(index, ranks);
}
";

/// A device for programs of our own.
struct Own {
    device: wgpu::Device,
    queue: wgpu::Queue,
    gpu: Gpu,
}

fn own() -> Own {
    let instance = wgpu::Instance::default();
    let adapter = block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default())).unwrap();
    let (device, queue) = block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
    let gpu = Gpu::shared(&adapter, device.clone(), queue.clone(), &GpuOptions::default()).unwrap();
    Own { device, queue, gpu }
}

/// Runs a program with two buffers.
fn run(Own { device, queue, .. }: &Own, source: &str, buffers: [&wgpu::Buffer; 2], groups: u32) {
    let source = wgpu::ShaderSource::Wgsl(source.into());
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let entries =
        [0, 1].map(|binding| wgpu::BindGroupEntry { binding, resource: buffers[binding as usize].as_entire_binding() });
    let layout = pipeline.get_bind_group_layout(0);
    let group =
        device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    pass.set_pipeline(&pipeline);
    pass.set_bind_group(0, &group, &[]);
    pass.dispatch_workgroups(groups, 1, 1);
    drop(pass);
    queue.submit([encoder.finish()]);
}

fn text(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shaders/lora").join(name);
    expand(name, &std::fs::read_to_string(path).unwrap(), None).unwrap()
}

/// Four sums of values \[workgroups, 4\] on the GPU.
fn summed(own: &Own, values: &[f32]) -> Vec<f32> {
    let gpu = &own.gpu;
    let values_on = gpu.storage_of("values", values).unwrap();
    let sums = gpu.storage_of("sums", &[0.0; 16 * 16]).unwrap();
    let numbers = gpu.storage_of("numbers", &[f32::NAN; 4]).unwrap();
    run(
        own,
        &(text("publish.wgsl").replace("SUM_RANKS: u32 = 0u", "SUM_RANKS: u32 = 4u") + PUBLISH),
        [&values_on, &sums],
        values.len() as u32 / 4,
    );
    let constants = [
        ("PUBLISHED: u32 = 0u", "PUBLISHED: u32 = 1u"),
        ("SHARE_RANKS: u32 = 0u", "SHARE_RANKS: u32 = 4u"),
        ("T_SHARES: u32 = 1u", "T_SHARES: u32 = 32u"),
    ];
    let published = constants.iter().fold(text("published.wgsl"), |text, (from, to)| text.replace(from, to));
    run(own, &(published + READ), [&sums, &numbers], 1);
    block_on(gpu.read(&numbers, 0, 4)).unwrap()
}

/// Values with exponents from `low` to `high`, some of them negative, in an order of their own.
fn values(count: usize, low: i32, high: i32) -> Vec<f32> {
    let mut state = 1u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    let value = |mantissa: u32, exponent: u32| {
        let exponent = low + (exponent % (high - low + 1) as u32) as i32;
        (f64::from(mantissa as i32) / 2f64.powi(30) * 2f64.powi(exponent)) as f32
    };
    (0..count).map(|_| value(next() << 1, next())).collect()
}

/// The exact sum, and that of the magnitudes, of every fourth value, where none is below 2^`unit`.
fn exact_sum(values: &[f32], k: usize, unit: i32) -> [f64; 2] {
    let whole = |value: f32| (f64::from(value) * 2f64.powi(-unit)) as i128;
    let sum = |of: fn(i128) -> i128| values.iter().skip(k).step_by(4).map(|value| of(whole(*value))).sum::<i128>();
    [sum(|value| value), sum(i128::abs)].map(|sum| sum as f64 * 2f64.powi(unit))
}

#[test]
fn sums_are_exact_and_know_no_order() {
    let own = own();
    for (count, low, high) in [(1, 0, 3), (37, -3, 12), (300, -24, 20), (300, 20, 28), (8192, -10, 10)] {
        let values = values(4 * count, low, high);
        let found = summed(&own, &values);
        for (k, found) in found.iter().enumerate() {
            let [sum, magnitude] = exact_sum(&values, k, low - 60);
            let apart = (f64::from(*found) - sum).abs();
            assert!(apart <= 2f64.powi(-22) * magnitude, "{count} from 2^{low}: {found}, {sum}");
        }
        // Any order in which those of a slot come has the same bits.
        let mut turned = values.clone();
        for at in 0..count.min(16) {
            for (to, from) in (4 * at..4 * count).step_by(64).zip((4 * at..4 * count).step_by(64).rev()) {
                turned[to..to + 4].copy_from_slice(&values[from..from + 4]);
            }
        }
        assert_eq!(bits(&summed(&own, &turned)), bits(&found));
    }
}

fn bits(values: &[f32]) -> &[u32] {
    cast_slice(values)
}

/// Digits are full, and what cancels leaves what is small.
#[test]
fn no_range_is_lost() {
    let own = own();
    let same = |values: [f32; 4], count: usize| summed(&own, &values.repeat(count));
    let most = f32::from_bits(0x3f7f_ffff);
    for exponent in [-28, -18, -8, 0, 13, 14, 15, 30] {
        let value = most * 2f32.powi(exponent);
        let all = 8192.0 * value;
        assert_eq!(same([value, -value, value, 0.0], 8192), [all, -all, all, 0.0], "2^{exponent}");
    }
    // Below 2^-52 what is left of a value counts.
    assert_eq!(
        same([2f32.powi(-52), -1.5 * 2f32.powi(-52), 2f32.powi(-53), 1e-40], 1),
        [2f32.powi(-52), -2f32.powi(-52), 0.0, 0.0]
    );
    // One slot.
    let large = 2f32.powi(29);
    for small in [1.0, 2f32.powi(-28), 2f32.powi(-51)] {
        let mut values = [0.0; 4 * 64];
        for (at, value) in [large, -small, -large, 3.0 * small].into_iter().enumerate() {
            values[64 * at..64 * at + 4].fill(value);
        }
        assert_eq!(summed(&own, &values), [2.0 * small; 4]);
    }
}

/// Nor do numbers beyond the digits count as others.
#[test]
fn infinities_and_nan_are_never_numbers() {
    let own = own();
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -(2f32.powi(30))] {
        let mut values = values(4 * 100, 0, 29);
        values[40] = wrong;
        values[200] = wrong;
        values[81] = wrong;
        let found = summed(&own, &values);
        let finite: Vec<bool> = found.iter().map(|number| number.is_finite()).collect();
        assert_eq!(finite, [false, false, true, true], "{found:?}");
    }
}
