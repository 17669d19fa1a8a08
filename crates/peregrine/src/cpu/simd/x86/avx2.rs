//! 8 floats at a time.

use std::arch::x86_64::*;

use super::Avx2;
use crate::cpu::simd::{Isa, Near, Wide};

const STRIP: usize = 32;

/// The four eights of 32 bytes, each in the low half of a register.
#[inline(always)]
fn eights(bytes: __m256i) -> [__m128i; 4] {
    unsafe {
        let (low, high) = (_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
        [low, _mm_srli_si128::<8>(low), high, _mm_srli_si128::<8>(high)]
    }
}

impl Isa for Avx2 {
    type Digits = ();
    type Codes = [__m256; 4];
    type Sums = __m256;

    super::bytes!();

    #[inline(always)]
    fn unsigned(bytes: __m256i) -> [__m256; 4] {
        let [a, b, c, d] = eights(bytes);
        unsafe { [a, b, c, d].map(|eight| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(eight))) }
    }

    #[inline(always)]
    fn signed(bytes: __m256i) -> [__m256; 4] {
        let [a, b, c, d] = eights(bytes);
        unsafe { [a, b, c, d].map(|eight| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight))) }
    }

    #[inline(always)]
    fn halves(words: &[u32; 16]) -> [__m256; 4] {
        let at = |i: usize| unsafe { _mm256_cvtph_ps(_mm_loadu_si128(words[4 * i..4 * i + 4].as_ptr().cast())) };
        [at(0), at(1), at(2), at(3)]
    }

    #[inline(always)]
    fn uppers(words: &[u32; 16]) -> [__m256; 4] {
        let at = |i: usize| unsafe {
            let eight = _mm_loadu_si128(words[4 * i..4 * i + 4].as_ptr().cast());
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(eight)))
        };
        [at(0), at(1), at(2), at(3)]
    }

    #[inline(always)]
    fn singles(words: &[u32; 32]) -> [__m256; 4] {
        let at = |i: usize| unsafe { _mm256_loadu_ps(words[8 * i..8 * i + 8].as_ptr().cast()) };
        [at(0), at(1), at(2), at(3)]
    }

    #[inline(always)]
    fn raised(codes: [__m256; 4], bits: u32, by: f32) -> [__m256; 4] {
        let one = |codes: __m256, bits: u32| unsafe {
            let each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let set = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(bits as i32), each), each);
            _mm256_add_ps(codes, _mm256_and_ps(_mm256_castsi256_ps(set), _mm256_set1_ps(by)))
        };
        let [a, b, c, d] = codes;
        [one(a, bits), one(b, bits >> 8), one(c, bits >> 16), one(d, bits >> 24)]
    }

    #[inline(always)]
    fn zero() -> __m256 {
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    fn plus(sums: __m256, factor: f32, codes: [__m256; 4], x: Near<'_, Self::Digits>) -> __m256 {
        let x = x.floats;
        unsafe {
            let at = |i: usize| _mm256_loadu_ps(x[8 * i..8 * i + 8].as_ptr());
            let first = _mm256_fmadd_ps(codes[1], at(1), _mm256_mul_ps(codes[0], at(0)));
            let second = _mm256_fmadd_ps(codes[3], at(3), _mm256_mul_ps(codes[2], at(2)));
            _mm256_fmadd_ps(_mm256_set1_ps(factor), _mm256_add_ps(first, second), sums)
        }
    }

    #[inline(always)]
    fn plus_halves(sums: __m256, factors: [f32; 2], codes: [__m256; 4], x: Near<'_, Self::Digits>) -> __m256 {
        let x = x.floats;
        unsafe {
            let at = |i: usize| _mm256_loadu_ps(x[8 * i..8 * i + 8].as_ptr());
            let first = _mm256_fmadd_ps(codes[1], at(1), _mm256_mul_ps(codes[0], at(0)));
            let second = _mm256_fmadd_ps(codes[3], at(3), _mm256_mul_ps(codes[2], at(2)));
            let sums = _mm256_fmadd_ps(_mm256_set1_ps(factors[0]), first, sums);
            _mm256_fmadd_ps(_mm256_set1_ps(factors[1]), second, sums)
        }
    }

    #[inline(always)]
    fn total(sums: [__m256; 4]) -> f32 {
        let mut all = [0.0; 8];
        unsafe {
            let sum = _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]));
            _mm256_storeu_ps(all.as_mut_ptr(), sum);
        }
        crate::cpu::simd::sum::<8>(all)
    }

    #[inline(always)]
    fn put(codes: [__m256; 4], factors: [f32; 2], offsets: [f32; 2], to: &mut [f32; STRIP]) {
        for (i, codes) in codes.into_iter().enumerate() {
            unsafe {
                let (factor, offset) = (_mm256_set1_ps(factors[i / 2]), _mm256_set1_ps(offsets[i / 2]));
                let to = to[8 * i..8 * i + 8].as_mut_ptr();
                _mm256_storeu_ps(to, _mm256_fmadd_ps(factor, codes, offset));
            }
        }
    }
}

impl Wide<8> for Avx2 {
    type V = __m256;

    #[inline(always)]
    fn splat(value: f32) -> __m256 {
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    fn load(from: &[f32; 8]) -> __m256 {
        unsafe { _mm256_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(v: __m256, to: &mut [f32; 8]) {
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), v) }
    }

    #[inline(always)]
    fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn mul(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn sum(v: __m256) -> f32 {
        let mut all = [0.0; 8];
        unsafe { _mm256_storeu_ps(all.as_mut_ptr(), v) };
        crate::cpu::simd::sum::<8>(all)
    }

    #[inline(always)]
    fn sums([a, b, c, d]: [__m256; 4]) -> [f32; 4] {
        let mut all = [0.0; 4];
        unsafe {
            // Two lanes of each, then all four in each half.
            let ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            let four = _mm256_add_ps(_mm256_shuffle_ps::<0x44>(ab, cd), _mm256_shuffle_ps::<0xee>(ab, cd));
            let half = _mm_add_ps(_mm256_castps256_ps128(four), _mm256_extractf128_ps::<1>(four));
            _mm_storeu_ps(all.as_mut_ptr(), half);
        }
        all
    }
}
