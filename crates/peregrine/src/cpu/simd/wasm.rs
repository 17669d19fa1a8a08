//! The same with WebAssembly's SIMD128: 4 floats at a time, products and sums rounded one after the
//! other.

#![expect(unsafe_code, reason = "loads and stores")]
// SAFETY of every `unsafe` here: loads and stores are inside of the arrays that are borrowed; wasm
// has no alignment to keep.

mod codes;
#[cfg(test)]
mod emulated;

#[cfg(target_arch = "wasm32")]
use std::arch::wasm32::*;

use self::codes::{Codes, meet};
#[cfg(not(target_arch = "wasm32"))]
use self::emulated::*;
use super::{Digits12, Isa, Near, Wide};

const STRIP: usize = 32;

/// 4 floats at a time.
pub struct Simd128;

/// 16 bytes of memory.
#[inline(always)]
fn load<T>(from: &[T]) -> v128 {
    debug_assert!(size_of_val(from) >= 16);
    unsafe { v128_load(from.as_ptr().cast()) }
}

#[inline(always)]
fn store(v: v128, to: &mut [f32]) {
    debug_assert!(to.len() >= 4);
    unsafe { v128_store(to.as_mut_ptr().cast(), v) }
}

/// Eight bytes in the low half of a register.
#[inline(always)]
fn eight<T>(bytes: &[T]) -> v128 {
    debug_assert!(size_of_val(bytes) >= 8);
    unsafe { v128_load64_zero(bytes.as_ptr().cast()) }
}

/// Eight 16-bit numbers as floats.
#[inline(always)]
fn floats(signed: v128) -> [v128; 2] {
    [f32x4_convert_i32x4(i32x4_extend_low_i16x8(signed)), f32x4_convert_i32x4(i32x4_extend_high_i16x8(signed))]
}

/// Two registers as an array.
#[inline(always)]
fn both([low, high]: [v128; 2]) -> [f32; 8] {
    let mut floats = [0.0; 8];
    store(low, &mut floats[..4]);
    store(high, &mut floats[4..]);
    floats
}

/// Four halves, each in a register's lane of its own, as floats: `super::half`, four at a time.
#[inline(always)]
fn four_halves(bits: v128) -> v128 {
    let magnitude = u32x4_shl(v128_and(bits, u32x4_splat(0x7fff)), 13);
    let value = f32x4_mul(magnitude, u32x4_splat(0x7780_0000));
    let exponent = u32x4_splat(0x7c00);
    let special = v128_and(i32x4_eq(v128_and(bits, exponent), exponent), u32x4_splat(0x7f80_0000));
    let sign = u32x4_shl(v128_and(bits, u32x4_splat(0x8000)), 16);
    v128_or(v128_or(value, special), sign)
}

/// Eight halves as floats.
#[inline(always)]
fn halves(eight: v128) -> [v128; 2] {
    [four_halves(u32x4_extend_low_u16x8(eight)), four_halves(u32x4_extend_high_u16x8(eight))]
}

#[inline(always)]
fn sum(v: v128) -> f32 {
    let two = f32x4_add(v, i32x4_shuffle::<2, 3, 0, 1>(v, v));
    f32x4_extract_lane::<0>(two) + f32x4_extract_lane::<1>(two)
}

/// The products of half a strip.
#[inline(always)]
fn half_product(codes: &[v128], x: &[f32]) -> v128 {
    let at = |i: usize| f32x4_mul(codes[i], load(&x[4 * i..4 * i + 4]));
    f32x4_add(f32x4_add(at(0), at(1)), f32x4_add(at(2), at(3)))
}

impl Isa for Simd128 {
    const ROWS: usize = 2;
    type Digits = Digits12;
    type Bytes = [v128; 2];
    type Codes = Codes;
    type Sums = v128;

    #[inline(always)]
    fn nibbles(words: &[u32; 4]) -> [v128; 2] {
        let (all, low) = (load(words), u8x16_splat(15));
        [v128_and(all, low), v128_and(u16x8_shr(all, 4), low)]
    }

    #[inline(always)]
    fn pairs(words: &[u32; 2]) -> [v128; 2] {
        // Both words at once, since registers have one shift for all lanes.
        let both = eight(words);
        let two = i32x4_shuffle::<0, 4, 1, 5>(both, u32x4_shr(both, 2));
        let four = i32x4_shuffle::<0, 4, 1, 5>(u32x4_shr(both, 4), u32x4_shr(both, 6));
        let all = [i64x2_shuffle::<0, 2>(two, four), i64x2_shuffle::<1, 3>(two, four)];
        all.map(|pairs| v128_and(pairs, u8x16_splat(3)))
    }

    #[inline(always)]
    fn joined(low: [v128; 2], high: [v128; 2]) -> [v128; 2] {
        // Bits that leave a byte are zero.
        [v128_or(low[0], u16x8_shl(high[0], 4)), v128_or(low[1], u16x8_shl(high[1], 4))]
    }

    #[inline(always)]
    fn looked_up(table: &[i8; 16], nibbles: [v128; 2]) -> [v128; 2] {
        let table = load(table);
        nibbles.map(|nibbles| i8x16_swizzle(table, nibbles))
    }

    #[inline(always)]
    fn raw(words: &[u32; 8]) -> [v128; 2] {
        [load(&words[..4]), load(&words[4..])]
    }

    #[inline(always)]
    fn eight_halves(from: &[u16; 8]) -> [f32; 8] {
        both(halves(load(from)))
    }

    #[inline(always)]
    fn two_halves(from: &[u16; 2]) -> [f32; 2] {
        let floats = four_halves(u32x4(from[0].into(), from[1].into(), 0, 0));
        [f32x4_extract_lane::<0>(floats), f32x4_extract_lane::<1>(floats)]
    }

    #[inline(always)]
    fn eight_bytes(words: &[u32; 2]) -> [f32; 8] {
        both(floats(i16x8_extend_low_u8x16(eight(words))))
    }

    #[inline(always)]
    fn eight_signed(bytes: &[u16; 4]) -> [f32; 8] {
        both(floats(i16x8_extend_low_i8x16(eight(bytes))))
    }

    #[inline(always)]
    fn unsigned(bytes: [v128; 2]) -> Codes {
        Codes::Small(bytes)
    }

    #[inline(always)]
    fn signed(bytes: [v128; 2]) -> Codes {
        Codes::Signed(bytes)
    }

    #[inline(always)]
    fn halves(words: &[u32; 16]) -> Codes {
        let at = |i: usize| halves(load(&words[4 * i..4 * i + 4]));
        let ([a, b], [c, d], [e, f], [g, h]) = (at(0), at(1), at(2), at(3));
        Codes::Floats([a, b, c, d, e, f, g, h])
    }

    #[inline(always)]
    fn uppers(words: &[u32; 16]) -> Codes {
        let at = |i: usize| {
            let eight = load(&words[4 * i..4 * i + 4]);
            [u32x4_shl(u32x4_extend_low_u16x8(eight), 16), u32x4_shl(u32x4_extend_high_u16x8(eight), 16)]
        };
        let ([a, b], [c, d], [e, f], [g, h]) = (at(0), at(1), at(2), at(3));
        Codes::Floats([a, b, c, d, e, f, g, h])
    }

    #[inline(always)]
    fn singles(words: &[u32; 32]) -> Codes {
        let at = |i: usize| load(&words[4 * i..4 * i + 4]);
        Codes::Floats([at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7)])
    }

    #[inline(always)]
    fn raised(codes: Codes, bits: u32, by: f32) -> Codes {
        // Bit v of each byte of the bits: byte v / 8 eight times, and one bit of it.
        let (all, by) = (u32x4_splat(bits), u8x16_splat(by as u8));
        let each = u64x2_splat(0x8040_2010_0804_0201);
        let raised = |bytes: v128, of: v128| v128_or(bytes, v128_and(i8x16_eq(v128_and(of, each), each), by));
        match codes {
            Codes::Small([low, high]) => Codes::Small([
                raised(low, i8x16_shuffle::<0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1>(all, all)),
                raised(high, i8x16_shuffle::<2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3>(all, all)),
            ]),
            // No format has such.
            others => others,
        }
    }

    #[inline(always)]
    fn zero() -> v128 {
        f32x4_splat(0.0)
    }

    #[inline(always)]
    fn plus(sums: v128, factor: f32, codes: Codes, x: Near<'_, Digits12>) -> v128 {
        Self::plus_rows::<false, 1>([sums], [[factor; 2]], [codes], x)[0]
    }

    #[inline(always)]
    fn plus_halves(sums: v128, factors: [f32; 2], codes: Codes, x: Near<'_, Digits12>) -> v128 {
        Self::plus_rows::<true, 1>([sums], [factors], [codes], x)[0]
    }

    #[inline(always)]
    fn plus_rows<const TWO: bool, const R: usize>(
        sums: [v128; R],
        factors: [[f32; 2]; R],
        codes: [Codes; R],
        x: Near<'_, Digits12>,
    ) -> [v128; R] {
        if let Codes::Floats(_) = codes[0] {
            let mut sums = sums;
            for r in 0..R {
                let (codes, x) = (codes[r].floats(), x.floats);
                let [first, second] = [half_product(&codes[..4], &x[..16]), half_product(&codes[4..], &x[16..])];
                let [a, b] = [f32x4_splat(factors[r][0]), f32x4_splat(factors[r][1])];
                sums[r] = f32x4_add(sums[r], f32x4_add(f32x4_mul(a, first), f32x4_mul(b, second)));
            }
            return sums;
        }
        match TWO {
            true => {
                let sums = meet(sums, factors.map(|two| two[0]), codes, x.digits, 0..2);
                meet(sums, factors.map(|two| two[1]), codes, x.digits, 2..4)
            }
            false => meet(sums, factors.map(|two| two[0]), codes, x.digits, 0..4),
        }
    }

    #[inline(always)]
    fn plus_offsets(sums: v128, offset: &[f32; 16], x: &[f32]) -> Option<v128> {
        let mut sums = sums;
        for (offset, x) in offset.as_chunks::<4>().0.iter().zip(x.as_chunks::<4>().0) {
            sums = f32x4_add(sums, f32x4_mul(load(offset), load(x)));
        }
        Some(sums)
    }

    #[inline(always)]
    fn total([a, b, c, d]: [v128; 4]) -> f32 {
        sum(f32x4_add(f32x4_add(a, b), f32x4_add(c, d)))
    }

    #[inline(always)]
    fn put(codes: Codes, factors: [f32; 2], offsets: [f32; 2], to: &mut [f32; STRIP]) {
        for (i, (codes, to)) in codes.floats().into_iter().zip(to.chunks_exact_mut(4)).enumerate() {
            let (factor, offset) = (f32x4_splat(factors[i / 4]), f32x4_splat(offsets[i / 4]));
            store(f32x4_add(f32x4_mul(factor, codes), offset), to);
        }
    }
}

impl Wide<4> for Simd128 {
    type V = v128;

    #[inline(always)]
    fn splat(value: f32) -> v128 {
        f32x4_splat(value)
    }

    #[inline(always)]
    fn load(from: &[f32; 4]) -> v128 {
        load(from)
    }

    #[inline(always)]
    fn store(v: v128, to: &mut [f32; 4]) {
        store(v, to);
    }

    #[inline(always)]
    fn fma(a: v128, b: v128, c: v128) -> v128 {
        f32x4_add(f32x4_mul(a, b), c)
    }

    #[inline(always)]
    fn mul(a: v128, b: v128) -> v128 {
        f32x4_mul(a, b)
    }

    #[inline(always)]
    fn sum(v: v128) -> f32 {
        sum(v)
    }
}
