//! `lora`: adapters beside the model.

use serde::Serialize;
use serde_json::Value;

use super::check::{Body, list, missing, number, object, text, wrong};
use super::fields::LORA;
use crate::error::{ApiError, Code};

/// The largest factor, either way.
const MOST: f64 = 1000.0;

/// A LoRA adapter that answers beside the model.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(rename = "LoraChoice"))]
pub struct Lora {
    /// Its name.
    pub id: String,
    /// -1000 to 1000: multiplied to what it adds. Default 1; 0 is without it.
    #[cfg_attr(test, ts(optional = nullable, as = "Option<_>"))]
    pub scale: f64,
}

/// All of them; none of them twice.
pub(super) fn read(body: &mut Body<'_>) -> Result<Vec<Lora>, ApiError> {
    let Some((path, value)) = body.get("lora") else { return Ok(Vec::new()) };
    let mut all: Vec<Lora> = Vec::new();
    for (i, item) in list(path, "a list of adapters", value)?.iter().enumerate() {
        let lora = one(body, &format!("{path}[{i}]"), item)?;
        if all.iter().any(|other| other.id == lora.id) {
            let message = format!("the adapter {} is there twice", super::check::show(&Value::from(lora.id.as_str())));
            return Err(ApiError::at(Code::InvalidValue, &format!("{path}[{i}].id"), &message));
        }
        all.push(lora);
    }
    Ok(all)
}

fn one(body: &mut Body<'_>, path: &str, item: &Value) -> Result<Lora, ApiError> {
    let fields = object(path, item)?;
    body.sift(path, fields, &LORA)?;
    let id_path = format!("{path}.id");
    let id = match fields.get("id").filter(|id| !id.is_null()) {
        None => return Err(missing(&id_path, "the adapter's name")),
        Some(id) => match text(&id_path, id)? {
            "" => return Err(wrong(&id_path, "the adapter's name", id)),
            name => name.to_string(),
        },
    };
    let scale = fields.get("scale").filter(|scale| !scale.is_null());
    let scale = scale.map_or(Ok(1.0), |scale| number(&format!("{path}.scale"), scale, -MOST, MOST))?;
    Ok(Lora { id, scale })
}
