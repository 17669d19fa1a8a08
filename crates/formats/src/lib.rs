//! The block formats: how a weight matrix lies in a file, and how it lies on the GPU.
//!
//! One row of [`FORMATS`] is everything there is to know about a format on the CPU side. To add a format, add a
//! variant, a row, and its WGSL piece.
//!
//! In the file, a row of a matrix is a run of blocks of [`FormatSpec::block`] values. On the GPU, a row is a run of
//! *strips* of 32 consecutive values, because blocks of 18, 34 or 210 bytes cannot be loaded as aligned words. Two
//! planes make up a matrix:
//!
//! - plane Q: [`FormatSpec::strip_words`] `u32` a strip, all strips in row-major order;
//! - plane M (meta): [`FormatSpec::meta_halves`] 16-bit words for each unit of [`FormatSpec::unit_strips`] strips.
//!
//! Repacking moves bits and changes no value: see `tests/checkpoint`.

mod dequantise;
mod quantise;
mod quantise_fit;
mod quantise_k;
mod repack;
mod spec;

use std::fmt;

/// Values in a strip, the GPU's smallest piece of a row.
pub const STRIP: usize = 32;

/// A block format. The names are GGUF's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types)]
pub enum Format {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper 16 bits of a single.
    BF16,
    /// 32 values: a half scale and 4-bit integers.
    Q4_0,
    /// 32 values: a half scale, a half minimum and 4-bit integers.
    Q4_1,
    /// 32 values: a half scale and 5-bit integers.
    Q5_0,
    /// 32 values: a half scale, a half minimum and 5-bit integers.
    Q5_1,
    /// 32 values: a half scale and 8-bit integers.
    Q8_0,
    /// 256 values in 16 groups: 2-bit integers, 4-bit scales and minima.
    Q2_K,
    /// 256 values in 16 groups: 3-bit integers, 6-bit scales.
    Q3_K,
    /// 256 values in 8 groups: 4-bit integers, 6-bit scales and minima.
    Q4_K,
    /// 256 values in 8 groups: 5-bit integers, 6-bit scales and minima.
    Q5_K,
    /// 256 values in 16 groups: 6-bit integers, 8-bit scales.
    Q6_K,
    /// 32 values: a half scale and 4-bit codes of uneven steps.
    IQ4_NL,
    /// 256 values in 8 groups: 4-bit codes of uneven steps, 6-bit scales.
    IQ4_XS,
}

/// Quantises the values of one block to its bytes.
pub type Quantise = fn(&[f32], &mut [u8]);

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
    pub dequantise: fn(&[u8], &mut [f32]),
    /// `u32` words of a strip in plane Q.
    pub strip_words: u32,
    /// 16-bit words of a unit in plane M; 0: there is no plane M.
    pub meta_halves: u32,
    /// Strips in a unit.
    pub unit_strips: u32,
    /// One unit (`unit_strips` strips; for the float formats possibly less, at the end of a row) to its words of
    /// plane Q and plane M. Prefer [`FormatSpec::repack_row`].
    pub repack: fn(&[u8], &mut [u32], &mut [u16]),
    /// Values to one block. `None`: this runtime only reads the format.
    pub quantise: Option<Quantise>,
}

/// All formats, one row each.
pub static FORMATS: &[FormatSpec] = &[
    FormatSpec {
        format: Format::F32,
        name: "F32",
        gguf_id: 0,
        block: 1,
        bytes: 4,
        halves: &[],
        dequantise: dequantise::f32,
        strip_words: 32,
        meta_halves: 0,
        unit_strips: 1,
        repack: repack::words,
        quantise: Some(quantise::f32),
    },
    FormatSpec {
        format: Format::F16,
        name: "F16",
        gguf_id: 1,
        block: 1,
        bytes: 2,
        halves: &[0],
        dequantise: dequantise::f16,
        strip_words: 16,
        meta_halves: 0,
        unit_strips: 1,
        repack: repack::words,
        quantise: Some(quantise::f16),
    },
    FormatSpec {
        format: Format::BF16,
        name: "BF16",
        gguf_id: 30,
        block: 1,
        bytes: 2,
        halves: &[],
        dequantise: dequantise::bf16,
        strip_words: 16,
        meta_halves: 0,
        unit_strips: 1,
        repack: repack::words,
        quantise: Some(quantise::bf16),
    },
    FormatSpec {
        format: Format::Q4_0,
        name: "Q4_0",
        gguf_id: 2,
        block: 32,
        bytes: 18,
        halves: &[0],
        dequantise: dequantise::q4_0,
        strip_words: 4,
        meta_halves: 1,
        unit_strips: 1,
        repack: repack::scale_then_words,
        quantise: Some(quantise::q4_0),
    },
    FormatSpec {
        format: Format::Q4_1,
        name: "Q4_1",
        gguf_id: 3,
        block: 32,
        bytes: 20,
        halves: &[0, 2],
        dequantise: dequantise::q4_1,
        strip_words: 4,
        meta_halves: 2,
        unit_strips: 1,
        repack: repack::q4_1,
        quantise: Some(quantise::q4_1),
    },
    FormatSpec {
        format: Format::Q5_0,
        name: "Q5_0",
        gguf_id: 6,
        block: 32,
        bytes: 22,
        halves: &[0],
        dequantise: dequantise::q5_0,
        strip_words: 4,
        meta_halves: 3,
        unit_strips: 1,
        repack: repack::q5_0,
        quantise: Some(quantise::q5_0),
    },
    FormatSpec {
        format: Format::Q5_1,
        name: "Q5_1",
        gguf_id: 7,
        block: 32,
        bytes: 24,
        halves: &[0, 2],
        dequantise: dequantise::q5_1,
        strip_words: 4,
        meta_halves: 4,
        unit_strips: 1,
        repack: repack::q5_1,
        quantise: Some(quantise::q5_1),
    },
    FormatSpec {
        format: Format::Q8_0,
        name: "Q8_0",
        gguf_id: 8,
        block: 32,
        bytes: 34,
        halves: &[0],
        dequantise: dequantise::q8_0,
        strip_words: 8,
        meta_halves: 1,
        unit_strips: 1,
        repack: repack::scale_then_words,
        quantise: Some(quantise::q8_0),
    },
    FormatSpec {
        format: Format::Q2_K,
        name: "Q2_K",
        gguf_id: 10,
        block: 256,
        bytes: 84,
        halves: &[80, 82],
        dequantise: dequantise::q2_k,
        strip_words: 2,
        meta_halves: 10,
        unit_strips: 8,
        repack: repack::q2_k,
        quantise: Some(quantise_fit::q2_k),
    },
    FormatSpec {
        format: Format::Q3_K,
        name: "Q3_K",
        gguf_id: 11,
        block: 256,
        bytes: 110,
        halves: &[108],
        dequantise: dequantise::q3_k,
        strip_words: 3,
        meta_halves: 7,
        unit_strips: 8,
        repack: repack::q3_k,
        quantise: Some(quantise_fit::q3_k),
    },
    FormatSpec {
        format: Format::Q4_K,
        name: "Q4_K",
        gguf_id: 12,
        block: 256,
        bytes: 144,
        halves: &[0, 2],
        dequantise: dequantise::q4_k,
        strip_words: 4,
        meta_halves: 8,
        unit_strips: 8,
        repack: repack::q4_k,
        quantise: Some(quantise_k::q4_k),
    },
    FormatSpec {
        format: Format::Q5_K,
        name: "Q5_K",
        gguf_id: 13,
        block: 256,
        bytes: 176,
        halves: &[0, 2],
        dequantise: dequantise::q5_k,
        strip_words: 4,
        meta_halves: 24,
        unit_strips: 8,
        repack: repack::q5_k,
        quantise: Some(quantise_k::q5_k),
    },
    FormatSpec {
        format: Format::Q6_K,
        name: "Q6_K",
        gguf_id: 14,
        block: 256,
        bytes: 210,
        halves: &[208],
        dequantise: dequantise::q6_k,
        strip_words: 6,
        meta_halves: 10,
        unit_strips: 8,
        repack: repack::q6_k,
        quantise: Some(quantise_k::q6_k),
    },
    FormatSpec {
        format: Format::IQ4_NL,
        name: "IQ4_NL",
        gguf_id: 20,
        block: 32,
        bytes: 18,
        halves: &[0],
        dequantise: dequantise::iq4_nl,
        strip_words: 4,
        meta_halves: 1,
        unit_strips: 1,
        repack: repack::scale_then_words,
        quantise: Some(quantise_fit::iq4_nl),
    },
    FormatSpec {
        format: Format::IQ4_XS,
        name: "IQ4_XS",
        gguf_id: 23,
        block: 256,
        bytes: 136,
        halves: &[0],
        dequantise: dequantise::iq4_xs,
        strip_words: 4,
        meta_halves: 4,
        unit_strips: 8,
        repack: repack::iq4_xs,
        quantise: Some(quantise_fit::iq4_xs),
    },
];

impl Format {
    /// The format's row of [`FORMATS`].
    pub fn spec(self) -> &'static FormatSpec {
        let row = match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::BF16 => 2,
            Self::Q4_0 => 3,
            Self::Q4_1 => 4,
            Self::Q5_0 => 5,
            Self::Q5_1 => 6,
            Self::Q8_0 => 7,
            Self::Q2_K => 8,
            Self::Q3_K => 9,
            Self::Q4_K => 10,
            Self::Q5_K => 11,
            Self::Q6_K => 12,
            Self::IQ4_NL => 13,
            Self::IQ4_XS => 14,
        };
        &FORMATS[row]
    }

    /// The format with this GGUF type id, if it is one that we run.
    pub fn from_gguf_id(id: u32) -> Option<Self> {
        FORMATS.iter().find(|spec| spec.gguf_id == id).map(|spec| spec.format)
    }

    /// Bytes of a row of `cols` values in a file; `None` if the row is not a whole number of blocks, or too long.
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
