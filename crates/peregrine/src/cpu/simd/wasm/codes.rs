//! Codes, and their products with the input's digits.

#[cfg(target_arch = "wasm32")]
use std::arch::wasm32::*;

#[cfg(not(target_arch = "wasm32"))]
use super::emulated::*;
use super::{Digits12, floats, load};

/// The codes of a strip. Which of them is known where they are made.
#[derive(Clone, Copy)]
pub enum Codes {
    /// Bytes below 64.
    Small([v128; 2]),
    /// Signed bytes.
    Signed([v128; 2]),
    Floats([v128; 8]),
}

impl Codes {
    /// As floats.
    #[inline(always)]
    pub fn floats(self) -> [v128; 8] {
        let [[a, b], [c, d], [e, f], [g, h]] = match self {
            Self::Small([low, high]) => [
                floats(i16x8_extend_low_u8x16(low)),
                floats(i16x8_extend_high_u8x16(low)),
                floats(i16x8_extend_low_u8x16(high)),
                floats(i16x8_extend_high_u8x16(high)),
            ],
            Self::Signed([low, high]) => [
                floats(i16x8_extend_low_i8x16(low)),
                floats(i16x8_extend_high_i8x16(low)),
                floats(i16x8_extend_low_i8x16(high)),
                floats(i16x8_extend_high_i8x16(high)),
            ],
            Self::Floats(floats) => return floats,
        };
        [a, b, c, d, e, f, g, h]
    }

    /// Eight of the whole numbers, in the order of the digits: two for each half of the strip.
    #[inline(always)]
    fn eight(self, i: usize) -> v128 {
        match self {
            Self::Small(bytes) if i.is_multiple_of(2) => v128_and(bytes[i / 2], u16x8_splat(255)),
            Self::Small(bytes) => u16x8_shr(bytes[i / 2], 8),
            Self::Signed(bytes) if i.is_multiple_of(2) => i16x8_shr(i16x8_shl(bytes[i / 2], 8), 8),
            Self::Signed(bytes) => i16x8_shr(bytes[i / 2], 8),
            Self::Floats(_) => u16x8_splat(0),
        }
    }

    /// Products with both digits as one float.
    #[inline(always)]
    fn joined(self, first: v128, second: v128) -> v128 {
        match self {
            // Codes below 32 times eight numbers of 22 bits, or such below 64 times four.
            Self::Small(_) => f32x4_convert_i32x4(i32x4_add(i32x4_shl(first, 12), second)),
            _ => {
                let first = f32x4_mul(f32x4_convert_i32x4(first), f32x4_splat(4096.0));
                f32x4_add(first, f32x4_convert_i32x4(second))
            }
        }
    }
}

/// `sums + factor codes x` of half a strip, or of all of it, of several rows: the digits are loaded
/// once.
#[inline(always)]
pub fn meet<const R: usize>(
    sums: [v128; R],
    factors: [f32; R],
    codes: [Codes; R],
    digits: &Digits12,
    eights: std::ops::Range<usize>,
) -> [v128; R] {
    let [mut first, mut second] = [[i32x4_splat(0); R]; 2];
    for i in eights {
        let [high, low] = [0, 1].map(|plane| load(&digits.planes[plane][8 * i..8 * i + 8]));
        for r in 0..R {
            let codes = codes[r].eight(i);
            first[r] = i32x4_add(first[r], i32x4_dot_i16x8(codes, high));
            second[r] = i32x4_add(second[r], i32x4_dot_i16x8(codes, low));
        }
    }
    let mut sums = sums;
    for r in 0..R {
        let factor = f32x4_splat(factors[r] * digits.scale);
        sums[r] = f32x4_add(sums[r], f32x4_mul(factor, codes[r].joined(first[r], second[r])));
    }
    sums
}
