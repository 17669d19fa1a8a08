//! GGUF adapters, as llama.cpp's converter writes them: NAME.lora_a \[rank, in\], NAME.lora_b
//! \[out, rank\], and one alpha for all. The converter multiplies muP's multipliers into B, as it
//! does with the weights of a model.

use std::rc::Rc;

use super::pairs::{Factor, Pairs, malformed, unsupported};
use super::{Adapter, Base, Kind};
use crate::checkpoint::gguf::{Header, RawTensor, read_header};
use crate::checkpoint::{Source, TensorInfo};
use crate::error::{Error, Result};

/// What the header of a GGUF adapter says.
pub(super) struct Described {
    pub header: Header,
    pub alpha: f64,
}

/// Reads the header, and checks that it is an adapter's of this architecture.
pub(super) async fn describe(source: &dyn Source) -> Result<Described> {
    let header = read_header(source).await?;
    let (name, metadata) = (source.name(), &header.metadata);
    let must_be = |key: &str, value: &str| match metadata.str_opt(key)? {
        Some(found) if found == value => Ok(()),
        Some(found) => Err(unsupported(name, key, value, format!("{found:?}"))),
        None => Err(Error::MissingField { name: name.into(), field: key.into() }),
    };
    match metadata.str_opt("general.type")? {
        Some("adapter") => {}
        found => return Err(unsupported(name, "general.type", "a LoRA adapter", found.unwrap_or("a model"))),
    }
    must_be("adapter.type", "lora")?;
    must_be("general.architecture", crate::config::ARCHITECTURE)?;
    if metadata.get("adapter.alora.invocation_tokens").is_some() {
        let expected = "a LoRA adapter that is always active";
        return Err(unsupported(name, "adapter.alora.invocation_tokens", expected, "an activated LoRA (aLoRA)"));
    }
    let alpha = metadata.f64("adapter.lora.alpha")?;
    if !alpha.is_finite() {
        return Err(malformed(name, "adapter.lora.alpha", "a finite number", alpha));
    }
    Ok(Described { header, alpha })
}

/// The name of the weight, and whether this is B.
pub(super) fn split(tensor: &str) -> Option<(&str, bool)> {
    let of = |suffix, is_b| tensor.strip_suffix(suffix).map(|name| (name, is_b));
    of(".lora_a", false).or_else(|| of(".lora_b", true))
}

/// Reads a GGUF adapter for a model.
pub(super) async fn read(name: String, source: Rc<dyn Source>, base: &Base<'_>) -> Result<Adapter> {
    let Described { header, alpha } = describe(&*source).await?;
    let mut pairs = Pairs::new(&*source, base);
    for tensor in &header.tensors {
        let field = format!("tensor {}", tensor.name);
        let known = split(&tensor.name).and_then(|(weight, is_b)| Some((pairs.by_gguf_name(weight)?, is_b)));
        let Some((place, is_b)) = known else {
            return Err(unsupported(
                source.name(),
                &field,
                "lora_a and lora_b of the linear layers of this model",
                "it",
            ));
        };
        pairs.insert(place, is_b, info(tensor))?;
    }
    if header.tensors.is_empty() {
        return Err(malformed(source.name(), "the tensor table", "pairs of lora_a and lora_b", "no tensors"));
    }
    // As llama.cpp reads it: without an alpha B is added as it is.
    let scale = |rank: u32| if alpha == 0.0 { 1.0 } else { (alpha / f64::from(rank)) as f32 };
    let factor = |_, _, rank| Ok(Factor { scale: scale(rank), rank: None });
    let other = |name: &str| match split(name) {
        Some((weight, false)) => format!("{weight}.lora_b"),
        Some((weight, true)) => format!("{weight}.lora_a"),
        None => name.to_string(),
    };
    let deltas = pairs.read(&factor, None, &other).await?;
    Ok(Adapter::new(name, Kind::Gguf, deltas, Vec::new()))
}

pub(super) fn info(tensor: &RawTensor) -> TensorInfo {
    let mut shape: Vec<u64> = tensor.dims.iter().rev().copied().collect();
    // GGUF leaves out last dimensions of 1: A of rank 1 may be a vector.
    if shape.len() == 1 {
        shape.insert(0, 1);
    }
    TensorInfo {
        name: tensor.name.clone(),
        stored_name: tensor.name.clone(),
        shape,
        format: tensor.format,
        source: 0,
        offset: tensor.offset,
        bytes: tensor.bytes,
    }
}
