//! Floats as whole numbers of two or three digits, so that they meet codes in integers without a
//! loss.

/// Floats of a strip.
const STRIP: usize = 32;

/// The highest bit of a whole number, below its sign.
const BITS: u32 = 22;

/// Adding it leaves a whole number in the low bits.
const ROUND: f32 = 12_582_912.0;

/// A strip of the input in the way in which a set of instructions multiplies integers.
pub trait Strip: Copy {
    /// Of zeros.
    const NONE: Self;
    /// Of floats. Where one of them is not finite the products are NaNs; where all are below
    /// 2^-104 they may be zeros.
    fn of(x: &[f32; STRIP]) -> Self;
}

/// Nobody reads it.
impl Strip for () {
    const NONE: Self = ();

    #[inline(always)]
    fn of(_: &[f32; STRIP]) {}
}

/// `scale (65536 d0 + 256 d1 + d2)`, each to 2^-23 of the power of two above the largest. d0 is
/// between -64 and 64, so that the sum of four products with codes below 64 is an i32.
#[derive(Clone, Copy, Debug)]
#[cfg(any(target_arch = "x86_64", test))]
#[repr(C, align(32))]
pub struct Digits8 {
    pub planes: [[i8; STRIP]; 3],
    pub scale: f32,
}

#[cfg(any(target_arch = "x86_64", test))]
impl Strip for Digits8 {
    const NONE: Self = Self { planes: [[0; STRIP]; 3], scale: 0.0 };

    #[inline(always)]
    fn of(x: &[f32; STRIP]) -> Self {
        let (up, scale) = scales(x);
        let mut digits = Self { scale, ..Self::NONE };
        if scale.is_nan() {
            return digits;
        }
        for i in 0..STRIP {
            let whole = whole(x[i], up);
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

/// `scale (4096 d0 + d1)`, each to 2^-23 of the power of two above the largest. d0 is between -1024
/// and 1024, d1 between -2048 and 2047.
#[derive(Clone, Copy, Debug)]
#[cfg(any(all(target_arch = "wasm32", target_feature = "simd128"), test))]
#[repr(C, align(16))]
pub struct Digits12 {
    /// Of each half strip first those with even numbers, then the others: see [`Self::place`].
    pub planes: [[i16; STRIP]; 2],
    pub scale: f32,
}

#[cfg(any(all(target_arch = "wasm32", target_feature = "simd128"), test))]
impl Digits12 {
    /// Where float `i` lies: as bytes do when pairs of them are taken apart by a mask and a shift.
    const fn place(i: usize) -> usize {
        i / 16 * 16 + i % 2 * 8 + i % 16 / 2
    }
}

#[cfg(any(all(target_arch = "wasm32", target_feature = "simd128"), test))]
impl Strip for Digits12 {
    const NONE: Self = Self { planes: [[0; STRIP]; 2], scale: 0.0 };

    #[inline(always)]
    fn of(x: &[f32; STRIP]) -> Self {
        let (up, scale) = scales(x);
        let mut digits = Self { scale, ..Self::NONE };
        if scale.is_nan() {
            return digits;
        }
        for i in 0..STRIP {
            let whole = whole(x[i], up);
            let last = (whole << 20) >> 20;
            digits.planes[0][Self::place(i)] = ((whole - last) >> 12) as i16;
            digits.planes[1][Self::place(i)] = last as i16;
        }
        digits
    }
}

/// A power of two whose product with the largest is below 2^22, and its inverse: the scale of whole
/// numbers, a NaN where a float is not finite. Both are zero where all floats are below 2^-104.
#[inline(always)]
fn scales(x: &[f32; STRIP]) -> (f32, f32) {
    let mut most = 0;
    for v in x {
        most = most.max(v.to_bits() & 0x7fff_ffff);
    }
    let exponent = most >> 23;
    match exponent {
        255 => (0.0, f32::NAN),
        0..BITS => (0.0, 0.0),
        _ => (f32::from_bits((254 + BITS - 1 - exponent) << 23), f32::from_bits((exponent + 1 - BITS) << 23)),
    }
}

/// The whole number that is next to `up x`.
#[inline(always)]
fn whole(x: f32, up: f32) -> i32 {
    (x * up + ROUND).to_bits().wrapping_sub(ROUND.to_bits()) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Floats below 2^round: one is near that, and all are whole where it is large.
    fn floats(round: i32, state: &mut u64) -> [f32; STRIP] {
        std::array::from_fn(|i| {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let v = (*state >> 40) as f32 / (1 << 23) as f32 - 1.0;
            (if i == 3 { -0.999_999_9 } else { v }) * (f64::from(round).exp2() as f32)
        })
    }

    /// What float `i` became.
    trait Read: Strip {
        fn read(&self, i: usize) -> f64;
        fn scale(&self) -> f32;
    }

    impl Read for Digits8 {
        fn read(&self, i: usize) -> f64 {
            let [a, b, c] = self.planes.map(|plane| f64::from(plane[i]));
            assert!((-64.0..=64.0).contains(&a), "first digit {a}");
            f64::from(self.scale) * (65536.0 * a + 256.0 * b + c)
        }

        fn scale(&self) -> f32 {
            self.scale
        }
    }

    impl Read for Digits12 {
        fn read(&self, i: usize) -> f64 {
            let [a, b] = self.planes.map(|plane| f64::from(plane[Self::place(i)]));
            assert!((-1024.0..=1024.0).contains(&a) && (-2048.0..=2047.0).contains(&b), "digits {a}, {b}");
            f64::from(self.scale) * (4096.0 * a + b)
        }

        fn scale(&self) -> f32 {
            self.scale
        }
    }

    fn are_the_floats<D: Read>() {
        let mut state = 7;
        for round in -110..120 {
            let x = floats(round, &mut state);
            let digits = D::of(&x);
            let bound = f64::from(round - 23).exp2().max(f64::from(-104).exp2());
            for (i, x) in x.iter().enumerate() {
                let found = digits.read(i);
                assert!((found - f64::from(*x)).abs() <= bound, "2^{round}: {found}, expected {x}");
            }
        }
    }

    #[test]
    fn digits_are_the_floats() {
        are_the_floats::<Digits8>();
        are_the_floats::<Digits12>();
    }

    #[test]
    fn what_is_not_finite_is_a_nan() {
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = [1.0; STRIP];
            x[17] = wrong;
            assert!(Digits8::of(&x).scale().is_nan());
            assert!(Digits12::of(&x).scale().is_nan());
        }
        assert_eq!(Digits8::of(&[0.0; STRIP]).scale(), 0.0);
        assert_eq!(Digits12::of(&[0.0; STRIP]).scale(), 0.0);
    }

    #[test]
    fn every_float_has_a_place_of_its_own() {
        let mut places: Vec<usize> = (0..STRIP).map(Digits12::place).collect();
        assert_eq!(places[..4], [0, 8, 1, 9]);
        assert_eq!(places[16..20], [16, 24, 17, 25]);
        places.sort_unstable();
        assert!(places.into_iter().eq(0..STRIP));
    }
}
