//! 16 floats at a time.

use std::arch::x86_64::*;

use super::Avx512;
use crate::cpu::simd::{Isa, Near, Wide};

const STRIP: usize = 32;

const COUNTED: [f32; 16] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0];

/// The same of the two low bits alone.
const PAIRED: [f32; 16] = [0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0, 3.0];

/// Entries by the nibbles of four words, low ones first: a permutation looks at the low four bits
/// of a lane alone.
#[inline(always)]
fn entries(words: &[u32; 4], table: __m512) -> [__m512; 2] {
    unsafe {
        let bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(words.as_ptr().cast()));
        [bytes, _mm512_srli_epi32::<4>(bytes)].map(|nibbles| _mm512_permutexvar_ps(nibbles, table))
    }
}

/// Entries by the pairs of bits of two words, as [`Isa::pairs`] has them; the table repeats itself.
#[inline(always)]
fn pair_entries(words: &[u32; 2], table: __m512) -> [__m512; 2] {
    unsafe {
        let places = _mm512_setr_epi32(0, 8, 16, 24, 2, 10, 18, 26, 4, 12, 20, 28, 6, 14, 22, 30);
        words.map(|word| _mm512_permutexvar_ps(_mm512_srlv_epi32(_mm512_set1_epi32(word as i32), places), table))
    }
}

impl Isa for Avx512 {
    type Digits = ();
    type Codes = [__m512; 2];
    type Sums = __m512;

    super::bytes!();

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
    fn of_nibbles(words: &[u32; 4]) -> [__m512; 2] {
        unsafe { entries(words, _mm512_loadu_ps(COUNTED.as_ptr())) }
    }

    #[inline(always)]
    fn of_table(table: &[i8; 16], words: &[u32; 4]) -> [__m512; 2] {
        unsafe {
            let table = _mm512_cvtepi8_epi32(_mm_loadu_si128(table.as_ptr().cast()));
            entries(words, _mm512_cvtepi32_ps(table))
        }
    }

    #[inline(always)]
    fn of_pairs(words: &[u32; 2]) -> [__m512; 2] {
        unsafe { pair_entries(words, _mm512_loadu_ps(PAIRED.as_ptr())) }
    }

    #[inline(always)]
    fn of_sixes(low: &[u32; 4], high: &[u32; 2]) -> [__m512; 2] {
        unsafe {
            let sixteens = _mm512_mul_ps(_mm512_loadu_ps(PAIRED.as_ptr()), _mm512_set1_ps(16.0));
            let ([a, b], [c, d]) = (Self::of_nibbles(low), pair_entries(high, sixteens));
            [_mm512_add_ps(a, c), _mm512_add_ps(b, d)]
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
    fn plus(sums: __m512, factor: f32, codes: [__m512; 2], x: Near<'_, Self::Digits>) -> __m512 {
        let x = x.floats;
        unsafe {
            let at = |i: usize| _mm512_loadu_ps(x[16 * i..16 * i + 16].as_ptr());
            let product = _mm512_fmadd_ps(codes[1], at(1), _mm512_mul_ps(codes[0], at(0)));
            _mm512_fmadd_ps(_mm512_set1_ps(factor), product, sums)
        }
    }

    #[inline(always)]
    fn plus_halves(sums: __m512, factors: [f32; 2], codes: [__m512; 2], x: Near<'_, Self::Digits>) -> __m512 {
        let x = x.floats;
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

    #[inline(always)]
    fn sums([a, b, c, d]: [__m512; 4]) -> [f32; 4] {
        let mut all = [0.0; 4];
        unsafe {
            // Two lanes of each, then all four in each quarter.
            let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            let four = _mm512_add_ps(_mm512_shuffle_ps::<0x44>(ab, cd), _mm512_shuffle_ps::<0xee>(ab, cd));
            let half = _mm256_add_ps(_mm512_castps512_ps256(four), _mm512_extractf32x8_ps::<1>(four));
            let quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps::<1>(half));
            _mm_storeu_ps(all.as_mut_ptr(), quarter);
        }
        all
    }
}
