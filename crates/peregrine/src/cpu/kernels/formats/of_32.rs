//! Floats, and blocks of 32 weights.

use super::{Blocks, GROUP, Scales, iq4_values, nibbles, word, words};
use crate::cpu::simd::Isa;

/// Half `at` of each of eight units, as floats.
#[inline(always)]
fn eight<I: Isa, const STRIDE: usize>(halves: &[u16], at: usize) -> [f32; GROUP] {
    let mut eight = [0; GROUP];
    for j in 0..GROUP {
        eight[j] = halves[STRIDE * j + at];
    }
    I::eight_halves(&eight)
}

/// F32
pub struct F32;

impl Blocks for F32 {
    const WORDS: usize = 32;
    const UNIT: usize = 1;
    const HALVES: usize = 0;
    const OFFSETS: bool = false;

    #[inline(always)]
    fn scales<I: Isa>(_: &[u16]) -> Scales {
        Scales { factor: [1.0; 16], ..Scales::NONE }
    }

    #[inline(always)]
    fn codes<I: Isa>(group: &[u32], _: &[u16], j: usize) -> I::Codes {
        I::singles(words(group, 32 * j))
    }
}

/// F16
pub struct F16;

impl Blocks for F16 {
    const WORDS: usize = 16;
    const UNIT: usize = 1;
    const HALVES: usize = 0;
    const OFFSETS: bool = false;

    #[inline(always)]
    fn scales<I: Isa>(_: &[u16]) -> Scales {
        Scales { factor: [1.0; 16], ..Scales::NONE }
    }

    #[inline(always)]
    fn codes<I: Isa>(group: &[u32], _: &[u16], j: usize) -> I::Codes {
        I::halves(words(group, 16 * j))
    }
}

/// BF16
pub struct Bf16;

impl Blocks for Bf16 {
    const WORDS: usize = 16;
    const UNIT: usize = 1;
    const HALVES: usize = 0;
    const OFFSETS: bool = false;

    #[inline(always)]
    fn scales<I: Isa>(_: &[u16]) -> Scales {
        Scales { factor: [1.0; 16], ..Scales::NONE }
    }

    #[inline(always)]
    fn codes<I: Isa>(group: &[u32], _: &[u16], j: usize) -> I::Codes {
        I::uppers(words(group, 16 * j))
    }
}

/// Q4_0
pub struct Q4_0;

impl Blocks for Q4_0 {
    const WORDS: usize = 4;
    const UNIT: usize = 1;
    const HALVES: usize = 1;

    #[inline(always)]
    fn scales<I: Isa>(halves: &[u16]) -> Scales {
        Scales::centered(eight::<I, 1>(halves, 0), -8.0)
    }

    #[inline(always)]
    fn codes<I: Isa>(group: &[u32], _: &[u16], j: usize) -> I::Codes {
        nibbles::<I>(group, j)
    }
}

/// Q4_1
pub struct Q4_1;

impl Blocks for Q4_1 {
    const WORDS: usize = 4;
    const UNIT: usize = 1;
    const HALVES: usize = 2;

    #[inline(always)]
    fn scales<I: Isa>(halves: &[u16]) -> Scales {
        let (d, m) = (eight::<I, 2>(halves, 0), eight::<I, 2>(halves, 1));
        let mut scales = Scales::centered(d, 0.0);
        scales.offset[..GROUP].copy_from_slice(&m);
        scales
    }

    #[inline(always)]
    fn codes<I: Isa>(group: &[u32], _: &[u16], j: usize) -> I::Codes {
        nibbles::<I>(group, j)
    }
}

/// Q5_0
pub struct Q5_0;

impl Blocks for Q5_0 {
    const WORDS: usize = 4;
    const UNIT: usize = 1;
    const HALVES: usize = 3;

    #[inline(always)]
    fn scales<I: Isa>(halves: &[u16]) -> Scales {
        Scales::centered(eight::<I, 3>(halves, 0), -16.0)
    }

    #[inline(always)]
    fn codes<I: Isa>(group: &[u32], halves: &[u16], j: usize) -> I::Codes {
        I::raised(nibbles::<I>(group, j), word(&halves[3 * j + 1..]), 16.0)
    }
}

/// Q5_1
pub struct Q5_1;

impl Blocks for Q5_1 {
    const WORDS: usize = 4;
    const UNIT: usize = 1;
    const HALVES: usize = 4;

    #[inline(always)]
    fn scales<I: Isa>(halves: &[u16]) -> Scales {
        let (d, m) = (eight::<I, 4>(halves, 0), eight::<I, 4>(halves, 1));
        let mut scales = Scales::centered(d, 0.0);
        scales.offset[..GROUP].copy_from_slice(&m);
        scales
    }

    #[inline(always)]
    fn codes<I: Isa>(group: &[u32], halves: &[u16], j: usize) -> I::Codes {
        I::raised(nibbles::<I>(group, j), word(&halves[4 * j + 2..]), 16.0)
    }
}

/// Q8_0
pub struct Q8_0;

impl Blocks for Q8_0 {
    const WORDS: usize = 8;
    const UNIT: usize = 1;
    const HALVES: usize = 1;
    const OFFSETS: bool = false;

    #[inline(always)]
    fn scales<I: Isa>(halves: &[u16]) -> Scales {
        Scales::centered(eight::<I, 1>(halves, 0), 0.0)
    }

    #[inline(always)]
    fn codes<I: Isa>(group: &[u32], _: &[u16], j: usize) -> I::Codes {
        I::signed(I::raw(words(group, 8 * j)))
    }
}

/// IQ4_NL
pub struct Iq4Nl;

impl Blocks for Iq4Nl {
    const WORDS: usize = 4;
    const UNIT: usize = 1;
    const HALVES: usize = 1;
    const OFFSETS: bool = false;

    #[inline(always)]
    fn scales<I: Isa>(halves: &[u16]) -> Scales {
        Scales::centered(eight::<I, 1>(halves, 0), 0.0)
    }

    #[inline(always)]
    fn codes<I: Isa>(group: &[u32], _: &[u16], j: usize) -> I::Codes {
        iq4_values::<I>(group, j)
    }
}
