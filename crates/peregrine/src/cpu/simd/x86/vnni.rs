//! Codes that are small whole numbers stay bytes and meet the digits of the input in integers,
//! which loses nothing; all others are floats, as with AVX-512 alone.

use std::arch::x86_64::*;

use super::{Avx512, Vnni};
use crate::cpu::simd::{Digits8, Isa, Near};

const STRIP: usize = 32;

/// The codes of a strip. Which of the two is known where it is made.
#[derive(Clone, Copy)]
pub enum Codes {
    /// Whole numbers below 64.
    Small(__m256i),
    Floats([__m512; 2]),
}

/// The products of a strip, four to a lane, without its scale: whole numbers until here.
#[inline(always)]
fn products(codes: __m256i, digits: &Digits8) -> __m256 {
    unsafe {
        let plane = |i: usize| _mm256_loadu_si256(digits.planes[i].as_ptr().cast());
        let first = _mm256_dpbusd_epi32(_mm256_setzero_si256(), codes, plane(0));
        let second = _mm256_dpbusd_epi32(_mm256_slli_epi32::<8>(first), codes, plane(1));
        _mm256_cvtepi32_ps(_mm256_dpbusd_epi32(_mm256_slli_epi32::<8>(second), codes, plane(2)))
    }
}

/// `sums + factors codes digits`: eight lanes, the others are zeros.
#[inline(always)]
fn scaled(sums: __m512, factors: __m256, codes: __m256i, digits: &Digits8) -> __m512 {
    unsafe {
        let sums = _mm512_castps512_ps256(sums);
        _mm512_zextps256_ps512(_mm256_fmadd_ps(factors, products(codes, digits), sums))
    }
}

impl Isa for Vnni {
    type Digits = Digits8;
    type Codes = Codes;
    type Sums = __m512;

    super::bytes!();

    /// Of two to six bits: no format has unsigned codes of more.
    #[inline(always)]
    fn unsigned(bytes: __m256i) -> Codes {
        Codes::Small(bytes)
    }

    #[inline(always)]
    fn signed(bytes: __m256i) -> Codes {
        Codes::Floats(Avx512::signed(bytes))
    }

    #[inline(always)]
    fn of_table(table: &[i8; 16], words: &[u32; 4]) -> Codes {
        Codes::Floats(Avx512::of_table(table, words))
    }

    #[inline(always)]
    fn halves(words: &[u32; 16]) -> Codes {
        Codes::Floats(Avx512::halves(words))
    }

    #[inline(always)]
    fn uppers(words: &[u32; 16]) -> Codes {
        Codes::Floats(Avx512::uppers(words))
    }

    #[inline(always)]
    fn singles(words: &[u32; 32]) -> Codes {
        Codes::Floats(Avx512::singles(words))
    }

    #[inline(always)]
    fn raised(codes: Codes, bits: u32, by: f32) -> Codes {
        match codes {
            Codes::Small(codes) => {
                let by = unsafe { _mm256_mask_add_epi8(codes, bits, codes, _mm256_set1_epi8(by as i8)) };
                Codes::Small(by)
            }
            Codes::Floats(codes) => Codes::Floats(Avx512::raised(codes, bits, by)),
        }
    }

    #[inline(always)]
    fn zero() -> __m512 {
        Avx512::zero()
    }

    #[inline(always)]
    fn plus(sums: __m512, factor: f32, codes: Codes, x: Near<'_, Digits8>) -> __m512 {
        match codes {
            Codes::Small(codes) => scaled(sums, unsafe { _mm256_set1_ps(factor * x.digits.scale) }, codes, x.digits),
            Codes::Floats(codes) => Avx512::plus(sums, factor, codes, x.without_digits()),
        }
    }

    #[inline(always)]
    fn plus_halves(sums: __m512, factors: [f32; 2], codes: Codes, x: Near<'_, Digits8>) -> __m512 {
        match codes {
            Codes::Small(codes) => {
                let [first, second] = factors.map(|factor| factor * x.digits.scale);
                let factors = unsafe { _mm256_set_m128(_mm_set1_ps(second), _mm_set1_ps(first)) };
                scaled(sums, factors, codes, x.digits)
            }
            Codes::Floats(codes) => Avx512::plus_halves(sums, factors, codes, x.without_digits()),
        }
    }

    #[inline(always)]
    fn plus_offsets(sums: __m512, offset: &[f32; 16], x: &[f32]) -> Option<__m512> {
        unsafe {
            let mut low = _mm512_castps512_ps256(sums);
            for (offset, x) in offset.as_chunks::<8>().0.iter().zip(x.as_chunks::<8>().0) {
                low = _mm256_fmadd_ps(_mm256_loadu_ps(offset.as_ptr()), _mm256_loadu_ps(x.as_ptr()), low);
            }
            Some(_mm512_zextps256_ps512(low))
        }
    }

    #[inline(always)]
    fn total(sums: [__m512; 4]) -> f32 {
        Avx512::total(sums)
    }

    #[inline(always)]
    fn put(codes: Codes, factors: [f32; 2], offsets: [f32; 2], to: &mut [f32; STRIP]) {
        match codes {
            Codes::Small(codes) => Avx512::put(Avx512::unsigned(codes), factors, offsets, to),
            Codes::Floats(codes) => Avx512::put(codes, factors, offsets, to),
        }
    }
}
