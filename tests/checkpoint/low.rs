//! The quantizers that search: against one that only looks at the least and the greatest value,
//! against the field's own, and read by the field's own package.

use std::rc::Rc;

use peregrine::checkpoint::{Checkpoint, MemorySource};
use peregrine::format::Format;
use peregrine_tests::{checkpoint, golden_path};
use peregrine_workbench::quantize::{QuantizeOptions, quantize};
use pollster::block_on;

use super::toy::Noise;

fn normal() -> Vec<f32> {
    let mut noise = Noise(21);
    (0..256 * 256).map(|_| 0.02 * noise.normal()).collect()
}

/// Student's t with 3 degrees of freedom: some values are twenty times larger than most.
fn heavy() -> Vec<f32> {
    let mut noise = Noise(22);
    let mut next = || {
        let squares: f32 = (0..3).map(|_| noise.normal().powi(2)).sum();
        0.02 * noise.normal() / (squares / 3.0).sqrt()
    };
    (0..256 * 256).map(|_| next()).collect()
}

fn mean_square(values: &[f32], back: &[f32]) -> f64 {
    let miss = values.iter().zip(back).map(|(v, b)| f64::from(v - b).powi(2));
    miss.sum::<f64>() / values.len() as f64
}

fn error(format: Format, values: &[f32]) -> f64 {
    let spec = format.spec();
    let mut bytes = vec![0; values.len() / spec.block as usize * spec.bytes as usize];
    assert!(spec.quantize_blocks(values, &mut bytes), "{format} is not written");
    let mut back = vec![f32::NAN; values.len()];
    spec.dequantize_blocks(&bytes, &mut back);
    mean_square(values, &back)
}

/// Mean square errors of ggml's quantizers (commit d99724f2, no importance matrix, decoded by the
/// Python package gguf) on the same values: format, normal, heavy.
const GGML: [(Format, f64, f64); 7] = [
    (Format::Q2_K, 3.421129e-5, 1.425303e-4),
    (Format::Q3_K, 8.905226e-6, 4.269046e-5),
    (Format::IQ4_NL, 2.254709e-6, 1.179208e-5),
    (Format::IQ4_XS, 2.288516e-6, 1.203770e-5),
    (Format::Q4_K, 1.976025e-6, 9.820954e-6),
    (Format::Q5_K, 5.041276e-7, 2.575118e-6),
    (Format::Q6_K, 1.204820e-7, 7.520200e-7),
];

#[test]
fn errors_are_not_above_the_fields() {
    let (normal, heavy) = (normal(), heavy());
    for (format, on_normal, on_heavy) in GGML {
        for (what, values, bound) in [("normal", &normal, on_normal), ("heavy", &heavy, on_heavy)] {
            let found = error(format, values);
            println!("{format} {what}: {found:.3e}, {:.3} of ggml's", found / bound);
            assert!(found <= 1.001 * bound, "{format}, {what}: {found:e}, ggml {bound:e}");
        }
    }
}

/// To the nearest of `0..=top`.
fn step(x: f32, unit: f32, top: f32) -> f32 {
    if unit == 0.0 { 0.0 } else { (x / unit).round().clamp(0.0, top) }
}

/// What 256 values become when every group's range sets its scale, stored as coarsely as the format
/// does.
fn min_max(format: Format, values: &[f32]) -> Vec<f32> {
    let largest = |values: &[f32]| values.iter().fold(0.0f32, |most, v| most.max(v.abs()));
    let size = if matches!(format, Format::Q2_K | Format::Q3_K) { 16 } else { 32 };
    if format == Format::Q2_K {
        let ranges: Vec<(f32, f32)> = values
            .chunks(16)
            .map(|g| (g.iter().copied().fold(0.0, f32::min), g.iter().copied().fold(0.0, f32::max)))
            .collect();
        let d = ranges.iter().fold(0.0f32, |most, (low, high)| most.max((high - low) / 3.0)) / 15.0;
        let dmin = ranges.iter().fold(0.0f32, |most, (low, _)| most.max(-low)) / 15.0;
        let groups = values.chunks(16).zip(ranges).flat_map(|(group, (low, high))| {
            let (scale, min) = (d * step((high - low) / 3.0, d, 15.0), dmin * step(-low, dmin, 15.0));
            group.iter().map(move |x| scale * step(x + min, scale, 3.0) - min)
        });
        return groups.collect();
    }
    // The largest magnitude becomes the outermost code of both signs.
    let steps: &[f32] = match format {
        Format::Q3_K => &[-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0],
        _ => {
            &[-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0]
        }
    };
    let last = steps[steps.len() - 1];
    let d = largest(values) / last / 31.0;
    let groups = values.chunks(size).flat_map(|group| {
        let scale = largest(group) / last;
        let scale = if format == Format::IQ4_NL { scale } else { d * step(scale, d, 31.0) };
        group.iter().map(move |x| {
            let nearest = steps.iter().map(|s| s * scale).min_by(|a, b| (a - x).abs().total_cmp(&(b - x).abs()));
            nearest.unwrap()
        })
    });
    groups.collect()
}

#[test]
fn errors_are_below_those_of_the_range() {
    for (what, values) in [("normal", normal()), ("heavy", heavy())] {
        for format in [Format::Q2_K, Format::Q3_K, Format::IQ4_NL, Format::IQ4_XS] {
            let naive: Vec<f32> = values.chunks(256).flat_map(|block| min_max(format, block)).collect();
            let (naive, found) = (mean_square(&values, &naive), error(format, &values));
            println!("{format} {what}: {found:.3e}, {:.3} of min-max's", found / naive);
            assert!(found < 0.95 * naive, "{format}, {what}: {found:e}, min-max {naive:e}");
        }
    }
}

/// `tests/golden/low.py` makes the file.
#[test]
fn the_fields_package_reads_the_same_values() {
    let golden = std::fs::read(golden_path("low.json")).unwrap();
    let golden: serde_json::Value = serde_json::from_slice(&golden).unwrap();
    let input = checkpoint(&golden_path("quant.gguf"));
    for (target, tensors) in golden.as_object().unwrap() {
        let mut out = Vec::new();
        let options = QuantizeOptions::new(target.parse().unwrap());
        block_on(quantize(&input, &mut out, &options, &mut |_, _| {})).unwrap();
        let output = block_on(Checkpoint::open_gguf(Rc::new(MemorySource::new("low", out)))).unwrap();
        let tensors = tensors.as_object().unwrap();
        assert_eq!(output.tensors().filter(|t| t.format != Format::F32).count(), tensors.len());
        for tensor in output.tensors().filter(|t| t.format != Format::F32) {
            let values = block_on(output.read_rows_f32(tensor, 0, tensor.rows())).unwrap();
            let hash = values.iter().fold(0u32, |h, v| h.wrapping_mul(31).wrapping_add(v.to_bits()));
            let expected = serde_json::json!([tensor.format.spec().name, hash]);
            assert_eq!(tensors[&tensor.stored_name], expected, "{target}: {}", tensor.stored_name);
        }
    }
}

/// Signs, spikes and groups of zeros: no value moves further than its group's coarsest step.
#[test]
fn one_spike_does_not_spoil_the_other_groups() {
    for format in [Format::Q2_K, Format::Q3_K, Format::IQ4_XS] {
        let mut noise = Noise(5);
        let mut values: Vec<f32> = (0..256).map(|_| noise.normal()).collect();
        let before = error(format, &values);
        values[37] = -30.0;
        let (mut bytes, mut back) = (vec![0; format.spec().bytes as usize], vec![0.0; 256]);
        assert!(format.spec().quantize_blocks(&values, &mut bytes));
        format.spec().dequantize_blocks(&bytes, &mut back);
        assert!((back[37] - values[37]).abs() < 3.0, "{format}: {}", back[37]);
        let others: f64 = mean_square(&values[64..], &back[64..]);
        assert!(others < 4.0 * before, "{format}: {others} and {before} without the spike");
    }
}
