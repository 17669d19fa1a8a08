//! PEFT's folders: `adapter_config.json` beside `adapter_model.safetensors`.
//!
//! What its matrices compute is inside of the base model's multipliers, so B is multiplied by those
//! of its projection. A safetensors base has them in its configuration. A GGUF base has them in its
//! weights and nowhere else: then they come from a `config.json` of the base model that lies in the
//! adapter's folder, or from the table of published models ([`super::known`]).
//!
//! `fan_in_fan_out` changes nothing: it is for layers that Falcon-H1 does not have, and PEFT itself
//! takes it back for linear ones.

use std::rc::Rc;

use serde_json::Value;

use super::pairs::{Factor, Pairs, floats, malformed, unsupported};
use super::peft_config::PeftConfig;
use super::{Adapter, Base, Kind, Projection, known};
use crate::checkpoint::{Container, Source, TensorInfo, safetensors};
use crate::config::Config;
use crate::error::{Error, Result};

/// The parts of a folder.
pub(super) struct Folder {
    pub name: String,
    /// The file `adapter_config.json`, and what is in it.
    pub config: (String, Value),
    pub tensors: Rc<dyn Source>,
    /// The file `config.json` of the base model, where it is there.
    pub base: Option<(String, Value)>,
}

/// What a tensor of the file is.
enum Place {
    /// A or B of a projection.
    Projection(u32, Projection, bool),
    /// A or B of the convolution.
    Convolution(bool),
}

/// Reads a folder's adapter for a model.
pub(super) async fn read(folder: Folder, base: &Base<'_>) -> Result<Adapter> {
    let described = PeftConfig::parse(&folder.config.0, &folder.config.1)?;
    let source = &*folder.tensors;
    let mut pairs = Pairs::new(source, base);
    let (mut convolutions, mut notes) = (Vec::new(), Vec::new());
    for tensor in safetensors::list(source).await? {
        match place(source.name(), &tensor.stored_name)? {
            Place::Convolution(is_b) => convolutions.push((is_b, tensor)),
            Place::Projection(layer, projection, is_b) => {
                let field = format!("tensor {}", tensor.stored_name);
                if !pairs.has(layer) {
                    let layers = format!("one of {} layers", base.config.num_hidden_layers);
                    return Err(malformed(source.name(), &field, layers, format!("layer {layer}")));
                }
                if !described.changes(layer, &path(layer, projection)) {
                    let expected = format!("only modules that {} names", described.file());
                    return Err(malformed(source.name(), &field, expected, "another"));
                }
                pairs.insert((layer, projection), is_b, tensor)?;
            }
        }
    }
    if !convolutions.is_empty() {
        notes.push(untrained(source, &convolutions).await?);
    }
    let all =
        (0..base.config.num_hidden_layers).flat_map(|layer| Projection::ALL.map(|projection| (layer, projection)));
    let all_linear = matches!(described.targets, super::patterns::Modules::All);
    for (layer, projection) in all {
        // What "all-linear" is has changed from version to version.
        if !all_linear && described.changes(layer, &path(layer, projection)) && !pairs.contains((layer, projection)) {
            let tensor = format!("base_model.model.{}.lora_A.weight", path(layer, projection));
            return Err(Error::MissingTensor { name: source.name().into(), tensor });
        }
    }
    let config = multiplied(&folder, base)?;
    let factor = |layer, projection, _| {
        let (rank, scale) = described.scale(&path(layer, projection));
        Ok(Factor { scale, rank: Some(rank) })
    };
    let other = |name: &str| match name.contains(".lora_A.") {
        true => name.replace(".lora_A.", ".lora_B."),
        false => name.replace(".lora_B.", ".lora_A."),
    };
    let deltas = pairs.read(&factor, Some(&config), &other).await?;
    if deltas.is_empty() {
        return Err(malformed(source.name(), "the tensors", "lora_A and lora_B of linear layers", "none"));
    }
    Ok(Adapter::new(folder.name, Kind::Peft, deltas, notes))
}

/// A module's path in the model.
fn path(layer: u32, projection: Projection) -> String {
    format!("model.layers.{layer}.{}", projection.module())
}

/// What a tensor is, by its name.
fn place(file: &str, stored: &str) -> Result<Place> {
    let field = format!("tensor {stored}");
    let refused = |what: &str| Err(unsupported(file, &field, "lora_A and lora_B of linear layers", what));
    if stored.contains("lora_magnitude_vector") {
        return refused("DoRA");
    }
    if stored.contains("modules_to_save") {
        return refused("a whole module (modules_to_save)");
    }
    if stored.ends_with(".bias") {
        return refused("a bias (lora_bias)");
    }
    let name = stored.strip_prefix("base_model.model.").unwrap_or(stored);
    if name.contains("embed_tokens") || name.starts_with("lm_head") {
        return refused("a change of the embedding or the LM head");
    }
    // `.lora_A.weight`, and with the adapter's name in between where it was not saved by PEFT
    // itself.
    let halves = [(".lora_A.", false), (".lora_B.", true)];
    let half = halves.iter().find_map(|(mark, is_b)| {
        let (module, rest) = name.split_once(mark)?;
        let plain = rest == "weight" || rest.split_once('.').is_some_and(|(_, last)| last == "weight");
        plain.then_some((module, *is_b))
    });
    let Some((module, is_b)) = half else { return refused("it") };
    let inner = module.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
    let Some((Ok(layer), inner)) = inner.map(|(layer, inner)| (layer.parse::<u32>(), inner)) else {
        return refused("a module outside of the layers");
    };
    if inner == "mamba.conv1d" {
        return Ok(Place::Convolution(is_b));
    }
    match Projection::ALL.into_iter().find(|projection| projection.module() == inner) {
        Some(projection) => Ok(Place::Projection(layer, projection, is_b)),
        None => refused("a module that Falcon-H1 does not have"),
    }
}

/// PEFT once let people choose the convolution, and never trained it, since its fused kernels pass
/// it by: then B is zero.
async fn untrained(source: &dyn Source, convolutions: &[(bool, TensorInfo)]) -> Result<String> {
    for (_, tensor) in convolutions.iter().filter(|(is_b, _)| *is_b) {
        if floats(source, tensor).await?.iter().any(|value| *value != 0.0) {
            let field = format!("tensor {}", tensor.stored_name);
            return Err(unsupported(
                source.name(),
                &field,
                "lora_A and lora_B of linear layers",
                "a trained convolution",
            ));
        }
    }
    Ok(format!("{}: conv1d is left out: its lora_B is zero", source.name()))
}

/// The base model's sizes with its multipliers, wherever they are.
fn multiplied(folder: &Folder, base: &Base<'_>) -> Result<Config> {
    if base.container == Container::Safetensors {
        return Ok(base.config.clone());
    }
    if let Some((file, json)) = &folder.base {
        let config = Config::from_json(file, json)?;
        if known::sizes(&config) != known::sizes(base.config) {
            let sizes = |c: &Config| format!("{:?}", known::sizes(c));
            return Err(malformed(
                file,
                "the sizes",
                format!("those of the model, {}", sizes(base.config)),
                sizes(&config),
            ));
        }
        return Ok(config);
    }
    known::multiplied(base.config).ok_or_else(|| {
        let expected = "config.json of the base model beside adapter_config.json: the multipliers that the adapter was trained \
                        with are in no GGUF file";
        unsupported(&folder.name, "config.json", expected, "no such file, and a model of no published size,")
    })
}
