//! Floats as whole numbers of three digits, so that they meet codes in integers without a loss.

/// Floats of a strip.
const STRIP: usize = 32;

/// The highest bit of a whole number, below its sign.
const BITS: u32 = 22;

/// Adding it leaves a whole number in the low bits.
const ROUND: f32 = 12_582_912.0;

/// A strip of floats: `scale (65536 d0 + 256 d1 + d2)`, each to 2^-23 of the power of two above the
/// largest. d0 is between -64 and 64, so that the sum of four products with codes below 64 is an
/// i32.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "x86 alone has a reader"))]
#[repr(C, align(32))]
pub struct Digits {
    pub planes: [[i8; STRIP]; 3],
    pub scale: f32,
}

impl Digits {
    /// Of zeros.
    pub const NONE: Self = Self { planes: [[0; STRIP]; 3], scale: 0.0 };

    /// Of floats. Where one of them is not finite the scale is a NaN; all below 2^-104 are zeros.
    #[inline(always)]
    pub fn of(x: &[f32; STRIP]) -> Self {
        let mut most = 0;
        for v in x {
            most = most.max(v.to_bits() & 0x7fff_ffff);
        }
        let exponent = most >> 23;
        if exponent == 255 {
            return Self { scale: f32::NAN, ..Self::NONE };
        }
        if exponent < BITS {
            return Self::NONE;
        }
        // Powers of two: 2^21 / 2^e, whose product with the largest is below 2^22, and its inverse.
        let up = f32::from_bits((254 + BITS - 1 - exponent) << 23);
        let mut digits = Self { scale: f32::from_bits((exponent + 1 - BITS) << 23), ..Self::NONE };
        for i in 0..STRIP {
            let whole = (x[i] * up + ROUND).to_bits().wrapping_sub(ROUND.to_bits()) as i32;
            let last = whole as i8;
            let rest = (whole - i32::from(last)) >> 8;
            let middle = rest as i8;
            digits.planes[0][i] = ((rest - i32::from(middle)) >> 8) as i8;
            digits.planes[1][i] = middle;
            digits.planes[2][i] = last;
        }
        digits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_the_floats() {
        let mut state = 7u64;
        for round in -110..120 {
            let x: [f32; STRIP] = std::array::from_fn(|i| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let v = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
                // The largest is whole, and there is one near the next power of two.
                (if i == 3 { -0.999_999_9 } else { v }) * (f64::from(round).exp2() as f32)
            });
            let digits = Digits::of(&x);
            let bound = f64::from(round - 23).exp2().max(f64::from(-104).exp2());
            for (i, x) in x.iter().enumerate() {
                let [a, b, c] = digits.planes.map(|plane| f64::from(plane[i]));
                assert!((-64.0..=64.0).contains(&a), "2^{round}: first digit {a}");
                let found = f64::from(digits.scale) * (65536.0 * a + 256.0 * b + c);
                assert!((found - f64::from(*x)).abs() <= bound, "2^{round}: {found}, expected {x}");
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_a_nan() {
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = [1.0; STRIP];
            x[17] = wrong;
            assert!(Digits::of(&x).scale.is_nan());
        }
        assert_eq!(Digits::of(&[0.0; STRIP]).scale, 0.0);
    }
}
