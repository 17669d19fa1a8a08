//! Plain code: for processors of which nothing is known, and for tests.

use super::{Isa, Near, Wide, fma, half};

/// Weights of a strip.
const STRIP: usize = 32;

/// Plain code, which compilers make as wide as they can.
pub struct Plain;

/// Whether the processor has fused multiply-add whatever its model.
const FMA: bool = cfg!(target_arch = "aarch64");

impl Isa for Plain {
    type Digits = ();
    type Bytes = [u8; STRIP];
    type Codes = [f32; STRIP];
    type Sums = [f32; 8];

    #[inline(always)]
    fn nibbles(words: &[u32; 4]) -> [u8; STRIP] {
        let from: [u8; 16] = bytemuck::cast(words.map(u32::to_le));
        let mut bytes = [0; STRIP];
        for i in 0..16 {
            bytes[i] = from[i] & 15;
            bytes[16 + i] = from[i] >> 4;
        }
        bytes
    }

    #[inline(always)]
    fn pairs(words: &[u32; 2]) -> [u8; STRIP] {
        let mut all = [0; 8];
        for i in 0..4 {
            all[i] = ((words[0] >> (2 * i)) & 0x0303_0303).to_le();
            all[4 + i] = ((words[1] >> (2 * i)) & 0x0303_0303).to_le();
        }
        bytemuck::cast(all)
    }

    #[inline(always)]
    fn joined(low: [u8; STRIP], high: [u8; STRIP]) -> [u8; STRIP] {
        let mut bytes = low;
        for i in 0..STRIP {
            bytes[i] |= high[i] << 4;
        }
        bytes
    }

    #[inline(always)]
    fn looked_up(table: &[i8; 16], nibbles: [u8; STRIP]) -> [u8; STRIP] {
        nibbles.map(|nibble| table[usize::from(nibble & 15)] as u8)
    }

    #[inline(always)]
    fn raw(words: &[u32; 8]) -> [u8; STRIP] {
        bytemuck::cast(words.map(u32::to_le))
    }

    #[inline(always)]
    fn eight_halves(halves: &[u16; 8]) -> [f32; 8] {
        halves.map(half)
    }

    #[inline(always)]
    fn two_halves(halves: &[u16; 2]) -> [f32; 2] {
        halves.map(half)
    }

    #[inline(always)]
    fn eight_bytes(words: &[u32; 2]) -> [f32; 8] {
        let bytes: [u8; 8] = bytemuck::cast(words.map(u32::to_le));
        bytes.map(f32::from)
    }

    #[inline(always)]
    fn eight_signed(bytes: &[u16; 4]) -> [f32; 8] {
        let bytes: [u8; 8] = bytemuck::cast(bytes.map(u16::to_le));
        bytes.map(|byte| f32::from(byte as i8))
    }

    #[inline(always)]
    fn unsigned(bytes: [u8; STRIP]) -> [f32; STRIP] {
        bytes.map(f32::from)
    }

    #[inline(always)]
    fn signed(bytes: [u8; STRIP]) -> [f32; STRIP] {
        bytes.map(|byte| f32::from(byte as i8))
    }

    #[inline(always)]
    fn halves(words: &[u32; 16]) -> [f32; STRIP] {
        let halves: [u16; STRIP] = bytemuck::cast(words.map(u32::to_le));
        halves.map(half)
    }

    #[inline(always)]
    fn uppers(words: &[u32; 16]) -> [f32; STRIP] {
        let halves: [u16; STRIP] = bytemuck::cast(words.map(u32::to_le));
        halves.map(|upper| f32::from_bits(u32::from(upper) << 16))
    }

    #[inline(always)]
    fn singles(words: &[u32; 32]) -> [f32; STRIP] {
        words.map(f32::from_bits)
    }

    #[inline(always)]
    fn raised(codes: [f32; STRIP], bits: u32, by: f32) -> [f32; STRIP] {
        let mut codes = codes;
        for (v, code) in codes.iter_mut().enumerate() {
            *code += if bits & (1 << v) != 0 { by } else { 0.0 };
        }
        codes
    }

    #[inline(always)]
    fn zero() -> [f32; 8] {
        [0.0; 8]
    }

    #[inline(always)]
    fn plus(sums: [f32; 8], factor: f32, codes: [f32; STRIP], x: Near<'_, Self::Digits>) -> [f32; 8] {
        let x = x.floats;
        let mut sums = sums;
        for i in 0..8 {
            let first = fma::<FMA>(codes[8 + i], x[8 + i], codes[i] * x[i]);
            let second = fma::<FMA>(codes[24 + i], x[24 + i], codes[16 + i] * x[16 + i]);
            sums[i] = fma::<FMA>(factor, first + second, sums[i]);
        }
        sums
    }

    #[inline(always)]
    fn plus_halves(sums: [f32; 8], factors: [f32; 2], codes: [f32; STRIP], x: Near<'_, Self::Digits>) -> [f32; 8] {
        let x = x.floats;
        let mut sums = sums;
        for i in 0..8 {
            let first = fma::<FMA>(codes[8 + i], x[8 + i], codes[i] * x[i]);
            let second = fma::<FMA>(codes[24 + i], x[24 + i], codes[16 + i] * x[16 + i]);
            sums[i] = fma::<FMA>(factors[1], second, fma::<FMA>(factors[0], first, sums[i]));
        }
        sums
    }

    #[inline(always)]
    fn total(sums: [[f32; 8]; 4]) -> f32 {
        let mut all = [0.0; 8];
        for i in 0..8 {
            all[i] = (sums[0][i] + sums[1][i]) + (sums[2][i] + sums[3][i]);
        }
        super::sum::<8>(all)
    }

    #[inline(always)]
    fn put(codes: [f32; STRIP], factors: [f32; 2], offsets: [f32; 2], to: &mut [f32; STRIP]) {
        for i in 0..STRIP {
            to[i] = fma::<FMA>(factors[i / 16], codes[i], offsets[i / 16]);
        }
    }
}

impl Wide<8> for Plain {
    type V = [f32; 8];

    #[inline(always)]
    fn splat(value: f32) -> [f32; 8] {
        [value; 8]
    }

    #[inline(always)]
    fn load(from: &[f32; 8]) -> [f32; 8] {
        *from
    }

    #[inline(always)]
    fn store(v: [f32; 8], to: &mut [f32; 8]) {
        *to = v;
    }

    #[inline(always)]
    fn fma(a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        let mut sums = c;
        for i in 0..8 {
            sums[i] = fma::<FMA>(a[i], b[i], sums[i]);
        }
        sums
    }

    #[inline(always)]
    fn mul(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        let mut products = a;
        for i in 0..8 {
            products[i] *= b[i];
        }
        products
    }

    #[inline(always)]
    fn sum(v: [f32; 8]) -> f32 {
        super::sum::<8>(v)
    }
}
