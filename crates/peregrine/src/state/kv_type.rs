//! How keys and values are kept: the CPU's side of `shaders/kv/`.

use std::str::FromStr;

use serde::Deserialize;

use super::PAGE;
use crate::config::Config;

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum KvType {
    /// 2 bytes a value, rounded to nearest, at most 65,504.
    #[default]
    F16,
    /// 4 bytes a value, as they were computed.
    F32,
    /// 9 bits a value where a head has a multiple of 32 of them: blocks of up to 32 neighbors of a
    /// head, a byte each and one scale in f32, which is a 127th of the block's largest magnitude.
    Q8,
}

impl From<KvType> for peregrine_shaders::Cache {
    fn from(kv: KvType) -> Self {
        match kv {
            KvType::F16 => Self::F16,
            KvType::F32 => Self::F32,
            KvType::Q8 => Self::Q8,
        }
    }
}

/// By its name.
impl FromStr for KvType {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kv| kv.name() == text).ok_or("f16, f32 or q8 is needed")
    }
}

impl KvType {
    /// Its name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::F32 => "f32",
            Self::Q8 => "q8",
        }
    }

    /// All of them.
    pub const ALL: [Self; 3] = [Self::F16, Self::F32, Self::Q8];

    /// Values of a head that share a scale in [`KvType::Q8`]: the largest power of two in
    /// `head_dim` (a multiple of 4), at most 32.
    pub fn block(head_dim: u32) -> u32 {
        1 << head_dim.trailing_zeros().min(5)
    }

    /// What whole heads of keys or values, \[heads, head_dim\], are after they have been kept.
    pub fn keep(self, values: &mut [f32], head_dim: u32) {
        match self {
            Self::F16 => {
                values.iter_mut().for_each(|v| *v = half::f16::from_f32(v.clamp(-65504.0, 65504.0)).to_f32());
            }
            Self::F32 => {}
            Self::Q8 => values.chunks_exact_mut(Self::block(head_dim) as usize).for_each(|block| {
                let scale = Self::scale(block);
                let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
                block.iter_mut().for_each(|v| *v = scale * (inverse * *v).clamp(-127.0, 127.0).round_ties_even());
            }),
        }
    }

    /// The scale of a block of [`KvType::Q8`]: as in `shaders/kv/q8_append.wgsl`.
    pub fn scale(block: &[f32]) -> f32 {
        let most = block.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
        if most > 1e-30 { (1.0 / 127.0) * most } else { 0.0 }
    }

    /// Keys or values, \[positions, nkv, hd\], from the bytes of whole rows of a page.
    pub fn decode(self, bytes: &[u8], head_dim: u32) -> Vec<f32> {
        match self {
            Self::F16 => bytes.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            Self::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            Self::Q8 => {
                let block = Self::block(head_dim) as usize;
                let values = bytes.chunks_exact(block + 4).flat_map(|b| {
                    let scale = f32::from_le_bytes([b[block], b[block + 1], b[block + 2], b[block + 3]]);
                    b[..block].iter().map(move |quant| scale * f32::from(*quant as i8))
                });
                values.collect()
            }
        }
    }

    /// Bytes of a page in a layer's buffer: keys and values of its positions.
    pub fn page_bytes(self, config: &Config) -> u64 {
        2 * u64::from(PAGE) * self.row_bytes(config)
    }

    /// Bytes of the keys, or of the values, of a position in a layer.
    pub fn row_bytes(self, config: &Config) -> u64 {
        let (values, block) = (u64::from(config.kv_dim()), u64::from(Self::block(config.head_dim)));
        match self {
            Self::F16 => 2 * values,
            Self::F32 => 4 * values,
            Self::Q8 => values / block * (block + 4),
        }
    }
}
