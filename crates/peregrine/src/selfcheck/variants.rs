//! The ways to drive a device, from the best to the plainest.

use crate::gpu::{DeviceKind, Gpu, GpuOptions, Reduction, ShapeClass};

/// What is tried, in order. `gpu` is the device as `options` opens it, which says what was chosen
/// for it.
pub(super) fn variants(options: &GpuOptions, gpu: &Gpu) -> Vec<GpuOptions> {
    let mut ways = vec![options.clone()];
    if gpu.is_processor() {
        return ways;
    }
    let plain = GpuOptions {
        cooperative: false,
        reduction: Some(Reduction::Workgroup),
        shapes: Some(gpu.shapes()),
        ..options.clone()
    };
    if gpu.cooperative() {
        ways.push(GpuOptions { cooperative: false, ..options.clone() });
    }
    if gpu.reduction() == Reduction::Subgroup {
        ways.push(plain.clone());
    }
    if !options.baseline {
        ways.push(GpuOptions { baseline: true, ..plain.clone() });
    }
    let other = match gpu.shapes() {
        ShapeClass::Hardware => ShapeClass::Software,
        ShapeClass::Software => ShapeClass::Hardware,
    };
    ways.push(GpuOptions { shapes: Some(other), ..plain });
    if options.takes_processor() {
        // Where no GPU is right.
        ways.push(GpuOptions { device: DeviceKind::Cpu, ..options.clone() });
    }
    ways
}

/// How a device is driven, in words.
pub(super) fn in_words(gpu: &Gpu, way: &GpuOptions) -> String {
    if gpu.is_processor() {
        return "the processor".into();
    }
    let shapes = match gpu.shapes() {
        ShapeClass::Hardware => "GPU shapes",
        ShapeClass::Software => "software shapes",
    };
    let sums = match gpu.reduction() {
        Reduction::Subgroup => "subgroup sums",
        Reduction::Workgroup => "workgroup sums",
    };
    let limits = if way.baseline { ", baseline limits" } else { "" };
    let cooperative = if gpu.cooperative() { ", cooperative matrices" } else { "" };
    format!("{shapes}, {sums}{limits}{cooperative}")
}
