//! Every block format on the GPU, in every kernel that reads weights, four of them in one matrix:
//! against the CPU twin.

use std::collections::HashSet;
use std::rc::Rc;

use peregrine::checkpoint::{Checkpoint, MemorySource};
use peregrine::format::{FORMATS, Format};
use peregrine::gpu::{Alter, Gpu, GpuOptions, Reduction, ShapeClass};
use peregrine::inspect::Comparison;
use peregrine::kernels::{Formats, KERNELS};
use peregrine::model::LoadOptions;
use peregrine::state::KvType;
use peregrine_tests::{gguf_header, gpu, processor, session};
use peregrine_workbench::check::check;
use pollster::block_on;

fn noise(state: &mut u64) -> u32 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 32) as u32
}

/// Random blocks: any code, small scales of either sign.
fn random(format: Format, bytes: usize, state: &mut u64) -> Vec<u8> {
    let spec = format.spec();
    let blocks = bytes / spec.bytes as usize;
    if spec.block == 1 {
        let values: Vec<f32> = (0..blocks).map(|_| (noise(state) as f32 / 2f32.powi(31) - 1.0) * 0.1).collect();
        let mut out = vec![0; bytes];
        assert!(spec.quantize_blocks(&values, &mut out));
        return out;
    }
    let mut out: Vec<u8> = (0..bytes).map(|_| (noise(state) >> 24) as u8).collect();
    let mut values = vec![0.0; spec.block as usize];
    for block in out.chunks_exact_mut(spec.bytes as usize) {
        // Smaller exponents, bits 8 to 15 of a half, until the weights are small.
        for exponent in (0..8).rev().map(|by| 4 * by) {
            for &at in spec.halves {
                block[at + 1] = block[at + 1] & 0x83 | exponent;
            }
            spec.dequantize_blocks(block, &mut values);
            if values.iter().all(|value| value.abs() < 0.25) {
                break;
            }
        }
    }
    out
}

/// Two layers of width 256; the matrices take the formats of the table in turn, from the `first`
/// on.
fn model(first: usize) -> (Checkpoint, HashSet<Format>) {
    const D: u64 = 256;
    const V: u64 = 96;
    let sizes = [
        ("context_length", 512),
        ("embedding_length", 256),
        ("feed_forward_length", 256),
        ("block_count", 2),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("attention.key_length", 64),
        ("attention.value_length", 64),
        ("ssm.conv_kernel", 4),
        ("ssm.inner_size", 256),
        ("ssm.state_size", 16),
        ("ssm.time_step_rank", 4),
        ("ssm.group_count", 1),
    ];
    let mut header = gguf_header(&sizes, V as u32);

    let conv = 256 + 2 * 16;
    let mut tensors: Vec<(String, Vec<u64>, bool)> = vec![
        ("token_embd.weight".into(), vec![D, V], true),
        ("output.weight".into(), vec![D, V], true),
        ("output_norm.weight".into(), vec![D], false),
    ];
    for layer in 0..2 {
        for (name, dims, matrix) in [
            ("attn_q.weight", &[D, 256][..], true),
            ("attn_k.weight", &[D, 128], true),
            ("attn_v.weight", &[D, 128], true),
            ("ssm_in.weight", &[D, 256 + conv + 4], true),
            ("attn_output.weight", &[256, D], true),
            ("ssm_out.weight", &[256, D], true),
            ("ffn_gate.weight", &[D, 256], true),
            ("ffn_up.weight", &[D, 256], true),
            ("ffn_down.weight", &[256, D], true),
            ("attn_norm.weight", &[D], false),
            ("ffn_norm", &[D], false),
            ("ssm_conv1d.weight", &[4, conv], false),
            ("ssm_conv1d.bias", &[conv], false),
            ("ssm_dt.bias", &[4], false),
            ("ssm_a", &[1, 4], false),
            ("ssm_d", &[1, 4], false),
        ] {
            tensors.push((format!("blk.{layer}.{name}"), dims.to_vec(), matrix));
        }
    }
    let (mut data, mut state, mut turn, mut used) = (Vec::new(), first as u64, first, HashSet::new());
    for (name, dims, matrix) in &tensors {
        let format = if *matrix { FORMATS[turn % FORMATS.len()].format } else { Format::F32 };
        turn += usize::from(*matrix);
        used.insert(format);
        let bytes = header.tensor(name, dims, format).unwrap() as usize;
        let mut values = random(format, bytes, &mut state);
        if name.ends_with("ssm_a") {
            // Decays, as A = -exp(A_log) always is.
            values = [-0.5f32, -1.0, -2.0, -4.0].iter().flat_map(|a| a.to_le_bytes()).collect();
        }
        data.extend(values);
        data.resize(data.len().next_multiple_of(32), 0);
    }
    let source = MemorySource::new("mix", [header.bytes(), data].concat());
    (block_on(Checkpoint::open_gguf(Rc::new(source))).unwrap(), used)
}

#[test]
fn every_format_in_every_kernel() {
    let variants = [
        (ShapeClass::Software, Reduction::Workgroup),
        (ShapeClass::Hardware, Reduction::Workgroup),
        (ShapeClass::Hardware, Reduction::Subgroup),
    ];
    // From these starts, every format is the embedding's or the LM head's once, and beside others
    // in the fused matrices.
    let mut seen = HashSet::new();
    for (i, first) in [0, 4, 9].into_iter().enumerate() {
        let (file, used) = model(first);
        seen.extend(used);
        let (shapes, reduction) = variants[i];
        let options = GpuOptions { shapes: Some(shapes), reduction: Some(reduction), ..GpuOptions::default() };
        compare(&gpu(&options), &file, &format!("{shapes:?}, {reduction:?}"));
        // The same kernels for all of its shapes.
        compare(&processor(), &file, "processor");
    }
    assert_eq!(seen.len(), FORMATS.len(), "a format was never used");
}

fn compare(gpu: &Gpu, file: &Checkpoint, what: &str) {
    let mut session = session(gpu, file, &LoadOptions { chunk: Some(16), ..LoadOptions::default() });
    let ids: Vec<u32> = (0..19).map(|i| 7 * i % 96).collect();
    let mut results: Vec<Comparison> = Vec::new();
    block_on(check(&mut session, file, &ids, &[16, 1, 1, 1], &mut |r| results.push(r.clone()))).unwrap();
    assert!(results.len() > 60, "{} comparisons", results.len());
    for r in &results {
        let Comparison { stage, index, found, expected, magnitude, .. } = r;
        assert!(*magnitude > 0.0, "{stage}: nothing but zeros");
        assert!(r.is_close(), "{what}, {stage}: {found} at {index}, expected {expected}");
    }
}

/// A kernel's source with every format, where it has but those of one matrix.
fn with_all_formats(name: &str, source: String) -> String {
    let kernel = KERNELS.iter().find(|kernel| kernel.name == name && kernel.has_matrix());
    kernel.map_or(source, |kernel| kernel.source(Reduction::Workgroup, KvType::F16, Formats::all(), false))
}

/// The logits of a mix of all formats, bit for bit.
fn logits(shapes: ShapeClass, alter: Option<Alter>) -> Vec<u32> {
    let options =
        GpuOptions { shapes: Some(shapes), reduction: Some(Reduction::Workgroup), alter, ..Default::default() };
    let mut session = session(&gpu(&options), &model(4).0, &LoadOptions { chunk: Some(8), ..LoadOptions::default() });
    let ids: Vec<u32> = (0..10).map(|i| 7 * i % 96).collect();
    let mut rows = Vec::new();
    for (ids, chunk) in [(&ids[..8], 8), (&ids[8..], 1)] {
        block_on(session.forward(ids, chunk, 2, &mut |row| rows.extend(row.iter().map(|x| x.to_bits())))).unwrap();
    }
    rows
}

#[test]
fn what_a_source_leaves_out_changes_no_bit() {
    for shapes in [ShapeClass::Software, ShapeClass::Hardware] {
        let (few, all) = (logits(shapes, None), logits(shapes, Some(with_all_formats)));
        assert_eq!(few.len(), 4 * 96);
        assert!(few == all, "{shapes:?}: logits differ from those of sources with every format");
    }
}
