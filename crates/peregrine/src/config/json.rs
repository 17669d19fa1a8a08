//! `config.json` of a Hugging Face folder.

use serde_json::Value;

use super::{Config, malformed, unsupported};
use crate::{Error, Result};

/// One `config.json`.
struct Fields<'a> {
    name: &'a str,
    root: &'a Value,
}

impl<'a> Fields<'a> {
    /// The field, if it is there and not null.
    fn get(&self, field: &str) -> Option<&'a Value> {
        self.root.get(field).filter(|value| !value.is_null())
    }

    fn wrong(&self, field: &str, expected: &str, found: &Value) -> Error {
        malformed(self.name, field, expected, found)
    }

    fn u32_opt(&self, field: &str) -> Result<Option<u32>> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        let int = value.as_u64().and_then(|int| u32::try_from(int).ok());
        int.map(Some).ok_or_else(|| self.wrong(field, "an integer from 0 to 4294967295", value))
    }

    fn u32(&self, field: &str) -> Result<u32> {
        self.u32_opt(field)?.ok_or_else(|| self.missing(field))
    }

    fn missing(&self, field: &str) -> Error {
        Error::MissingField { name: self.name.into(), field: field.into() }
    }

    fn bool(&self, field: &str, default: bool) -> Result<bool> {
        match self.get(field) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(field, "true or false", value)),
        }
    }

    fn str(&self, field: &str) -> Result<Option<&'a str>> {
        match self.get(field) {
            None => Ok(None),
            Some(value) => value.as_str().map(Some).ok_or_else(|| self.wrong(field, "a string", value)),
        }
    }

    /// A switch that must have one value; when it is missing it has `default`.
    fn must_be(&self, field: &str, wanted: bool, default: bool) -> Result<()> {
        match self.bool(field, default)? {
            found if found == wanted => Ok(()),
            found => Err(unsupported(self.name, field, wanted, found)),
        }
    }

    /// A multiplier; transformers takes 1 when it is missing.
    fn multiplier(&self, field: &str) -> Result<f32> {
        self.get(field).map_or(Ok(1.0), |value| self.finite(field, value))
    }

    fn multipliers<const N: usize>(&self, field: &str) -> Result<[f32; N]> {
        let Some(value) = self.get(field) else {
            return Ok([1.0; N]);
        };
        let Some(items) = value.as_array().filter(|items| items.len() == N) else {
            return Err(self.wrong(field, &format!("{N} numbers"), value));
        };
        let mut multipliers = [1.0; N];
        for (multiplier, item) in multipliers.iter_mut().zip(items) {
            *multiplier = self.finite(field, item)?;
        }
        Ok(multipliers)
    }

    fn finite(&self, field: &str, value: &Value) -> Result<f32> {
        let number = value.as_f64().map(|number| number as f32).filter(|number| number.is_finite());
        number.ok_or_else(|| self.wrong(field, "a finite number", value))
    }
}

/// Everything but the ranges.
pub(super) fn parse(name: &str, root: &Value) -> Result<Config> {
    let fields = Fields { name, root };
    if !root.is_object() {
        return Err(malformed(name, "the file", "a JSON object", root));
    }
    match fields.str("model_type")?.ok_or_else(|| fields.missing("model_type"))? {
        "falcon_h1" => {}
        other => return Err(unsupported(name, "model_type", "falcon_h1", other)),
    }
    refuse(&fields)?;
    let num_attention_heads = fields.u32("num_attention_heads")?;
    let hidden_size = fields.u32("hidden_size")?;
    let mamba_d_ssm = match fields.u32_opt("mamba_d_ssm")? {
        Some(inner) => inner,
        None => fields.u32("mamba_expand")?.saturating_mul(hidden_size),
    };
    let mamba_n_heads = fields.u32("mamba_n_heads")?;
    let mamba_d_head = match fields.get("mamba_d_head") {
        None => mamba_d_ssm.checked_div(mamba_n_heads).unwrap_or(0),
        Some(value) if value == "auto" => mamba_d_ssm.checked_div(mamba_n_heads).unwrap_or(0),
        Some(_) => fields.u32("mamba_d_head")?,
    };
    let head_dim = match fields.u32_opt("head_dim")? {
        Some(dim) => dim,
        None => hidden_size.checked_div(num_attention_heads).unwrap_or(0),
    };
    let eps = fields.get("rms_norm_eps").ok_or_else(|| fields.missing("rms_norm_eps"))?;
    Ok(Config {
        vocab_size: fields.u32("vocab_size")?,
        hidden_size,
        num_hidden_layers: fields.u32("num_hidden_layers")?,
        num_attention_heads,
        num_key_value_heads: fields.u32_opt("num_key_value_heads")?.unwrap_or(num_attention_heads),
        head_dim,
        intermediate_size: fields.u32("intermediate_size")?,
        mamba_d_ssm,
        mamba_n_heads,
        mamba_d_head,
        mamba_n_groups: fields.u32("mamba_n_groups")?,
        mamba_d_state: fields.u32("mamba_d_state")?,
        mamba_d_conv: fields.u32("mamba_d_conv")?,
        mamba_rms_norm: fields.bool("mamba_rms_norm", false)?,
        tie_word_embeddings: fields.bool("tie_word_embeddings", false)?,
        rms_norm_eps: fields.finite("rms_norm_eps", eps)?,
        rope_theta: rope_theta(&fields)?,
        max_position_embeddings: fields.u32("max_position_embeddings")?,
        embedding_multiplier: fields.multiplier("embedding_multiplier")?,
        lm_head_multiplier: fields.multiplier("lm_head_multiplier")?,
        key_multiplier: fields.multiplier("key_multiplier")?,
        attention_in_multiplier: fields.multiplier("attention_in_multiplier")?,
        attention_out_multiplier: fields.multiplier("attention_out_multiplier")?,
        ssm_in_multiplier: fields.multiplier("ssm_in_multiplier")?,
        ssm_out_multiplier: fields.multiplier("ssm_out_multiplier")?,
        mlp_multipliers: fields.multipliers("mlp_multipliers")?,
        ssm_multipliers: fields.multipliers("ssm_multipliers")?,
    })
}

/// What transformers would honor and this runtime does not.
fn refuse(fields: &Fields<'_>) -> Result<()> {
    for field in ["attention_bias", "mlp_bias", "projectors_bias", "mamba_proj_bias"] {
        fields.must_be(field, false, false)?;
    }
    fields.must_be("mamba_conv_bias", true, true)?;
    fields.must_be("mamba_use_mlp", true, true)?;
    // transformers' default is true, but without the norm the order has no effect.
    let norm = fields.bool("mamba_rms_norm", false)?;
    fields.must_be("mamba_norm_before_gate", false, norm)?;
    match fields.str("hidden_act")? {
        None | Some("silu" | "swish") => {}
        Some(other) => return Err(unsupported(fields.name, "hidden_act", "silu", other)),
    }
    if let Some(scaling) = fields.get("rope_scaling") {
        plain_rope(fields, "rope_scaling", scaling)?;
    }
    whole_head(fields, "partial_rotary_factor", fields.get("partial_rotary_factor"))?;
    for field in ["layer_types", "layers_block_type"] {
        if let Some(types) = fields.get(field)
            && !types.as_array().is_some_and(|types| types.iter().all(|kind| kind == "hybrid"))
        {
            return Err(unsupported(fields.name, field, "hybrid for every layer", types));
        }
    }
    if let Some(limit) = fields.get("time_step_limit") {
        let bounds = limit.as_array().map(|bounds| bounds.iter().map(number).collect::<Vec<_>>());
        if bounds.as_deref() != Some(&[Some(0.0), Some(f64::INFINITY)]) {
            return Err(unsupported(fields.name, "time_step_limit", "[0, Infinity]", limit));
        }
    }
    if let Some(quantized) = fields.get("quantization_config") {
        let method = quantized.get("quant_method").unwrap_or(quantized);
        let expected = "weights in float32, float16 or bfloat16, or \"gptq\"";
        if method != "gptq" {
            return Err(unsupported(fields.name, "quantization_config", expected, method));
        }
    }
    Ok(())
}

/// A number that may be infinite: Python writes `Infinity`, which `lenient` has made a string, or
/// an object.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) if text == "Infinity" => Some(f64::INFINITY),
        Value::Object(object) => object.get("__float__").and_then(number),
        // JSON writers without infinities clip to the largest double or single.
        other => other.as_f64().map(|n| if n >= 3e38 { f64::INFINITY } else { n }),
    }
}

/// `rope_theta`, flat or inside `rope_parameters`, as transformers 4 and 5 write it.
fn rope_theta(fields: &Fields<'_>) -> Result<f64> {
    if let Some(parameters) = fields.get("rope_parameters") {
        plain_rope(fields, "rope_parameters", parameters)?;
        if let Some(theta) = parameters.get("rope_theta") {
            let field = "rope_parameters.rope_theta";
            return theta.as_f64().ok_or_else(|| fields.wrong(field, "a number", theta));
        }
    }
    let theta = fields.get("rope_theta").ok_or_else(|| fields.missing("rope_theta"))?;
    theta.as_f64().ok_or_else(|| fields.wrong("rope_theta", "a number", theta))
}

/// All dimensions of a head are turned.
fn whole_head(fields: &Fields<'_>, field: &str, factor: Option<&Value>) -> Result<()> {
    match factor.filter(|factor| !factor.is_null() && factor.as_f64() != Some(1.0)) {
        Some(factor) => Err(unsupported(fields.name, field, "1, all dimensions of a head", factor)),
        None => Ok(()),
    }
}

/// Rotary positions without any scaling.
fn plain_rope(fields: &Fields<'_>, field: &str, value: &Value) -> Result<()> {
    whole_head(fields, &format!("{field}.partial_rotary_factor"), value.get("partial_rotary_factor"))?;
    let kind = value.get("rope_type").or_else(|| value.get("type"));
    match kind.and_then(Value::as_str) {
        Some("default") => Ok(()),
        None if field == "rope_parameters" && kind.is_none() => Ok(()),
        _ => Err(unsupported(fields.name, field, "no scaling of positions", value)),
    }
}

/// Parses JSON as Python writes it: `Infinity`, `-Infinity` and `NaN`, which are not JSON, become
/// strings.
///
/// # Errors
/// [`Error::Malformed`] with the line of the fault.
pub(crate) fn lenient(name: &str, text: &[u8]) -> Result<Value> {
    let mut clean = Vec::with_capacity(text.len());
    let (mut at, mut quoted) = (0, false);
    while at < text.len() {
        let rest = &text[at..];
        let bare = [&b"-Infinity"[..], b"Infinity", b"NaN"];
        if let Some(word) = bare.into_iter().find(|word| !quoted && rest.starts_with(word)) {
            clean.push(b'"');
            clean.extend_from_slice(word);
            clean.push(b'"');
            at += word.len();
            continue;
        }
        match rest[0] {
            // An escaped character cannot end the string.
            b'\\' if quoted && rest.len() > 1 => {
                clean.push(b'\\');
                at += 1;
            }
            b'"' => quoted = !quoted,
            _ => {}
        }
        clean.push(text[at]);
        at += 1;
    }
    serde_json::from_slice(&clean).map_err(|e| malformed(name, "the file", "JSON", e))
}
