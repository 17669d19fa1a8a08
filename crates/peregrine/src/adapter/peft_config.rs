//! `adapter_config.json`: what is obeyed, and what is refused by name.

use serde_json::Value;

use super::pairs::{malformed, unsupported};
use super::patterns::{Modules, Pattern, end, whole};
use crate::error::{Error, Result};

/// What an adapter's description says of its matrices.
pub(super) struct PeftConfig {
    file: String,
    pub r: u32,
    pub alpha: f64,
    pub use_rslora: bool,
    rank_pattern: Vec<(Box<Pattern>, u32)>,
    alpha_pattern: Vec<(Box<Pattern>, f64)>,
    pub targets: Modules,
    /// Not changed though `targets` names them.
    pub excluded: Option<Modules>,
    /// `None`: all.
    pub layers: Option<Vec<u32>>,
}

/// Fields that would change what the adapter computes: refused unless they ask for nothing. And
/// what they ask for.
const REFUSED: &[(&str, &str)] = &[
    ("use_dora", "DoRA, which scales rows by their lengths"),
    ("modules_to_save", "whole modules beside the low ranks"),
    ("lora_bias", "biases of B"),
    ("trainable_token_indices", "rows of the embedding"),
    ("target_parameters", "parameters that are no linear layers"),
    ("layer_replication", "layers that are there several times"),
    ("alora_invocation_tokens", "an activated LoRA (aLoRA)"),
    ("arrow_config", "a router between adapters"),
    ("use_qalora", "QALoRA, which pools its input"),
    ("use_bdlora", "blocks of A and B"),
    ("velora_config", "VeLoRA"),
    ("kasa_config", "KaSA, which scales by singular values"),
    ("monteclora_config", "MonteCLoRA"),
];

/// Ways to begin that change the base model's weights, too: such an adapter is nothing without
/// them.
const CHANGES_BASE: &[&str] = &["pissa", "olora", "loftq", "corda", "lora_ga"];

impl PeftConfig {
    pub fn parse(file: &str, json: &Value) -> Result<Self> {
        let field = |name: &str| json.get(name).filter(|value| !value.is_null());
        let needed =
            |name: &str| field(name).ok_or_else(|| Error::MissingField { name: file.into(), field: name.into() });
        if !json.is_object() {
            return Err(malformed(file, "the description", "a JSON object", json));
        }
        let kind = needed("peft_type")?;
        if kind != "LORA" {
            return Err(unsupported(file, "peft_type", "LORA", kind));
        }
        for (name, what) in REFUSED {
            if field(name).is_some_and(asks_for_something) {
                return Err(unsupported(file, name, "an adapter of A and B alone", what));
            }
        }
        if let Some(bias) = field("bias").filter(|bias| **bias != "none") {
            return Err(unsupported(file, "bias", "none", bias));
        }
        let way = field("init_lora_weights").and_then(Value::as_str);
        if let Some(way) = way.filter(|way| CHANGES_BASE.iter().any(|other| way.starts_with(other))) {
            let expected = "an adapter of the base model as it is: PEFT makes one of it when it saves it with \
                            path_initial_model_for_weight_conversion";
            let found = format!("{way}, which changes the base model,");
            return Err(unsupported(file, "init_lora_weights", expected, found));
        }
        let r = rank(file, "r", needed("r")?)?;
        let alpha = number(file, "lora_alpha", field("lora_alpha").unwrap_or(&Value::from(8)))?;
        Ok(Self {
            file: file.into(),
            r,
            alpha,
            use_rslora: flag(file, "use_rslora", field("use_rslora"))?,
            rank_pattern: pattern(file, "rank_pattern", field("rank_pattern"), rank)?,
            alpha_pattern: pattern(file, "alpha_pattern", field("alpha_pattern"), number)?,
            targets: field("target_modules")
                .map_or(Ok(Modules::All), |value| modules(file, "target_modules", value))?,
            excluded: field("exclude_modules")
                .filter(|value| asks_for_something(value))
                .map(|value| modules(file, "exclude_modules", value))
                .transpose()?,
            layers: field("layers_to_transform").map(|value| layers(file, value)).transpose()?,
        })
    }

    /// The rank of a module, and what B is multiplied by.
    pub fn scale(&self, path: &str) -> (u32, f32) {
        let r = found(&self.rank_pattern, path).unwrap_or(self.r);
        let alpha = found(&self.alpha_pattern, path).unwrap_or(self.alpha);
        let divisor = if self.use_rslora { f64::from(r).sqrt() } else { f64::from(r) };
        (r, (alpha / divisor) as f32)
    }

    /// Whether the adapter is to change a module.
    pub fn changes(&self, layer: u32, path: &str) -> bool {
        let in_layer = self.layers.as_ref().is_none_or(|layers| layers.contains(&layer));
        in_layer && self.targets.name(path) && !self.excluded.as_ref().is_some_and(|modules| modules.name(path))
    }

    /// The file, for messages.
    pub fn file(&self) -> &str {
        &self.file
    }
}

/// Neither `false` nor empty.
fn asks_for_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    }
}

fn found<T: Copy>(patterns: &[(Box<Pattern>, T)], path: &str) -> Option<T> {
    patterns.iter().find(|(pattern, _)| pattern.is_match(path)).map(|(_, value)| *value)
}

fn rank(file: &str, field: &str, value: &Value) -> Result<u32> {
    let rank = value.as_u64().and_then(|rank| u32::try_from(rank).ok()).filter(|rank| (1..=1 << 16).contains(rank));
    rank.ok_or_else(|| malformed(file, field, "a whole number from 1 to 65536", value))
}

fn number(file: &str, field: &str, value: &Value) -> Result<f64> {
    let number = value.as_f64().filter(|number| (*number as f32).is_finite());
    number.ok_or_else(|| malformed(file, field, "a finite number", value))
}

fn flag(file: &str, field: &str, value: Option<&Value>) -> Result<bool> {
    value.map_or(Ok(false), |value| value.as_bool().ok_or_else(|| malformed(file, field, "true or false", value)))
}

fn pattern<T>(
    file: &str,
    field: &str,
    value: Option<&Value>,
    read: fn(&str, &str, &Value) -> Result<T>,
) -> Result<Vec<(Box<Pattern>, T)>> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let fields = value.as_object().ok_or_else(|| malformed(file, field, "an object of modules and numbers", value))?;
    let one =
        |(key, value): (&String, &Value)| Ok((end(file, field, key)?, read(file, &format!("{field}.{key}"), value)?));
    fields.iter().map(one).collect()
}

fn modules(file: &str, field: &str, value: &Value) -> Result<Modules> {
    let wrong = || malformed(file, field, "names of modules, or a regular expression", value);
    match value {
        Value::String(all) if all == "all-linear" => Ok(Modules::All),
        Value::String(expression) => Ok(Modules::Matching(whole(file, field, expression)?)),
        Value::Array(names) => {
            let name = |name: &Value| name.as_str().map(str::to_string).ok_or_else(wrong);
            Ok(Modules::Named(names.iter().map(name).collect::<Result<_>>()?))
        }
        _ => Err(wrong()),
    }
}

fn layers(file: &str, value: &Value) -> Result<Vec<u32>> {
    let wrong = || malformed(file, "layers_to_transform", "a layer's number, or several", value);
    let one = |value: &Value| value.as_u64().and_then(|layer| u32::try_from(layer).ok()).ok_or_else(wrong);
    match value {
        Value::Array(items) => items.iter().map(one).collect(),
        one_layer => Ok(vec![one(one_layer)?]),
    }
}
