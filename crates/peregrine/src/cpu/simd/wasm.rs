//! The same with WebAssembly's SIMD128: 4 floats at a time, products and sums rounded one after the
//! other.

#![expect(unsafe_code, reason = "loads and stores")]
// SAFETY of every `unsafe` here: loads and stores are inside of the arrays that are borrowed; wasm
// has no alignment to keep.

use std::arch::wasm32::*;

use super::{Isa, Near, Wide};

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
fn eight(words: &[u32; 2]) -> v128 {
    unsafe { v128_load64_zero(words.as_ptr().cast()) }
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
    type Bytes = [v128; 2];
    type Codes = [v128; 8];
    type Sums = v128;

    #[inline(always)]
    fn nibbles(words: &[u32; 4]) -> [v128; 2] {
        let (all, low) = (load(words), u8x16_splat(15));
        [v128_and(all, low), v128_and(u16x8_shr(all, 4), low)]
    }

    #[inline(always)]
    fn pairs(words: &[u32; 2]) -> [v128; 2] {
        words.map(|word| v128_and(u32x4(word, word >> 2, word >> 4, word >> 6), u8x16_splat(3)))
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
    fn eight_bytes(words: &[u32; 2]) -> [f32; 8] {
        both(floats(i16x8_extend_low_u8x16(eight(words))))
    }

    #[inline(always)]
    fn eight_signed(words: &[u32; 2]) -> [f32; 8] {
        both(floats(i16x8_extend_low_i8x16(eight(words))))
    }

    #[inline(always)]
    fn unsigned([low, high]: [v128; 2]) -> [v128; 8] {
        let ([a, b], [c, d]) = (floats(i16x8_extend_low_u8x16(low)), floats(i16x8_extend_high_u8x16(low)));
        let ([e, f], [g, h]) = (floats(i16x8_extend_low_u8x16(high)), floats(i16x8_extend_high_u8x16(high)));
        [a, b, c, d, e, f, g, h]
    }

    #[inline(always)]
    fn signed([low, high]: [v128; 2]) -> [v128; 8] {
        let ([a, b], [c, d]) = (floats(i16x8_extend_low_i8x16(low)), floats(i16x8_extend_high_i8x16(low)));
        let ([e, f], [g, h]) = (floats(i16x8_extend_low_i8x16(high)), floats(i16x8_extend_high_i8x16(high)));
        [a, b, c, d, e, f, g, h]
    }

    #[inline(always)]
    fn halves(words: &[u32; 16]) -> [v128; 8] {
        let at = |i: usize| halves(load(&words[4 * i..4 * i + 4]));
        let ([a, b], [c, d], [e, f], [g, h]) = (at(0), at(1), at(2), at(3));
        [a, b, c, d, e, f, g, h]
    }

    #[inline(always)]
    fn uppers(words: &[u32; 16]) -> [v128; 8] {
        let at = |i: usize| {
            let eight = load(&words[4 * i..4 * i + 4]);
            [u32x4_shl(u32x4_extend_low_u16x8(eight), 16), u32x4_shl(u32x4_extend_high_u16x8(eight), 16)]
        };
        let ([a, b], [c, d], [e, f], [g, h]) = (at(0), at(1), at(2), at(3));
        [a, b, c, d, e, f, g, h]
    }

    #[inline(always)]
    fn singles(words: &[u32; 32]) -> [v128; 8] {
        let at = |i: usize| load(&words[4 * i..4 * i + 4]);
        [at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7)]
    }

    #[inline(always)]
    fn raised(codes: [v128; 8], bits: u32, by: f32) -> [v128; 8] {
        let (each, by) = (u32x4(1, 2, 4, 8), f32x4_splat(by));
        let mut codes = codes;
        for (i, codes) in codes.iter_mut().enumerate() {
            let set = i32x4_eq(v128_and(u32x4_splat(bits >> (4 * i)), each), each);
            *codes = f32x4_add(*codes, v128_and(set, by));
        }
        codes
    }

    #[inline(always)]
    fn zero() -> v128 {
        f32x4_splat(0.0)
    }

    #[inline(always)]
    fn plus(sums: v128, factor: f32, codes: [v128; 8], x: Near<'_>) -> v128 {
        let x = x.floats;
        let both = f32x4_add(half_product(&codes[..4], &x[..16]), half_product(&codes[4..], &x[16..]));
        f32x4_add(sums, f32x4_mul(f32x4_splat(factor), both))
    }

    #[inline(always)]
    fn plus_halves(sums: v128, factors: [f32; 2], codes: [v128; 8], x: Near<'_>) -> v128 {
        let x = x.floats;
        let first = f32x4_mul(f32x4_splat(factors[0]), half_product(&codes[..4], &x[..16]));
        let second = f32x4_mul(f32x4_splat(factors[1]), half_product(&codes[4..], &x[16..]));
        f32x4_add(sums, f32x4_add(first, second))
    }

    #[inline(always)]
    fn total([a, b, c, d]: [v128; 4]) -> f32 {
        sum(f32x4_add(f32x4_add(a, b), f32x4_add(c, d)))
    }

    #[inline(always)]
    fn put(codes: [v128; 8], factors: [f32; 2], offsets: [f32; 2], to: &mut [f32; STRIP]) {
        for (i, (codes, to)) in codes.into_iter().zip(to.chunks_exact_mut(4)).enumerate() {
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
