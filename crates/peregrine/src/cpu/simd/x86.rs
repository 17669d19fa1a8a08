//! The same with AVX2 and AVX-512, and what both do in the same way.

#![expect(unsafe_code, reason = "intrinsics")]
// SAFETY of every `unsafe` here: the instructions are there, since only functions call these that
// `level` has allowed; loads and stores are inside of the arrays that are borrowed.

mod avx2;
mod avx512;
mod vnni;

use std::arch::x86_64::*;

/// 8 floats at a time.
pub struct Avx2;

/// 16 floats at a time.
pub struct Avx512;

/// Products of bytes, 32 at a time, where codes are small whole numbers; else as [`Avx512`].
pub struct Vnni;

/// What is the same with all of these instructions: bytes, and eight floats.
macro_rules! bytes {
    () => {
        type Bytes = __m256i;

        #[inline(always)]
        fn nibbles(words: &[u32; 4]) -> __m256i {
            super::nibbles(words)
        }

        #[inline(always)]
        fn pairs(words: &[u32; 2]) -> __m256i {
            super::pairs(words)
        }

        #[inline(always)]
        fn joined(low: __m256i, high: __m256i) -> __m256i {
            super::joined(low, high)
        }

        #[inline(always)]
        fn looked_up(table: &[i8; 16], nibbles: __m256i) -> __m256i {
            super::looked_up(table, nibbles)
        }

        #[inline(always)]
        fn raw(words: &[u32; 8]) -> __m256i {
            super::raw(words)
        }

        #[inline(always)]
        fn eight_halves(halves: &[u16; 8]) -> [f32; 8] {
            super::eight_halves(halves)
        }

        #[inline(always)]
        fn two_halves(halves: &[u16; 2]) -> [f32; 2] {
            super::two_halves(halves)
        }

        #[inline(always)]
        fn eight_bytes(words: &[u32; 2]) -> [f32; 8] {
            super::eight_bytes(words)
        }

        #[inline(always)]
        fn eight_signed(bytes: &[u16; 4]) -> [f32; 8] {
            super::eight_signed(bytes)
        }
    };
}
use bytes;

#[inline(always)]
fn nibbles(words: &[u32; 4]) -> __m256i {
    unsafe {
        let all = _mm_loadu_si128(words.as_ptr().cast());
        let low = _mm_and_si128(all, _mm_set1_epi8(15));
        let high = _mm_and_si128(_mm_srli_epi16::<4>(all), _mm_set1_epi8(15));
        _mm256_set_m128i(high, low)
    }
}

#[inline(always)]
fn pairs(words: &[u32; 2]) -> __m256i {
    unsafe {
        let shifts = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
        let both = _mm256_set_m128i(_mm_set1_epi32(words[1] as i32), _mm_set1_epi32(words[0] as i32));
        _mm256_and_si256(_mm256_srlv_epi32(both, shifts), _mm256_set1_epi8(3))
    }
}

#[inline(always)]
fn joined(low: __m256i, high: __m256i) -> __m256i {
    unsafe { _mm256_or_si256(low, _mm256_slli_epi16::<4>(high)) }
}

#[inline(always)]
fn looked_up(table: &[i8; 16], nibbles: __m256i) -> __m256i {
    unsafe {
        let table = _mm_loadu_si128(table.as_ptr().cast());
        _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), nibbles)
    }
}

#[inline(always)]
fn raw(words: &[u32; 8]) -> __m256i {
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}

#[inline(always)]
fn eight_halves(halves: &[u16; 8]) -> [f32; 8] {
    let mut eight = [0.0; 8];
    unsafe {
        let floats = _mm256_cvtph_ps(_mm_loadu_si128(halves.as_ptr().cast()));
        _mm256_storeu_ps(eight.as_mut_ptr(), floats);
    }
    eight
}

#[inline(always)]
fn two_halves([a, b]: &[u16; 2]) -> [f32; 2] {
    let both = u32::from(*a) | u32::from(*b) << 16;
    let floats = unsafe { _mm_castps_si128(_mm_cvtph_ps(_mm_cvtsi32_si128(both as i32))) };
    let floats = unsafe { _mm_cvtsi128_si64(floats) } as u64;
    [f32::from_bits(floats as u32), f32::from_bits((floats >> 32) as u32)]
}

/// Eight bytes in the low half of a register.
#[inline(always)]
fn eight(words: &[u32; 2]) -> __m128i {
    unsafe { _mm_cvtsi64_si128((u64::from(words[0]) | u64::from(words[1]) << 32) as i64) }
}

#[inline(always)]
fn eight_bytes(words: &[u32; 2]) -> [f32; 8] {
    let mut floats = [0.0; 8];
    unsafe { _mm256_storeu_ps(floats.as_mut_ptr(), _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(eight(words)))) };
    floats
}

#[inline(always)]
fn eight_signed(bytes: &[u16; 4]) -> [f32; 8] {
    let mut floats = [0.0; 8];
    let words = [0, 2].map(|i| u32::from(bytes[i]) | u32::from(bytes[i + 1]) << 16);
    unsafe { _mm256_storeu_ps(floats.as_mut_ptr(), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight(&words)))) };
    floats
}
