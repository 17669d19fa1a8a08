//! Block formats as the kernels read them: strips of 32 codes, each strip, or each half of it, with a factor and an offset. A weight is
//! `factor code + offset`; a product applies both to sums. Factors are made for eight strips at a time. The strips are the GPU's:
//! `shaders/formats` says how they lie.

use crate::cpu::simd::{Isa, half};

/// Codes of a strip.
pub const STRIP: usize = 32;

/// Strips whose factors are made together.
pub const GROUP: usize = 8;

/// Factors and offsets of eight strips: one each, or one for each half.
#[derive(Clone, Copy)]
pub struct Scales {
    pub factor: [f32; 16],
    pub offset: [f32; 16],
}

impl Scales {
    const NONE: Self = Self { factor: [0.0; 16], offset: [0.0; 16] };

    /// One factor a strip, and the same multiple of it as the offset.
    #[inline(always)]
    fn centred(factor: [f32; GROUP], by: f32) -> Self {
        let mut scales = Self::NONE;
        for j in 0..GROUP {
            scales.factor[j] = factor[j];
            scales.offset[j] = by * factor[j];
        }
        scales
    }

    /// Factors and offsets of both halves of strip `j`.
    #[inline(always)]
    pub fn of<B: Blocks>(&self, j: usize) -> [[f32; 2]; 2] {
        let at = if B::TWO { [2 * j, 2 * j + 1] } else { [j, j] };
        [at.map(|i| self.factor[i]), at.map(|i| self.offset[i])]
    }
}

/// A block format.
pub trait Blocks {
    /// Words of a strip.
    const WORDS: usize;
    /// Strips of a unit, 1 or 8.
    const UNIT: usize;
    /// Halves of a unit in plane S.
    const HALVES: usize;
    /// Whether the halves of a strip have different factors.
    const TWO: bool = false;
    /// Whether there are offsets.
    const OFFSETS: bool = true;
    /// Of eight strips.
    fn scales<I: Isa>(halves: &[u16]) -> Scales;
    /// Of strip `j` of a group with these words and halves.
    fn codes<I: Isa>(group: &[u32], halves: &[u16], j: usize) -> I::Codes;

    /// Halves of eight strips.
    const GROUP_HALVES: usize = GROUP / Self::UNIT * Self::HALVES;
}

/// A row of a matrix in groups of eight strips, the last one of which may be shorter.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    pub words: &'a [u32],
    pub halves: &'a [u16],
}

impl<'a> Row<'a> {
    /// Row `row` of a part with `strips` strips a row, whose first row begins these slices.
    #[inline(always)]
    pub fn new<B: Blocks>(words: &'a [u32], halves: &'a [u16], strips: usize, row: usize) -> Self {
        let (width, count) = (strips * B::WORDS, strips / B::UNIT * B::HALVES);
        Self { words: &words[row * width..(row + 1) * width], halves: &halves[row * count..(row + 1) * count] }
    }

    /// Words, halves and factors of the group that begins at strip `first`.
    #[inline(always)]
    pub fn group<B: Blocks, I: Isa>(&self, first: usize) -> (&'a [u32], &'a [u16], Scales) {
        let words = &self.words[first * B::WORDS..];
        let halves = &self.halves[first / B::UNIT * B::HALVES..];
        let scales = match halves.get(..B::GROUP_HALVES) {
            Some(halves) => B::scales::<I>(halves),
            None => {
                let mut padded = [0; 32];
                padded[..halves.len()].copy_from_slice(halves);
                B::scales::<I>(&padded)
            }
        };
        (words, halves, scales)
    }
}

/// Some words: the caller's slice has them.
#[inline(always)]
fn words<const N: usize>(group: &[u32], first: usize) -> &[u32; N] {
    match group[first..].first_chunk() {
        Some(words) => words,
        None => &[0; N],
    }
}

/// A strip's nibbles.
#[inline(always)]
fn nibbles<I: Isa>(group: &[u32], j: usize) -> I::Codes {
    I::unsigned(I::nibbles(words(group, 4 * j)))
}

/// Two halves as a word.
#[inline(always)]
fn word(halves: &[u16]) -> u32 {
    u32::from(halves[0]) | u32::from(halves[1]) << 16
}

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
        Scales::centred(eight::<I, 1>(halves, 0), -8.0)
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
        let mut scales = Scales::centred(d, 0.0);
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
        Scales::centred(eight::<I, 3>(halves, 0), -16.0)
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
        let mut scales = Scales::centred(d, 0.0);
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
        Scales::centred(eight::<I, 1>(halves, 0), 0.0)
    }

    #[inline(always)]
    fn codes<I: Isa>(group: &[u32], _: &[u16], j: usize) -> I::Codes {
        I::signed(I::raw(words(group, 8 * j)))
    }
}

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
        I::unsigned(I::pairs(words(group, 2 * j)))
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
        // Four factors at a time: nibbles of one of two words, and a pair of bits each of the third.
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
        I::raised(I::unsigned(I::pairs(words(group, 3 * j))), group[3 * j + 2], 4.0)
    }
}

/// d s and -dmin m of the strips of a block of Q4_K or Q5_K, which begins with d, dmin and twelve bytes.
#[inline(always)]
fn factors_and_leasts(halves: &[u16]) -> Scales {
    let (d, least) = (half(halves[0]), half(halves[1]));
    let (a, b, c) = (word(&halves[2..]), word(&halves[4..]), word(&halves[6..]));
    // Six bits of each of four bytes at once.
    let s = [a & 0x3f3f_3f3f, (c & 0x0f0f_0f0f) | ((a >> 2) & 0x3030_3030)];
    let m = [b & 0x3f3f_3f3f, ((c >> 4) & 0x0f0f_0f0f) | ((b >> 2) & 0x3030_3030)];
    let [s, m]: [[u8; GROUP]; 2] = [s, m].map(|words| bytemuck::cast(words.map(u32::to_le)));
    let mut scales = Scales::NONE;
    for j in 0..GROUP {
        scales.factor[j] = d * f32::from(s[j]);
        scales.offset[j] = -least * f32::from(m[j]);
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
        factors_and_leasts(halves)
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
        factors_and_leasts(halves)
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
        let mut scales = Scales::NONE;
        for i in 0..16 {
            scales.factor[i] = d * f32::from((halves[i / 2] >> (8 * (i % 2))) as u8 as i8);
            scales.offset[i] = -32.0 * scales.factor[i];
        }
        scales
    }

    #[inline(always)]
    fn codes<I: Isa>(group: &[u32], _: &[u16], j: usize) -> I::Codes {
        // Two strips are twelve words: nibbles of the one and of the other, then pairs of each.
        let two = 12 * (j / 2);
        let (low, high) = (words(group, two + 4 * (j % 2)), words(group, two + 8 + 2 * (j % 2)));
        I::unsigned(I::joined(I::nibbles(low), I::pairs(high)))
    }
}

/// The sixteen uneven steps of IQ4_NL and IQ4_XS.
const STEPS: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

#[inline(always)]
fn steps<I: Isa>(group: &[u32], j: usize) -> I::Codes {
    I::signed(I::looked_up(&STEPS, I::nibbles(words(group, 4 * j))))
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
        Scales::centred(eight::<I, 1>(halves, 0), 0.0)
    }

    #[inline(always)]
    fn codes<I: Isa>(group: &[u32], _: &[u16], j: usize) -> I::Codes {
        steps::<I>(group, j)
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
        steps::<I>(group, j)
    }
}

/// Calls `$call::<BLOCKS>($args)` for the format with this number in GGUF.
macro_rules! by_format {
    ($id:expr, $call:ident($($arg:expr),* $(,)?)) => {{
        use $crate::cpu::kernels::formats as f;
        use $crate::format::Format;
        match Format::from_gguf_id($id) {
            None | Some(Format::F32) => $call::<f::F32>($($arg),*),
            Some(Format::F16) => $call::<f::F16>($($arg),*),
            Some(Format::BF16) => $call::<f::Bf16>($($arg),*),
            Some(Format::Q4_0) => $call::<f::Q4_0>($($arg),*),
            Some(Format::Q4_1) => $call::<f::Q4_1>($($arg),*),
            Some(Format::Q5_0) => $call::<f::Q5_0>($($arg),*),
            Some(Format::Q5_1) => $call::<f::Q5_1>($($arg),*),
            Some(Format::Q8_0) => $call::<f::Q8_0>($($arg),*),
            Some(Format::Q2_K) => $call::<f::Q2K>($($arg),*),
            Some(Format::Q3_K) => $call::<f::Q3K>($($arg),*),
            Some(Format::Q4_K) => $call::<f::Q4K>($($arg),*),
            Some(Format::Q5_K) => $call::<f::Q5K>($($arg),*),
            Some(Format::Q6_K) => $call::<f::Q6K>($($arg),*),
            Some(Format::IQ4_NL) => $call::<f::Iq4Nl>($($arg),*),
            Some(Format::IQ4_XS) => $call::<f::Iq4Xs>($($arg),*),
        }
    }};
}
pub(super) use by_format;
