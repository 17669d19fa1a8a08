//! Small checkers of JSON values: each error names the path, what was expected, and what was found.

use serde_json::{Map, Value};

use super::fields::{Fields, Treatment};
use crate::error::{ApiError, Code};

/// Warnings that one response may carry.
pub const MOST_WARNINGS: usize = 32;

/// Letters of a field's name that are looked at for what was meant, and characters of a value that
/// are shown.
const SHOWN: usize = 80;

/// The value for a message, cut where it is long.
pub fn show(value: &Value) -> String {
    shorten(&value.to_string())
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        None => text.to_string(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

/// The error for a wrong value.
pub fn wrong(path: &str, expected: &str, found: &Value) -> ApiError {
    ApiError::at(Code::InvalidValue, path, &format!("expected {expected}, found {}", show(found)))
}

/// The error for a value of the wrong type.
pub fn mistyped(path: &str, expected: &str, found: &Value) -> ApiError {
    ApiError { code: Code::InvalidType, ..wrong(path, expected, found) }
}

/// The error for what must be there.
pub fn missing(path: &str, expected: &str) -> ApiError {
    ApiError::at(Code::Missing, path, &format!("expected {expected}, found nothing"))
}

/// A text.
pub fn text<'a>(path: &str, value: &'a Value) -> Result<&'a str, ApiError> {
    value.as_str().ok_or_else(|| mistyped(path, "a text", value))
}

/// `true` or `false`.
pub fn boolean(path: &str, value: &Value) -> Result<bool, ApiError> {
    value.as_bool().ok_or_else(|| mistyped(path, "true or false", value))
}

/// A list.
pub fn list<'a>(path: &str, expected: &str, value: &'a Value) -> Result<&'a [Value], ApiError> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| mistyped(path, expected, value))
}

/// An object.
pub fn object<'a>(path: &str, value: &'a Value) -> Result<&'a Map<String, Value>, ApiError> {
    value.as_object().ok_or_else(|| mistyped(path, "an object", value))
}

/// One of these words.
pub fn one_of<'a>(path: &str, value: &'a Value, words: &[&str]) -> Result<&'a str, ApiError> {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    let expected = match quoted.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => quoted.concat(),
    };
    match value.as_str() {
        None => Err(mistyped(path, &expected, value)),
        Some(word) if words.contains(&word) => Ok(word),
        Some(_) => Err(wrong(path, &expected, value)),
    }
}

/// A number from `min` to `max`.
pub fn number(path: &str, value: &Value, min: f64, max: f64) -> Result<f64, ApiError> {
    let expected = format!("a number from {min} to {max}");
    match value.as_f64() {
        None => Err(mistyped(path, &expected, value)),
        Some(number) if number >= min && number <= max => Ok(number),
        Some(_) => Err(wrong(path, &expected, value)),
    }
}

/// A whole number from `min` to `max`, also where it is written as `5.0`.
pub fn whole(path: &str, value: &Value, min: i64, max: u64) -> Result<i128, ApiError> {
    let expected = match max >= u32::MAX.into() && min >= 0 {
        true => format!("a whole number of at least {min}"),
        false => format!("a whole number from {min} to {max}"),
    };
    let exact = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
    let found = exact.or_else(|| {
        let number = value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() <= 2f64.powi(53))?;
        Some(number as i128)
    });
    match found {
        Some(found) if found >= min.into() && found <= max.into() => Ok(found),
        _ if value.is_number() => Err(wrong(path, &expected, value)),
        _ => Err(mistyped(path, &expected, value)),
    }
}

/// A token id.
pub fn token(path: &str, value: &Value) -> Result<u32, ApiError> {
    whole(path, value, 0, u32::MAX.into()).map(|id| id as u32)
}

/// An object of which every field is known, refused, or warned of.
pub struct Body<'a> {
    fields: &'a Map<String, Value>,
    /// What was let through though nothing is done with it.
    pub warnings: Vec<String>,
}

impl<'a> Body<'a> {
    /// The request itself.
    pub fn new(value: &'a Value, known: &Fields) -> Result<Self, ApiError> {
        let fields = object("body", value)?;
        let mut body = Self { fields, warnings: Vec::new() };
        body.sift("", fields, known)?;
        Ok(body)
    }

    /// A field that is there, with its path. Null stands for nothing, as everywhere in OpenAI's
    /// API.
    pub fn get(&self, name: &'static str) -> Option<(&'static str, &'a Value)> {
        self.fields.get(name).filter(|value| !value.is_null()).map(|value| (name, value))
    }

    /// Looks through the fields of the object at `path` for those that nothing is done with.
    pub fn sift(&mut self, path: &str, fields: &Map<String, Value>, known: &Fields) -> Result<(), ApiError> {
        for (name, value) in fields {
            let treatment = known.treatment(name, value);
            if treatment == Treatment::Fine {
                continue;
            }
            let short = shorten(name);
            let at = if path.is_empty() { short } else { format!("{path}.{short}") };
            match treatment {
                Treatment::Fine => {}
                Treatment::Warn => self.warn(format!("{at}: ignored, as it changes nothing here")),
                Treatment::Unsupported => {
                    return Err(ApiError::at(Code::Unsupported, &at, "not supported in this version"));
                }
                Treatment::Unknown => {
                    let meant = suggestion(name, known);
                    let message = format!("not a field of {}{meant}", known.of);
                    return Err(ApiError::at(Code::UnknownField, &at, &message));
                }
            }
        }
        Ok(())
    }

    /// Something to be said with the answer.
    pub fn warn(&mut self, warning: String) {
        if self.warnings.len() < MOST_WARNINGS {
            self.warnings.push(warning);
        }
    }
}

/// `; did you mean X?` for a name that is nearly X, or nothing.
fn suggestion(name: &str, known: &Fields) -> String {
    let plain = |text: &str| text.to_lowercase().replace(['_', '-'], "");
    // A name from outside may be of any length.
    if name.len() > SHOWN {
        return String::new();
    }
    let near = known.names().map(|other| (strsim::levenshtein(&plain(name), &plain(other)), other));
    match near.min_by_key(|(far, _)| *far) {
        Some((far, other)) if far <= (other.len() / 3).max(1) => format!("; did you mean {other}?"),
        _ => String::new(),
    }
}
