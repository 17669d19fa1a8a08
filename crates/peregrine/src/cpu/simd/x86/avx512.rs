//! 16 floats at a time.

use std::arch::x86_64::*;

use super::{Avx512, eight_bytes, eight_halves, eight_signed, joined, looked_up, nibbles, pairs, raw};
use crate::cpu::simd::{Isa, Wide};

const STRIP: usize = 32;

impl Isa for Avx512 {
    type Bytes = __m256i;
    type Codes = [__m512; 2];
    type Sums = __m512;

    #[inline(always)]
    fn nibbles(words: &[u32; 4]) -> __m256i {
        nibbles(words)
    }

    #[inline(always)]
    fn pairs(words: &[u32; 2]) -> __m256i {
        pairs(words)
    }

    #[inline(always)]
    fn joined(low: __m256i, high: __m256i) -> __m256i {
        joined(low, high)
    }

    #[inline(always)]
    fn looked_up(table: &[i8; 16], nibbles: __m256i) -> __m256i {
        looked_up(table, nibbles)
    }

    #[inline(always)]
    fn raw(words: &[u32; 8]) -> __m256i {
        raw(words)
    }

    #[inline(always)]
    fn eight_halves(halves: &[u16; 8]) -> [f32; 8] {
        eight_halves(halves)
    }

    #[inline(always)]
    fn eight_bytes(words: &[u32; 2]) -> [f32; 8] {
        eight_bytes(words)
    }

    #[inline(always)]
    fn eight_signed(words: &[u32; 2]) -> [f32; 8] {
        eight_signed(words)
    }

    #[inline(always)]
    fn unsigned(bytes: __m256i) -> [__m512; 2] {
        unsafe {
            let (low, high) = (_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
            [low, high].map(|bytes| _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes)))
        }
    }

    #[inline(always)]
    fn signed(bytes: __m256i) -> [__m512; 2] {
        unsafe {
            let (low, high) = (_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
            [low, high].map(|bytes| _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)))
        }
    }

    #[inline(always)]
    fn halves(words: &[u32; 16]) -> [__m512; 2] {
        let at = |i: usize| unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(words[8 * i..8 * i + 8].as_ptr().cast())) };
        [at(0), at(1)]
    }

    #[inline(always)]
    fn uppers(words: &[u32; 16]) -> [__m512; 2] {
        let at = |i: usize| unsafe {
            let all = _mm256_loadu_si256(words[8 * i..8 * i + 8].as_ptr().cast());
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(all)))
        };
        [at(0), at(1)]
    }

    #[inline(always)]
    fn singles(words: &[u32; 32]) -> [__m512; 2] {
        let at = |i: usize| unsafe { _mm512_loadu_ps(words[16 * i..16 * i + 16].as_ptr().cast()) };
        [at(0), at(1)]
    }

    #[inline(always)]
    fn raised(codes: [__m512; 2], bits: u32, by: f32) -> [__m512; 2] {
        let one = |codes, bits| unsafe { _mm512_mask_add_ps(codes, bits, codes, _mm512_set1_ps(by)) };
        [one(codes[0], bits as u16), one(codes[1], (bits >> 16) as u16)]
    }

    #[inline(always)]
    fn zero() -> __m512 {
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    fn plus(sums: __m512, factor: f32, codes: [__m512; 2], x: &[f32; STRIP]) -> __m512 {
        unsafe {
            let at = |i: usize| _mm512_loadu_ps(x[16 * i..16 * i + 16].as_ptr());
            let product = _mm512_fmadd_ps(codes[1], at(1), _mm512_mul_ps(codes[0], at(0)));
            _mm512_fmadd_ps(_mm512_set1_ps(factor), product, sums)
        }
    }

    #[inline(always)]
    fn plus_halves(sums: __m512, factors: [f32; 2], codes: [__m512; 2], x: &[f32; STRIP]) -> __m512 {
        unsafe {
            let at = |i: usize| _mm512_loadu_ps(x[16 * i..16 * i + 16].as_ptr());
            let first = _mm512_mul_ps(codes[0], at(0));
            let second = _mm512_mul_ps(codes[1], at(1));
            let sums = _mm512_fmadd_ps(_mm512_set1_ps(factors[0]), first, sums);
            _mm512_fmadd_ps(_mm512_set1_ps(factors[1]), second, sums)
        }
    }

    #[inline(always)]
    fn total(sums: [__m512; 4]) -> f32 {
        unsafe {
            let sum = _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3]));
            _mm512_reduce_add_ps(sum)
        }
    }

    #[inline(always)]
    fn put(codes: [__m512; 2], factors: [f32; 2], offsets: [f32; 2], to: &mut [f32; STRIP]) {
        for (i, codes) in codes.into_iter().enumerate() {
            unsafe {
                let (factor, offset) = (_mm512_set1_ps(factors[i]), _mm512_set1_ps(offsets[i]));
                let to = to[16 * i..16 * i + 16].as_mut_ptr();
                _mm512_storeu_ps(to, _mm512_fmadd_ps(factor, codes, offset));
            }
        }
    }
}

impl Wide<16> for Avx512 {
    type V = __m512;

    #[inline(always)]
    fn splat(value: f32) -> __m512 {
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn load(from: &[f32; 16]) -> __m512 {
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(v: __m512, to: &mut [f32; 16]) {
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), v) }
    }

    #[inline(always)]
    fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn mul(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn sum(v: __m512) -> f32 {
        unsafe { _mm512_reduce_add_ps(v) }
    }
}
