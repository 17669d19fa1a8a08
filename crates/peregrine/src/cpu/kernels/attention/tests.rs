//! A context in any number of pieces: machines with few cores never make more than two.

use super::*;

const WIDTH: usize = 8;
const HEADS: usize = 2;
/// Floats of a row of queries, with some beside them.
const READY: usize = HEADS * WIDTH + 3;

/// Numbers between -1 and 1.
fn number(i: usize) -> f32 {
    ((i * 2_654_435_761) % 1009) as f32 / 504.0 - 1.0
}

fn row(position: usize, from: usize) -> Vec<f32> {
    (0..WIDTH).map(|i| number(from + WIDTH * position + i)).collect()
}

fn key(position: usize) -> Vec<f32> {
    row(position, 0)
}

fn value(position: usize) -> Vec<f32> {
    row(position, 77)
}

fn queries(tokens: usize) -> Vec<f32> {
    (0..tokens * READY).map(|i| 3.0 * number(i + 5)).collect()
}

/// Two heads over one of keys and values, in pages that lie in another order; what was never kept
/// is no number.
fn attended(kv: KvType, pieces: usize, position: usize, tokens: usize) -> Vec<f32> {
    let cache = Cache { kv, kv_dim: WIDTH, block: if kv == KvType::Q8 { WIDTH } else { 1 } };
    let mixed = HEADS * WIDTH + 1;
    let sizes = Sizes { ready: READY, mixed, heads: HEADS, head_dim: WIDTH, per_kv: HEADS, cache };
    let length = position + tokens;
    let pages: Vec<u32> = (0..length.div_ceil(PAGE) as u32).rev().collect();
    let mut kept = vec![0xff; cache.row(pages.len(), 0)];
    for at in 0..length {
        let slot = pages[at / PAGE] as usize;
        cache.store(&mut kept, slot, at % PAGE, &key(at));
        cache.store(&mut kept, slot, PAGE + at % PAGE, &value(at));
    }
    let ready = queries(tokens);
    let now = Step { tokens: tokens as u32, position: position as u32, ..Step::default() };
    let read = Read { now, ready: &ready, pages: &pages, kv: &kept };
    let mut found = vec![f32::NAN; tokens * mixed];
    read.all(sizes, pieces, &mut found);
    // What a row has besides stays as it was.
    assert!(found.chunks_exact(mixed).all(|row| row[HEADS * WIDTH].is_nan()));
    found.chunks_exact(mixed).flat_map(|row| row[..HEADS * WIDTH].to_vec()).collect()
}

/// By the definition, in f64.
fn defined(position: usize, tokens: usize) -> Vec<f64> {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let mut all = Vec::new();
    for (t, row) in queries(tokens).chunks_exact(READY).enumerate() {
        for query in row.chunks_exact(WIDTH).take(HEADS) {
            let weights: Vec<f64> =
                (0..=position + t).map(|at| (product(query, &key(at)) / (WIDTH as f64).sqrt()).exp()).collect();
            let total: f64 = weights.iter().sum();
            all.extend((0..WIDTH).map(|i| {
                let weighted = weights.iter().enumerate().map(|(at, weight)| weight * f64::from(value(at)[i]));
                weighted.sum::<f64>() / total
            }));
        }
    }
    all
}

#[test]
fn any_number_of_pieces_is_the_same_attention() {
    for (position, tokens) in [(700, 1), (639, 1), (640, 1), (500, 20)] {
        let expected = defined(position, tokens);
        for (kv, tolerance) in [(KvType::F32, 1e-5), (KvType::F16, 1e-3), (KvType::Q8, 2e-2)] {
            for pieces in [1, 2, 3, 5, (position + tokens).div_ceil(PAGE)] {
                let found = attended(kv, pieces, position, tokens);
                assert_eq!(found.len(), expected.len());
                for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let what = format!("{kv:?}, {pieces} pieces, {position} + {tokens}, value {i}");
                    // A NaN is not less than anything.
                    assert!((f64::from(*found) - expected).abs() < tolerance, "{what}: {found}, expected {expected}");
                }
            }
        }
    }
}
