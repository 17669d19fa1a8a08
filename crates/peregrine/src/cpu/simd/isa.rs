//! Weights from blocks, and their products, 32 at a time: what each set of instructions does in its
//! own way.

use super::digits::Strip;

/// Weights of a strip.
const STRIP: usize = 32;

/// A strip of the input.
#[derive(Clone, Copy)]
pub struct Near<'a, D> {
    pub floats: &'a [f32; STRIP],
    /// The same, for who multiplies integers.
    pub digits: &'a D,
}

#[cfg(target_arch = "x86_64")]
impl<'a, D> Near<'a, D> {
    /// For who reads nothing else.
    #[inline(always)]
    pub fn without_digits(self) -> Near<'a, ()> {
        Near { floats: self.floats, digits: &() }
    }
}

/// A set of instructions. Whoever calls these has found that the processor has them, and all is
/// inlined into a function that is compiled for them.
pub trait Isa {
    /// Rows that meet a strip of the input together: 1, or 2 where loads count.
    const ROWS: usize = 1;
    /// How it reads the input where it multiplies integers; `()`: it does not.
    type Digits: Strip;
    /// 32 bytes.
    type Bytes: Copy;
    /// 32 floats.
    type Codes: Copy;
    /// Sums over lanes.
    type Sums: Copy;

    /// The nibbles of four words: low ones first.
    fn nibbles(words: &[u32; 4]) -> Self::Bytes;
    /// The pairs of bits of two words: value v in word v / 16, at bit 8 (v % 4) + 2 (v % 16 / 4).
    fn pairs(words: &[u32; 2]) -> Self::Bytes;
    /// `low + 16 high`, byte by byte.
    fn joined(low: Self::Bytes, high: Self::Bytes) -> Self::Bytes;
    /// The sixteen signed bytes of `table`, by nibbles.
    fn looked_up(table: &[i8; 16], nibbles: Self::Bytes) -> Self::Bytes;
    /// 32 bytes of memory.
    fn raw(words: &[u32; 8]) -> Self::Bytes;

    /// Eight halves as floats.
    fn eight_halves(halves: &[u16; 8]) -> [f32; 8];
    /// Two of them.
    fn two_halves(halves: &[u16; 2]) -> [f32; 2];
    /// Eight unsigned bytes as floats.
    fn eight_bytes(words: &[u32; 2]) -> [f32; 8];
    /// Eight signed bytes, two in a half, as floats.
    fn eight_signed(bytes: &[u16; 4]) -> [f32; 8];
    /// Unsigned bytes.
    fn unsigned(bytes: Self::Bytes) -> Self::Codes;
    /// Signed bytes.
    fn signed(bytes: Self::Bytes) -> Self::Codes;
    /// Halves.
    fn halves(words: &[u32; 16]) -> Self::Codes;
    /// The upper halves of singles.
    fn uppers(words: &[u32; 16]) -> Self::Codes;
    /// Singles.
    fn singles(words: &[u32; 32]) -> Self::Codes;
    /// The nibbles of four words.
    #[inline(always)]
    fn of_nibbles(words: &[u32; 4]) -> Self::Codes {
        Self::unsigned(Self::nibbles(words))
    }
    /// Entries of a table, by the nibbles of four words.
    #[inline(always)]
    fn of_table(table: &[i8; 16], words: &[u32; 4]) -> Self::Codes {
        Self::signed(Self::looked_up(table, Self::nibbles(words)))
    }
    /// The pairs of bits of two words.
    #[inline(always)]
    fn of_pairs(words: &[u32; 2]) -> Self::Codes {
        Self::unsigned(Self::pairs(words))
    }
    /// Nibbles, and pairs of bits above them.
    #[inline(always)]
    fn of_sixes(low: &[u32; 4], high: &[u32; 2]) -> Self::Codes {
        Self::unsigned(Self::joined(Self::nibbles(low), Self::pairs(high)))
    }
    /// `by` added to value v where bit v of `bits` is set.
    fn raised(codes: Self::Codes, bits: u32, by: f32) -> Self::Codes;

    /// No sums yet.
    fn zero() -> Self::Sums;
    /// `sums + factor codes x`
    fn plus(sums: Self::Sums, factor: f32, codes: Self::Codes, x: Near<'_, Self::Digits>) -> Self::Sums;
    /// The same with a factor for each half of the strip.
    fn plus_halves(sums: Self::Sums, factors: [f32; 2], codes: Self::Codes, x: Near<'_, Self::Digits>) -> Self::Sums;
    /// Of several rows; `TWO`: with a factor for each half, else the first is the strip's.
    #[inline(always)]
    fn plus_rows<const TWO: bool, const R: usize>(
        sums: [Self::Sums; R],
        factors: [[f32; 2]; R],
        codes: [Self::Codes; R],
        x: Near<'_, Self::Digits>,
    ) -> [Self::Sums; R] {
        let mut sums = sums;
        for r in 0..R {
            sums[r] = match TWO {
                true => Self::plus_halves(sums[r], factors[r], codes[r], x),
                false => Self::plus(sums[r], factors[r][0], codes[r], x),
            };
        }
        sums
    }
    /// `sums + offset x`, lane by lane, of the eight or sixteen offsets of a group and the input's
    /// sums, where that is a step of its own; `None`: the caller adds them apart.
    #[inline(always)]
    fn plus_offsets(_sums: Self::Sums, _offset: &[f32; 16], _x: &[f32]) -> Option<Self::Sums> {
        None
    }
    /// All lanes, of several sums.
    fn total(sums: [Self::Sums; 4]) -> f32;
    /// `factor codes + offset`, by halves of the strip.
    fn put(codes: Self::Codes, factors: [f32; 2], offsets: [f32; 2], to: &mut [f32; STRIP]);
}

/// Vectors of `L` floats.
pub trait Wide<const L: usize> {
    /// One of them.
    type V: Copy;
    /// The same value in all lanes.
    fn splat(value: f32) -> Self::V;
    /// From memory.
    fn load(from: &[f32; L]) -> Self::V;
    /// To memory.
    fn store(v: Self::V, to: &mut [f32; L]);
    /// `a b + c`
    fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a b`
    fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// The sum of the lanes.
    fn sum(v: Self::V) -> f32;
    /// The same of four.
    #[inline(always)]
    fn sums(v: [Self::V; 4]) -> [f32; 4] {
        v.map(Self::sum)
    }
}
