//! Every format with every set of instructions that this processor has: goldens only see the best
//! one.

use super::{Rows, many, one};
use crate::cpu::kernels::formats::{Blocks, STRIP, by_format};
use crate::cpu::simd::{Isa, Plain, Simd128, Wide};
use crate::format::{FORMATS, FormatSpec};

/// Odd: the last has no second.
const ROWS: usize = 7;
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
    // Emulated; the sum of products must fit into its integers.
    compare::<B, Simd128, 4, false>(spec, made, "SIMD128");
    with_digits::<B, Simd128>(spec, made, "SIMD128", one::products_body::<B, Simd128, 4, false>);
}

#[cfg(target_arch = "x86_64")]
fn wide<B: Blocks>(spec: &FormatSpec, made: &Made) {
    use crate::cpu::simd::{Avx2, Avx512, Level, Vnni, has_vnni, level};
    if matches!(level(), Level::Avx2 | Level::Avx512) {
        compare::<B, Avx2, 8, true>(spec, made, "AVX2");
    }
    if has_vnni() {
        with_digits::<B, Vnni>(spec, made, "VNNI", one::with_vnni::<B>);
    }
    if level() == Level::Avx512 {
        compare::<B, Avx512, 16, true>(spec, made, "AVX-512");
    }
}

/// Products of one token in integers: of inputs whose sizes differ a thousandfold, of the largest
/// sums that there are, and of what is not a number.
fn with_digits<B: Blocks, I: Isa>(spec: &FormatSpec, made: &Made, name: &str, products: Products<I::Digits>) {
    let cols = made.strips * STRIP;
    let mut state = 5;
    let mut x: Vec<f32> = (0..cols).map(|i| noise(&mut state) * [1.0, 1e-3][i / STRIP % 2]).collect();
    let rows =
        Rows { words: &made.words, halves: &made.halves, strips: made.strips, format: spec.gguf_id, x: 0, scale: 0.5 };
    // And within a strip.
    x.iter_mut().enumerate().filter(|(i, _)| i % 7 != 3).for_each(|(_, x)| *x *= 0.03);
    // One row alone, and all.
    for count in [1, ROWS] {
        let mut found = vec![1.0; count];
        products(rows, &x, &one::Sums::of(&x), &mut found);
        for (row, found) in found.into_iter().enumerate() {
            let weights = &made.weights[row * cols..(row + 1) * cols];
            let sum: f64 = x.iter().zip(weights).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
            close(found, 1.0 + 0.5 * sum, &format!("{}, {name}, row {row} of {count}", spec.name));
        }
    }
    // All products of a strip at their largest, with one sign: all bits of codes set and none.
    for (word, largest) in [(u32::MAX, 0.999_999_9), (u32::MAX, -1.0), (0x8080_8080, -1.0), (0, 1.0)] {
        let (words, x) = (vec![word; made.words.len()], vec![largest; cols]);
        let rows = Rows { words: &words, ..rows };
        let (mut found, mut expected) = (vec![0.0; ROWS], vec![0.0; ROWS]);
        products(rows, &x, &one::Sums::of(&x), &mut found);
        one::products_body::<B, Plain, 8, false>(rows, &x, &one::Sums::of(&x), &mut expected);
        for (found, expected) in found.into_iter().zip(expected) {
            // Words of floats are infinite, or no numbers.
            let alike = found.is_nan() && expected.is_nan() || (found - expected).abs() <= 2e-5 * expected.abs() + 1e-3;
            assert!(
                alike || found == expected,
                "{}, {name}, {word:#x} {largest}: {found}, expected {expected}",
                spec.name
            );
        }
    }
    x[cols - 3] = f32::NAN;
    let mut found = vec![1.0; ROWS];
    products(rows, &x, &one::Sums::of(&x), &mut found);
    assert!(found.iter().all(|found| found.is_nan()), "{}, {name}: a NaN must come through", spec.name);
}

/// [`one::products_body`] in one of its ways.
type Products<D> = fn(Rows<'_>, &[f32], &one::Sums<D>, &mut [f32]);

#[test]
fn every_format_with_all_instructions() {
    for spec in FORMATS {
        let made = made(spec);
        by_format!(spec.gguf_id, plain(spec, &made));
        #[cfg(target_arch = "x86_64")]
        by_format!(spec.gguf_id, wide(spec, &made));
    }
}
