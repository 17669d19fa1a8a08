//! Every format with every set of instructions that this processor has: goldens only see the best
//! one.

use super::{Rows, many, one};
use crate::cpu::kernels::formats::{Blocks, STRIP, by_format};
use crate::cpu::simd::{Isa, Plain, Wide};
use crate::format::{FORMATS, FormatSpec};

const ROWS: usize = 6;
const TOKENS: usize = 5;

/// Rows of a format: strips, scales, and the weights that they are.
struct Made {
    words: Vec<u32>,
    halves: Vec<u16>,
    weights: Vec<f32>,
    strips: usize,
}

/// Numbers between -1 and 1.
fn noise(state: &mut u64) -> f32 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 40) as f32 / (1 << 23) as f32 - 1.0
}

/// A panel and more: of small blocks so many strips that the last group is a short one.
fn made(spec: &FormatSpec) -> Made {
    let cols = if spec.block == 256 { 5 * 256 } else { 41 * STRIP };
    let (words, halves) = (spec.row_words(cols), spec.row_halves(cols));
    let mut made = Made { words: Vec::new(), halves: Vec::new(), weights: Vec::new(), strips: cols / STRIP };
    let mut state = u64::from(spec.gguf_id) + 1;
    for _ in 0..ROWS {
        let values: Vec<f32> = (0..cols).map(|_| noise(&mut state)).collect();
        let mut bytes = vec![0; cols / spec.block as usize * spec.bytes as usize];
        assert!(spec.quantize_blocks(&values, &mut bytes));
        let (mut strips, mut meta) = (vec![0; words], vec![0; halves]);
        spec.repack_row(&bytes, &mut strips, &mut meta);
        let mut weights = vec![0.0; cols];
        spec.dequantize_blocks(&bytes, &mut weights);
        made.words.extend(strips);
        made.halves.extend(meta);
        made.weights.extend(weights);
    }
    made
}

fn close(found: f32, expected: f64, what: &str) {
    assert!((f64::from(found) - expected).abs() < 4e-5, "{what}: {found}, expected {expected}");
}

fn compare<B: Blocks, I: Isa + Wide<L>, const L: usize, const FMA: bool>(spec: &FormatSpec, made: &Made, name: &str) {
    let cols = made.strips * STRIP;
    let mut state = 99;
    let x: Vec<f32> = (0..TOKENS * cols).map(|_| noise(&mut state)).collect();
    let rows =
        Rows { words: &made.words, halves: &made.halves, strips: made.strips, format: spec.gguf_id, x: 0, scale: 0.5 };
    let expected = |row: usize, token: usize| {
        let (weights, x) = (&made.weights[row * cols..], &x[token * cols..(token + 1) * cols]);
        1.0 + 0.5 * x.iter().zip(weights).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum::<f64>()
    };
    let mut found = vec![1.0; ROWS];
    one::products_body::<B, I, L, FMA>(rows, &x[..cols], &one::Sums::of(&x[..cols]), &mut found);
    for (row, found) in found.into_iter().enumerate() {
        close(found, expected(row, 0), &format!("{}, {name}, row {row}", spec.name));
    }
    let mut found = vec![1.0; ROWS * TOKENS];
    many::products_body::<B, I, L, FMA>(rows, &x, cols, TOKENS, &mut found);
    for (i, found) in found.into_iter().enumerate() {
        close(found, expected(i / TOKENS, i % TOKENS), &format!("{}, {name}, value {i} of many", spec.name));
    }
}

fn plain<B: Blocks>(spec: &FormatSpec, made: &Made) {
    compare::<B, Plain, 8, false>(spec, made, "plain");
    compare::<B, Plain, 8, true>(spec, made, "plain, fused");
}

#[cfg(target_arch = "x86_64")]
fn wide<B: Blocks>(spec: &FormatSpec, made: &Made) {
    use crate::cpu::simd::{Avx2, Avx512, Level, level};
    if matches!(level(), Level::Avx2 | Level::Avx512) {
        compare::<B, Avx2, 8, true>(spec, made, "AVX2");
    }
    if one::integers() {
        with_vnni::<B>(spec, made);
    }
    if level() == Level::Avx512 {
        compare::<B, Avx512, 16, true>(spec, made, "AVX-512");
    }
}

/// Products of one token in integers, of inputs whose sizes differ a thousandfold, and what is not
/// a number.
#[cfg(target_arch = "x86_64")]
fn with_vnni<B: Blocks>(spec: &FormatSpec, made: &Made) {
    let cols = made.strips * STRIP;
    let mut state = 5;
    let mut x: Vec<f32> = (0..cols).map(|i| noise(&mut state) * [1.0, 1e-3][i / STRIP % 2]).collect();
    let rows =
        Rows { words: &made.words, halves: &made.halves, strips: made.strips, format: spec.gguf_id, x: 0, scale: 0.5 };
    let mut found = vec![1.0; ROWS];
    one::with_vnni::<B>(rows, &x, &one::Sums::of(&x), &mut found);
    for (row, found) in found.iter().enumerate() {
        let weights = &made.weights[row * cols..(row + 1) * cols];
        let sum: f64 = x.iter().zip(weights).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
        close(*found, 1.0 + 0.5 * sum, &format!("{}, VNNI, row {row}", spec.name));
    }
    x[cols - 3] = f32::NAN;
    one::with_vnni::<B>(rows, &x, &one::Sums::of(&x), &mut found);
    assert!(found.iter().all(|found| found.is_nan()), "{}: a NaN must come through", spec.name);
}

#[test]
fn every_format_with_all_instructions() {
    for spec in FORMATS {
        let made = made(spec);
        by_format!(spec.gguf_id, plain(spec, &made));
        #[cfg(target_arch = "x86_64")]
        by_format!(spec.gguf_id, wide(spec, &made));
    }
}
