//! Files of the safetensors format: what their headers list.

use std::collections::BTreeSet;
use std::fmt;

use safetensors::{Dtype, tensor::TensorInfo as Entry};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::source::{Source, check_range, read_whole, refuse_stand_in};
use super::{Found, TensorInfo};
use crate::format::Format;
use crate::{Error, Result};

/// The longest header that the safetensors format allows; in a browser's 32 bits less, where its
/// JSON takes many times its length. Of the largest model of the family all tensors are listed in
/// 200 kB.
const MAX_HEADER: u64 = if cfg!(target_arch = "wasm32") { 8 << 20 } else { 100_000_000 };

pub(super) fn malformed(name: &str, field: &str, expected: impl ToString, found: impl ToString) -> Error {
    Error::Malformed {
        name: name.into(),
        field: field.into(),
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

/// The entries of a JSON object in order, repeats included: `serde_json`'s own map would hide them.
struct Entries(Vec<(String, Value)>);

impl<'de> serde::Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entries, M::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// What one file lists.
pub(super) struct Listed {
    pub floats: Vec<Found>,
    /// Of I32; their format says only that a value has 4 bytes.
    pub ints: Vec<Found>,
}

/// The floats of one safetensors file, under their names there.
///
/// # Errors
/// Whatever is wrong with the header; [`Error::Unsupported`] for a type that no model here has.
pub async fn list(source: &dyn Source) -> Result<Vec<TensorInfo>> {
    let found = read_header(source, 0).await?.floats;
    let info = |Found { stored_name, shape, format, source, offset, bytes }| TensorInfo {
        name: String::clone(&stored_name),
        stored_name,
        shape,
        format,
        source,
        offset,
        bytes,
    };
    Ok(found.into_iter().map(info).collect())
}

/// Reads and checks the header of one safetensors file: u64 length, JSON, data.
pub(super) async fn read_header(source: &dyn Source, index: usize) -> Result<Listed> {
    let (name, len) = (source.name(), source.len());
    let mut begin = vec![0; len.min(64) as usize];
    source.read(0, &mut begin).await?;
    refuse_stand_in(name, &begin, "the weights themselves")?;
    let mut length = [0; 8];
    check_range(name, "the length of the header", 0, 8, len)?;
    source.read(0, &mut length).await?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER {
        let expected = format!("at most {MAX_HEADER}");
        return Err(malformed(name, "the length of the header", expected, length));
    }
    check_range(name, "the header", 8, length, len)?;
    let header = read_whole(source, 8, length).await?;
    let Entries(entries) =
        serde_json::from_slice(&header).map_err(|e| malformed(name, "the header", "a JSON object", e))?;

    let data = 8 + length;
    let (mut floats, mut ints): (Vec<Found>, Vec<Found>) = Default::default();
    let mut seen = BTreeSet::new();
    for (tensor, value) in entries {
        if tensor == "__metadata__" {
            continue;
        }
        let field = format!("tensor {tensor}");
        if !seen.insert(tensor.clone()) {
            return Err(malformed(name, &field, "one tensor of this name", "two"));
        }
        // By the name first: their types are often none that weights have.
        if is_buffer(&tensor) {
            continue;
        }
        let Entry { dtype, shape, data_offsets: (first, end) } =
            serde_json::from_value(value).map_err(|e| malformed(name, &field, "dtype, shape and data_offsets", e))?;
        let format = match dtype {
            Dtype::F32 | Dtype::I32 => Format::F32,
            Dtype::F16 => Format::F16,
            Dtype::BF16 => Format::BF16,
            other => {
                return Err(Error::Unsupported {
                    name: name.into(),
                    field,
                    expected: "F32, F16 or BF16 (and I32 in GPTQ layers)".into(),
                    found: format!("dtype {other:?}"),
                });
            }
        };
        let shape: Vec<u64> = shape.into_iter().map(|d| d as u64).collect();
        let size = u64::from(format.spec().bytes);
        let bytes = shape.iter().try_fold(size, |bytes, &d| bytes.checked_mul(d));
        let Some(bytes) = bytes.filter(|&bytes| bytes > 0) else {
            let expected = "dimensions above 0 with a product below 2^64";
            return Err(malformed(name, &field, expected, format!("{shape:?}")));
        };
        if (end as u64).checked_sub(first as u64) != Some(bytes) {
            let expected = format!("data_offsets {bytes} bytes apart, as {shape:?} {format} needs");
            return Err(malformed(name, &field, expected, format!("[{first}, {end}]")));
        }
        let offset = (first as u64).saturating_add(data);
        check_range(name, &field, offset, bytes, len)?;
        let kind = if dtype == Dtype::I32 { &mut ints } else { &mut floats };
        kind.push(Found { stored_name: tensor, shape, format, source: index, offset, bytes });
    }
    let mut order: Vec<&Found> = floats.iter().chain(&ints).collect();
    order.sort_by_key(|tensor| tensor.offset);
    for pair in order.windows(2) {
        if pair[0].offset + pair[0].bytes > pair[1].offset {
            let field = format!("tensor {}", pair[1].stored_name);
            let found = format!("an overlap with {}", pair[0].stored_name);
            return Err(malformed(name, &field, "a place of its own", found));
        }
    }
    Ok(Listed { floats, ints })
}

/// Tables that older versions of transformers saved, and that no version reads: they follow from
/// the configuration.
pub(super) fn is_buffer(tensor: &str) -> bool {
    let last = tensor.rsplit('.').next().unwrap_or_default();
    ["position_ids", "inv_freq", "original_inv_freq", "cos_cached", "sin_cached", "masked_bias"].contains(&last)
}
