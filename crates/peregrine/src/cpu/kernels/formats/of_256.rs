//! Blocks of 256 weights.

use super::{Blocks, GROUP, Scales, iq4_values, nibbles, word, words};
use crate::cpu::simd::{Isa, half};

/// Q2_K
pub struct Q2K;

impl Blocks for Q2K {
    const WORDS: usize = 2;
    const UNIT: usize = 8;
    const HALVES: usize = 10;
    const TWO: bool = true;

    #[inline(always)]
    fn scales<I: Isa>(halves: &[u16]) -> Scales {
        let (d, least) = (half(halves[8]), half(halves[9]));
        let mut scales = Scales::NONE;
        for i in 0..16 {
            let byte = halves[i / 2] >> (8 * (i % 2));
            scales.factor[i] = d * f32::from(byte & 15);
            scales.offset[i] = -least * f32::from((byte >> 4) & 15);
        }
        scales
    }

    #[inline(always)]
    fn codes<I: Isa>(group: &[u32], _: &[u16], j: usize) -> I::Codes {
        I::of_pairs(words(group, 2 * j))
    }
}

/// Q3_K
pub struct Q3K;

impl Blocks for Q3K {
    const WORDS: usize = 3;
    const UNIT: usize = 8;
    const HALVES: usize = 7;
    const TWO: bool = true;

    #[inline(always)]
    fn scales<I: Isa>(halves: &[u16]) -> Scales {
        let d = half(halves[6]);
        let [a, b, c] = [word(halves), word(&halves[2..]), word(&halves[4..])];
        // Four factors at a time: nibbles of one of two words, and a pair of bits each of the
        // third.
        let low = [a, b, a >> 4, b >> 4].map(|word| word & 0x0f0f_0f0f);
        let mut scales = Scales::NONE;
        for i in 0..16 {
            let high = (c >> (2 * (i / 4))) & 0x0303_0303;
            let six = ((low[i / 4] | high << 4) >> (8 * (i % 4))) & 255;
            scales.factor[i] = d * (six as f32 - 32.0);
            scales.offset[i] = -4.0 * scales.factor[i];
        }
        scales
    }

    #[inline(always)]
    fn codes<I: Isa>(group: &[u32], _: &[u16], j: usize) -> I::Codes {
        I::raised(I::of_pairs(words(group, 3 * j)), group[3 * j + 2], 4.0)
    }
}

/// d s and -dmin m of the strips of a block of Q4_K or Q5_K, which begins with d, dmin and twelve
/// bytes.
#[inline(always)]
fn factors_and_leasts<I: Isa>(halves: &[u16]) -> Scales {
    let Some(head) = halves.first_chunk::<8>() else { return Scales::NONE };
    let [d, least] = I::two_halves(&[head[0], head[1]]);
    let (a, b, c) = (word(&head[2..]), word(&head[4..]), word(&head[6..]));
    // Six bits of each of four bytes at once.
    let s = [a & 0x3f3f_3f3f, (c & 0x0f0f_0f0f) | ((a >> 2) & 0x3030_3030)];
    let m = [b & 0x3f3f_3f3f, ((c >> 4) & 0x0f0f_0f0f) | ((b >> 2) & 0x3030_3030)];
    let (s, m) = (I::eight_bytes(&s), I::eight_bytes(&m));
    let mut scales = Scales::NONE;
    for j in 0..GROUP {
        scales.factor[j] = d * s[j];
        scales.offset[j] = -least * m[j];
    }
    scales
}

/// Q4_K
pub struct Q4K;

impl Blocks for Q4K {
    const WORDS: usize = 4;
    const UNIT: usize = 8;
    const HALVES: usize = 8;

    #[inline(always)]
    fn scales<I: Isa>(halves: &[u16]) -> Scales {
        factors_and_leasts::<I>(halves)
    }

    #[inline(always)]
    fn codes<I: Isa>(group: &[u32], _: &[u16], j: usize) -> I::Codes {
        nibbles::<I>(group, j)
    }
}

/// Q5_K
pub struct Q5K;

impl Blocks for Q5K {
    const WORDS: usize = 4;
    const UNIT: usize = 8;
    const HALVES: usize = 24;

    #[inline(always)]
    fn scales<I: Isa>(halves: &[u16]) -> Scales {
        factors_and_leasts::<I>(halves)
    }

    #[inline(always)]
    fn codes<I: Isa>(group: &[u32], halves: &[u16], j: usize) -> I::Codes {
        I::raised(nibbles::<I>(group, j), word(&halves[8 + 2 * j..]), 16.0)
    }
}

/// Q6_K
pub struct Q6K;

impl Blocks for Q6K {
    const WORDS: usize = 6;
    const UNIT: usize = 8;
    const HALVES: usize = 10;
    const TWO: bool = true;

    #[inline(always)]
    fn scales<I: Isa>(halves: &[u16]) -> Scales {
        let d = half(halves[8]);
        let [low, high, ..] = halves.as_chunks().0 else { return Scales::NONE };
        let (low, high) = (I::eight_signed(low), I::eight_signed(high));
        let mut scales = Scales::NONE;
        for i in 0..GROUP {
            scales.factor[i] = d * low[i];
            scales.factor[GROUP + i] = d * high[i];
        }
        for i in 0..2 * GROUP {
            scales.offset[i] = -32.0 * scales.factor[i];
        }
        scales
    }

    #[inline(always)]
    fn codes<I: Isa>(group: &[u32], _: &[u16], j: usize) -> I::Codes {
        // Two strips are twelve words: nibbles of the one and of the other, then pairs of each.
        let two = 12 * (j / 2);
        let (low, high) = (words(group, two + 4 * (j % 2)), words(group, two + 8 + 2 * (j % 2)));
        I::of_sixes(low, high)
    }
}

/// IQ4_XS
pub struct Iq4Xs;

impl Blocks for Iq4Xs {
    const WORDS: usize = 4;
    const UNIT: usize = 8;
    const HALVES: usize = 4;
    const OFFSETS: bool = false;

    #[inline(always)]
    fn scales<I: Isa>(halves: &[u16]) -> Scales {
        let d = half(halves[0]);
        let mut scales = Scales::NONE;
        for j in 0..GROUP {
            let low = (halves[2 + j / 4] >> (4 * (j % 4))) & 15;
            let high = (halves[1] >> (2 * j)) & 3;
            scales.factor[j] = d * (f32::from(low | high << 4) - 32.0);
        }
        scales
    }

    #[inline(always)]
    fn codes<I: Isa>(group: &[u32], _: &[u16], j: usize) -> I::Codes {
        iq4_values::<I>(group, j)
    }
}
