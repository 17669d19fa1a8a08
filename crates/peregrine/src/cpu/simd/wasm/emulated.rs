//! What `wasm.rs` uses of SIMD128 in plain code, so that its arithmetic is tested natively, too.
//! Sums in integers must not overflow here, though WebAssembly would say nothing.

#![allow(non_camel_case_types, reason = "as in std::arch")]

use bytemuck::Pod;

#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct v128([u8; 16]);

fn lanes<T: Pod, const N: usize>(v: v128) -> [T; N] {
    bytemuck::cast_slice::<u8, T>(&v.0).try_into().unwrap()
}

fn of<T: Pod, const N: usize>(lanes: [T; N]) -> v128 {
    v128(bytemuck::cast_slice(&lanes).try_into().unwrap())
}

fn map<T: Pod, const N: usize>(v: v128, each: impl Fn(T) -> T) -> v128 {
    of(lanes::<T, N>(v).map(each))
}

fn zip<T: Pod, const N: usize>(a: v128, b: v128, each: impl Fn(T, T) -> T) -> v128 {
    let (a, b) = (lanes::<T, N>(a), lanes::<T, N>(b));
    of::<T, N>(std::array::from_fn(|i| each(a[i], b[i])))
}

/// Half of the lanes, from lane `first` on, twice as wide.
fn extend<T: Pod + Into<U>, U: Pod, const N: usize, const M: usize>(v: v128, first: usize) -> v128 {
    let lanes = lanes::<T, N>(v);
    of::<U, M>(std::array::from_fn(|i| lanes[first + i].into()))
}

pub unsafe fn v128_load(from: *const v128) -> v128 {
    unsafe { from.read_unaligned() }
}

pub unsafe fn v128_load64_zero(from: *const u64) -> v128 {
    of([unsafe { from.read_unaligned() }, 0])
}

pub unsafe fn v128_store(to: *mut v128, v: v128) {
    unsafe { to.write_unaligned(v) }
}

pub fn v128_and(a: v128, b: v128) -> v128 {
    zip::<u8, 16>(a, b, |a, b| a & b)
}

pub fn v128_or(a: v128, b: v128) -> v128 {
    zip::<u8, 16>(a, b, |a, b| a | b)
}

pub fn u8x16_splat(value: u8) -> v128 {
    of([value; 16])
}

pub fn u16x8_splat(value: u16) -> v128 {
    of([value; 8])
}

pub fn i32x4_splat(value: i32) -> v128 {
    of([value; 4])
}

pub fn u32x4_splat(value: u32) -> v128 {
    of([value; 4])
}

pub fn u64x2_splat(value: u64) -> v128 {
    of([value; 2])
}

pub fn f32x4_splat(value: f32) -> v128 {
    of([value; 4])
}

pub fn u32x4(a: u32, b: u32, c: u32, d: u32) -> v128 {
    of([a, b, c, d])
}

pub fn u16x8_shr(v: v128, by: u32) -> v128 {
    map::<u16, 8>(v, |v| v >> by)
}

pub fn u16x8_shl(v: v128, by: u32) -> v128 {
    map::<u16, 8>(v, |v| v << by)
}

pub fn i16x8_shr(v: v128, by: u32) -> v128 {
    map::<i16, 8>(v, |v| v >> by)
}

pub fn i16x8_shl(v: v128, by: u32) -> v128 {
    map::<i16, 8>(v, |v| v << by)
}

pub fn u32x4_shr(v: v128, by: u32) -> v128 {
    map::<u32, 4>(v, |v| v >> by)
}

pub fn u32x4_shl(v: v128, by: u32) -> v128 {
    map::<u32, 4>(v, |v| v << by)
}

pub fn i32x4_shl(v: v128, by: u32) -> v128 {
    map::<i32, 4>(v, |v| v.checked_mul(1 << by).expect("a sum of products is an i32"))
}

pub fn i32x4_add(a: v128, b: v128) -> v128 {
    zip::<i32, 4>(a, b, |a, b| a.checked_add(b).expect("a sum of products is an i32"))
}

pub fn i32x4_eq(a: v128, b: v128) -> v128 {
    zip::<i32, 4>(a, b, |a, b| if a == b { -1 } else { 0 })
}

pub fn i8x16_eq(a: v128, b: v128) -> v128 {
    zip::<i8, 16>(a, b, |a, b| if a == b { -1 } else { 0 })
}

pub fn i32x4_dot_i16x8(a: v128, b: v128) -> v128 {
    let (a, b) = (lanes::<i16, 8>(a).map(i32::from), lanes::<i16, 8>(b).map(i32::from));
    of::<i32, 4>(std::array::from_fn(|i| a[2 * i] * b[2 * i] + a[2 * i + 1] * b[2 * i + 1]))
}

pub fn i8x16_swizzle(table: v128, at: v128) -> v128 {
    let table = table.0;
    map::<u8, 16>(at, |at| table.get(usize::from(at)).copied().unwrap_or(0))
}

macro_rules! shuffle {
    ($name:ident, $type:ty, $count:literal: $($lane:ident)*) => {
        pub fn $name<$(const $lane: usize),*>(a: v128, b: v128) -> v128 {
            let all: Vec<$type> = [lanes::<$type, $count>(a), lanes(b)].concat();
            of([$(all[$lane]),*])
        }
    };
}
shuffle!(i8x16_shuffle, i8, 16: A B C D E F G H I J K L M N O P);
shuffle!(i32x4_shuffle, i32, 4: A B C D);
shuffle!(i64x2_shuffle, i64, 2: A B);

pub fn i16x8_extend_low_u8x16(v: v128) -> v128 {
    extend::<u8, i16, 16, 8>(v, 0)
}

pub fn i16x8_extend_high_u8x16(v: v128) -> v128 {
    extend::<u8, i16, 16, 8>(v, 8)
}

pub fn i16x8_extend_low_i8x16(v: v128) -> v128 {
    extend::<i8, i16, 16, 8>(v, 0)
}

pub fn i16x8_extend_high_i8x16(v: v128) -> v128 {
    extend::<i8, i16, 16, 8>(v, 8)
}

pub fn i32x4_extend_low_i16x8(v: v128) -> v128 {
    extend::<i16, i32, 8, 4>(v, 0)
}

pub fn i32x4_extend_high_i16x8(v: v128) -> v128 {
    extend::<i16, i32, 8, 4>(v, 4)
}

pub fn u32x4_extend_low_u16x8(v: v128) -> v128 {
    extend::<u16, u32, 8, 4>(v, 0)
}

pub fn u32x4_extend_high_u16x8(v: v128) -> v128 {
    extend::<u16, u32, 8, 4>(v, 4)
}

pub fn f32x4_convert_i32x4(v: v128) -> v128 {
    of(lanes::<i32, 4>(v).map(|v| v as f32))
}

pub fn f32x4_add(a: v128, b: v128) -> v128 {
    zip::<f32, 4>(a, b, |a, b| a + b)
}

pub fn f32x4_mul(a: v128, b: v128) -> v128 {
    zip::<f32, 4>(a, b, |a, b| a * b)
}

pub fn f32x4_extract_lane<const LANE: usize>(v: v128) -> f32 {
    lanes::<f32, 4>(v)[LANE]
}
