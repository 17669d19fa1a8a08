//! The block formats: how a weight matrix lies in a file, and how it lies on the GPU.
//!
//! One row of [`FORMATS`] is everything there is to know about a format on the CPU side. To add a
//! format, add its file in `blocks` and its line below, and its WGSL in `shaders/formats`.
//!
//! In the file, a row of a matrix is a run of blocks of [`FormatSpec::block`] values. On the GPU, a
//! row is a run of *strips* of 32 consecutive values, because blocks of 18, 34 or 210 bytes cannot
//! be loaded as aligned words. Two planes make up a matrix:
//!
//! - plane Q: [`FormatSpec::strip_words`] `u32` a strip, all strips in row-major order;
//! - plane S (scales): [`FormatSpec::scale_halves`] 16-bit words for each unit of
//!   [`FormatSpec::unit_strips`] strips.
//!
//! Repacking moves bits and changes no value: see `tests/checkpoint`.

mod affine;
mod bits;
mod quantize;
mod scaled;
mod spec;

use std::fmt;

/// Values in a strip, the GPU's smallest piece of a row.
pub const STRIP: usize = 32;

/// Quantizes the values of one block to its bytes.
pub type Quantize = fn(&[f32], &mut [u8]);

/// Everything about one format that the CPU knows.
#[derive(Debug)]
pub struct FormatSpec {
    /// Which one.
    pub format: Format,
    /// GGUF's name.
    pub name: &'static str,
    /// GGUF's type id.
    pub gguf_id: u32,
    /// Values in a block.
    pub block: u32,
    /// Bytes of a block in a file.
    pub bytes: u32,
    /// Where a block has halves: its scales. If they are finite, so are all values.
    pub halves: &'static [usize],
    /// One block to its values, bit for bit as the field's reference does.
    pub dequantize: fn(&[u8], &mut [f32]),
    /// `u32` words of a strip in plane Q.
    pub strip_words: u32,
    /// 16-bit words of a unit in plane S; 0: there is no plane S.
    pub scale_halves: u32,
    /// Strips in a unit.
    pub unit_strips: u32,
    /// One unit (`unit_strips` strips; for the float formats possibly less, at the end of a row) to
    /// its words of plane Q and plane S. Prefer [`FormatSpec::repack_row`].
    pub repack: fn(&[u8], &mut [u32], &mut [u16]),
    /// Values to one block. `None`: this runtime only reads the format.
    pub quantize: Option<Quantize>,
}

macro_rules! formats {
    ($($format:ident = $file:ident: $docs:literal;)*) => {
        /// Their files: rustfmt does not see them, web/scripts/lint.sh asks it to.
        mod blocks {
            $(pub(super) mod $file;)*
        }

        /// A block format. The names are GGUF's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(non_camel_case_types)]
        pub enum Format {
            $(#[doc = $docs] $format,)*
        }

        /// All formats, one row each.
        pub static FORMATS: &[FormatSpec] = &[$(blocks::$file::SPEC),*];
    };
}

// A line each: its name in GGUF, its file in `blocks`, and what it is.
formats! {
    F32 = f32: "IEEE single precision.";
    F16 = f16: "IEEE half precision.";
    BF16 = bf16: "The upper 16 bits of a single.";
    Q4_0 = q4_0: "32 values: a half scale and 4-bit integers.";
    Q4_1 = q4_1: "32 values: a half scale, a half minimum and 4-bit integers.";
    Q5_0 = q5_0: "32 values: a half scale and 5-bit integers.";
    Q5_1 = q5_1: "32 values: a half scale, a half minimum and 5-bit integers.";
    Q8_0 = q8_0: "32 values: a half scale and 8-bit integers.";
    Q2_K = q2_k: "256 values in 16 groups: 2-bit integers, 4-bit scales and minima.";
    Q3_K = q3_k: "256 values in 16 groups: 3-bit integers, 6-bit scales.";
    Q4_K = q4_k: "256 values in 8 groups: 4-bit integers, 6-bit scales and minima.";
    Q5_K = q5_k: "256 values in 8 groups: 5-bit integers, 6-bit scales and minima.";
    Q6_K = q6_k: "256 values in 16 groups: 6-bit integers, 8-bit scales.";
    IQ4_NL = iq4_nl: "32 values: a half scale and 4-bit codes of uneven steps.";
    IQ4_XS = iq4_xs: "256 values in 8 groups: 4-bit codes of uneven steps, 6-bit scales.";
}

impl Format {
    /// The format's row of [`FORMATS`].
    pub fn spec(self) -> &'static FormatSpec {
        &FORMATS[self as usize]
    }

    /// The format with this GGUF type id, if it is one that we run.
    pub fn from_gguf_id(id: u32) -> Option<Self> {
        FORMATS.iter().find(|spec| spec.gguf_id == id).map(|spec| spec.format)
    }

    /// Bytes of a row of `cols` values in a file; `None` if the row is not a whole number of
    /// blocks, or too long.
    pub fn row_bytes(self, cols: u64) -> Option<u64> {
        let spec = self.spec();
        let block = u64::from(spec.block);
        if !cols.is_multiple_of(block) {
            return None;
        }
        (cols / block).checked_mul(u64::from(spec.bytes))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.spec().name)
    }
}
