//! Block formats as the kernels read them: strips of 32 codes, each strip, or each half of it, with
//! a factor and an offset. A weight is `factor code + offset`; a product applies both to sums.
//! Factors are made for eight strips at a time. The strips are the GPU's: `shaders/formats` says
//! how they lie.

mod of_256;
mod of_32;

pub use of_32::{Bf16, F16, F32, Iq4Nl, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
pub use of_256::{Iq4Xs, Q2K, Q3K, Q4K, Q5K, Q6K};

use crate::cpu::simd::Isa;
use crate::ops::linear::Formats;

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
    fn centered(factor: [f32; GROUP], by: f32) -> Self {
        let mut scales = Self::NONE;
        scales.factor[..GROUP].copy_from_slice(&factor);
        scales.offset[..GROUP].copy_from_slice(&factor.map(|factor| by * factor));
        scales
    }

    /// Factors and offsets of both halves of strip `j`.
    #[inline(always)]
    pub fn of<B: Blocks>(&self, j: usize) -> [[f32; 2]; 2] {
        let at = if B::TWO { [2 * j, 2 * j + 1] } else { [j, j] };
        [at.map(|i| self.factor[i]), at.map(|i| self.offset[i])]
    }
}

/// GGUF's numbers of the formats that a pipeline keeps, F32's where it keeps fewer.
pub fn ids(formats: &Formats) -> [u32; 4] {
    [formats.FORMAT_0, formats.FORMAT_1, formats.FORMAT_2, formats.FORMAT_3].map(Option::unwrap_or_default)
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
}

/// Eight strips of a row, or what there is of them.
#[derive(Clone, Copy)]
pub struct Group<'a> {
    words: &'a [u32],
    halves: &'a [u16],
    pub scales: Scales,
}

impl<'a> Group<'a> {
    /// None yet.
    pub const NONE: Self = Self { words: &[], halves: &[], scales: Scales::NONE };

    /// The whole group that begins at strip `first`: slices whose lengths are known, so that nobody
    /// asks again whether a strip is inside.
    #[inline(always)]
    pub fn whole<B: Blocks, I: Isa>(row: &Row<'a>, first: usize) -> Self {
        let words = &row.words[first * B::WORDS..][..GROUP * B::WORDS];
        let halves = &row.halves[first / B::UNIT * B::HALVES..][..B::GROUP_HALVES];
        Self { words, halves, scales: B::scales::<I>(halves) }
    }

    /// The group that begins at strip `first`, of which there may be less.
    #[inline(always)]
    pub fn some<B: Blocks, I: Isa>(row: &Row<'a>, first: usize) -> Self {
        let words = &row.words[first * B::WORDS..];
        let halves = &row.halves[first / B::UNIT * B::HALVES..];
        let scales = match halves.get(..B::GROUP_HALVES) {
            Some(halves) => B::scales::<I>(halves),
            None => {
                let mut padded = [0; 32];
                padded[..halves.len()].copy_from_slice(halves);
                B::scales::<I>(&padded)
            }
        };
        Self { words, halves, scales }
    }

    /// Codes of its strip `j`.
    #[inline(always)]
    pub fn codes<B: Blocks, I: Isa>(&self, j: usize) -> I::Codes {
        B::codes::<I>(self.words, self.halves, j)
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
    I::of_nibbles(words(group, 4 * j))
}

/// Two halves as a word.
#[inline(always)]
fn word(halves: &[u16]) -> u32 {
    u32::from(halves[0]) | u32::from(halves[1]) << 16
}

/// The sixteen uneven steps of IQ4_NL and IQ4_XS.
const IQ4_VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

#[inline(always)]
fn iq4_values<I: Isa>(group: &[u32], j: usize) -> I::Codes {
    I::of_table(&IQ4_VALUES, words(group, 4 * j))
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
