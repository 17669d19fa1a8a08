//! Wide code: a body written for vectors of `L` floats, with or without fused multiply-add, is
//! compiled for each set
//! of instructions, and the best that this processor has is called. What compilers do not find by
//! themselves, weights from blocks, is in [`Isa`] by hand.

// Where codes and the input are floats nobody reads digits.
#[cfg_attr(not(any(target_arch = "x86_64", all(target_arch = "wasm32", target_feature = "simd128"))), allow(dead_code))]
mod digits;
// The same.
#[cfg_attr(not(any(target_arch = "x86_64", all(target_arch = "wasm32", target_feature = "simd128"))), allow(dead_code))]
mod isa;
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod plain;
#[cfg(any(all(target_arch = "wasm32", target_feature = "simd128"), test))]
mod wasm;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "x86_64")]
pub use digits::Digits8;
#[cfg(any(all(target_arch = "wasm32", target_feature = "simd128"), test))]
pub use digits::Digits12;
pub use digits::Strip;
pub use isa::{Isa, Near, Wide};
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
pub use plain::Plain;
#[cfg(test)]
pub use wasm::Simd128;
#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512, Vnni};

/// What every processor of its kind has, and how many floats it takes at a time.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub type Base = wasm::Simd128;
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
pub type Base = Plain;
/// See [`Base`].
pub type BaseDigits = <Base as Isa>::Digits;
/// See [`Base`].
pub const BASE_LANES: usize = if cfg!(all(target_arch = "wasm32", target_feature = "simd128")) { 4 } else { 8 };
/// Whether that has fused multiply-add.
pub const BASE_FMA: bool = cfg!(target_arch = "aarch64");

/// What this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// What every processor of its kind has.
    Plain,
    /// 8 floats at a time.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 16 floats at a time.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// Found once.
pub fn level() -> Level {
    static LEVEL: std::sync::LazyLock<Level> = std::sync::LazyLock::new(find);
    *LEVEL
}

fn find() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 =
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
        let wide = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq");
        if avx2 && wide {
            return Level::Avx512;
        }
        if avx2 {
            return Level::Avx2;
        }
    }
    Level::Plain
}

/// Whether it also has products of bytes that are summed in integers, 32 at a time.
#[cfg(target_arch = "x86_64")]
pub fn has_vnni() -> bool {
    level() == Level::Avx512 && is_x86_feature_detected!("avx512vnni")
}

/// For people.
pub fn name() -> &'static str {
    match level() {
        Level::Plain if cfg!(target_arch = "aarch64") => "NEON",
        Level::Plain if cfg!(all(target_arch = "wasm32", target_feature = "simd128")) => "SIMD128",
        Level::Plain => "portable code",
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => "AVX2",
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => "AVX-512",
    }
}

/// `a b + c`, rounded once where the processor can.
#[inline(always)]
pub fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `wide!(fn NAME[GENERICS](ARGS) -> RESULT = BODY)`: a function that calls
/// `BODY::<GENERICS, I, L, FMA>` as it was compiled for the best instructions `I` there are; `L`
/// floats at a time. The body and all it calls must be `#[inline(always)]`.
macro_rules! wide {
    (
        $(#[$meta:meta])*
        $vis:vis fn $name:ident[$($generic:ident: $bound:ident),*]($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? = $body:ident
    ) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, reason = "what a kernel has")]
        $vis fn $name<$($generic: $bound),*>($($arg: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[allow(clippy::too_many_arguments, reason = "what a kernel has")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
            fn avx512<$($generic: $bound),*>($($arg: $type),*) $(-> $result)? {
                $body::<$($generic,)* $crate::cpu::simd::Avx512, 16, true>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[allow(clippy::too_many_arguments, reason = "what a kernel has")]
            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2<$($generic: $bound),*>($($arg: $type),*) $(-> $result)? {
                $body::<$($generic,)* $crate::cpu::simd::Avx2, 8, true>($($arg),*)
            }
            match $crate::cpu::simd::level() {
                #[cfg(target_arch = "x86_64")]
                $crate::cpu::simd::Level::Avx512 => {
                    #[expect(unsafe_code, reason = "the processor has these instructions: `level` has looked")]
                    // SAFETY: as the reason says.
                    unsafe { avx512::<$($generic),*>($($arg),*) }
                }
                #[cfg(target_arch = "x86_64")]
                $crate::cpu::simd::Level::Avx2 => {
                    #[expect(unsafe_code, reason = "the processor has these instructions: `level` has looked")]
                    // SAFETY: as the reason says.
                    unsafe { avx2::<$($generic),*>($($arg),*) }
                }
                $crate::cpu::simd::Level::Plain => {
                    use $crate::cpu::simd::{BASE_FMA, BASE_LANES, Base};
                    $body::<$($generic,)* Base, BASE_LANES, BASE_FMA>($($arg),*)
                }
            }
        }
    };
}
pub(crate) use wide;

/// e^x, to 2 units in the last place; what is beyond f32 ends at its smallest and largest.
#[inline(always)]
pub fn exp<const FMA: bool>(x: f32) -> f32 {
    // Adding it leaves a whole number in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let whole = fma::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = whole - ROUND;
    // ln 2 in two parts.
    let r = fma::<FMA>(n, -0.693_145_75, x);
    let r = fma::<FMA>(n, -1.428_606_8e-6, r);
    let mut p = 1.388_889e-3;
    for c in [8.333_333e-3, 4.166_666_8e-2, 1.666_666_7e-1, 0.5, 1.0, 1.0] {
        p = fma::<FMA>(p, r, c);
    }
    f32::from_bits(p.to_bits().wrapping_add(whole.to_bits() << 23))
}

/// v sigmoid(v)
#[inline(always)]
pub fn silu<const FMA: bool>(v: f32) -> f32 {
    v / (1.0 + exp::<FMA>(-v))
}

/// A half as f32.
#[inline(always)]
pub fn half(bits: u16) -> f32 {
    let bits = u32::from(bits);
    let magnitude = (bits & 0x7fff) << 13;
    // 2^112: from the one bias to the other, and denormal numbers become normal.
    let value = f32::from_bits(magnitude) * f32::from_bits(0x7780_0000);
    let special = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(value.to_bits() | special | (bits & 0x8000) << 16)
}

/// The sum of lanes.
#[inline(always)]
pub fn sum<const L: usize>(lanes: [f32; L]) -> f32 {
    let mut lanes = lanes;
    let mut width = L / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// The scalar product of slices of one length.
#[inline(always)]
pub fn dot<I: Wide<L>, const L: usize, const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<L>(), b.as_chunks::<L>());
    let mut sums = [I::splat(0.0); 2];
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        sums[i % 2] = I::fma(I::load(a), I::load(b), sums[i % 2]);
    }
    let rest = a_rest.iter().zip(b_rest).fold(0.0, |sum, (a, b)| fma::<FMA>(*a, *b, sum));
    I::sum(sums[0]) + I::sum(sums[1]) + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_those_of_the_crate() {
        for bits in 0..=u16::MAX {
            let (found, expected) = (half(bits), ::half::f16::from_bits(bits).to_f32());
            assert!(found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()), "{bits:#x}");
        }
    }

    #[test]
    fn exponentials_are_close_and_a_nan_stays_one() {
        let both = |x: f32| [exp::<true>(x), exp::<false>(x)];
        for i in -870_000..880_000 {
            let x = i as f32 * 1e-4;
            let expected = f64::from(x).exp();
            for found in both(x) {
                assert!((f64::from(found) - expected).abs() <= 3e-7 * expected, "e^{x}: {found}, expected {expected}");
            }
        }
        assert!(both(f32::NAN).iter().all(|e| e.is_nan()));
        assert!(both(-1e30).iter().all(|e| *e >= 0.0 && *e < 2e-38));
        assert!(both(f32::INFINITY).iter().all(|e| *e > 1e38));
        assert_eq!(both(0.0), [1.0, 1.0]);
    }
}
