//! The values of GGUF's metadata, and typed access to them.

use std::collections::HashMap;
use std::fmt;

use crate::{Error, Result};

/// A metadata value. GGUF's eight integer types are one here: what matters is the range.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any integer type.
    Int(i128),
    /// f32 or f64.
    Float(f64),
    /// A bool.
    Bool(bool),
    /// UTF-8.
    String(String),
    /// An array of integers of any type.
    Ints(Vec<i64>),
    /// An array of f32 or f64.
    Floats(Vec<f64>),
    /// An array of bools.
    Bools(Vec<bool>),
    /// An array of strings.
    Strings(Vec<String>),
    /// What the format does not allow, or this runtime has no use for: a string that is not UTF-8,
    /// an array of arrays.
    Odd {
        /// As a person may see it.
        shown: String,
        /// What it is, for a message.
        kind: String,
    },
}

impl Value {
    pub(super) fn kind(&self) -> String {
        match self {
            Self::Int(value) => format!("the integer {value}"),
            Self::Float(value) => format!("the float {value}"),
            Self::Bool(value) => format!("the bool {value}"),
            Self::String(_) => "a string".into(),
            Self::Odd { kind, .. } => kind.clone(),
            list => format!("an array of {list}"),
        }
    }
}

impl fmt::Display for Value {
    /// Arrays only by their count.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::String(value) => f.write_str(value),
            Self::Ints(items) => write!(f, "{} integers", items.len()),
            Self::Floats(items) => write!(f, "{} floats", items.len()),
            Self::Bools(items) => write!(f, "{} bools", items.len()),
            Self::Strings(items) => write!(f, "{} strings", items.len()),
            Self::Odd { shown, .. } => f.write_str(shown),
        }
    }
}

/// The fields of one file, in its order.
#[derive(Debug)]
pub struct Metadata {
    file: String,
    fields: Vec<(String, Value)>,
    index: HashMap<String, usize>,
    /// Types and values in the file's own bytes.
    raw: Vec<(String, Vec<u8>)>,
}

impl Metadata {
    /// No fields yet; `file` is for messages.
    pub fn new(file: &str) -> Self {
        Self { file: file.into(), fields: Vec::new(), index: HashMap::new(), raw: Vec::new() }
    }

    pub(super) fn push_raw(&mut self, key: &str, bytes: &[u8]) {
        self.raw.push((key.into(), bytes.into()));
    }

    /// The file's own bytes of all fields but the vocabulary's, once.
    pub(super) fn take_raw(&mut self) -> Vec<(String, Vec<u8>)> {
        std::mem::take(&mut self.raw)
    }

    /// # Errors
    /// [`Error::Malformed`] when the key is there already.
    pub fn push(&mut self, key: String, value: Value) -> Result<()> {
        if self.index.insert(key.clone(), self.fields.len()).is_some() {
            return Err(Error::Malformed {
                name: self.file.clone(),
                field: key,
                expected: "one field of this name".into(),
                found: "two".into(),
            });
        }
        self.fields.push((key, value));
        Ok(())
    }

    /// The file's name, for messages.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// All fields in file order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.fields.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).map(|&index| &self.fields[index].1)
    }

    fn wrong(&self, key: &str, expected: &str, found: &Value) -> Error {
        Error::Malformed { name: self.file.clone(), field: key.into(), expected: expected.into(), found: found.kind() }
    }

    fn required<T>(&self, key: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| Error::MissingField { name: self.file.clone(), field: key.into() })
    }

    /// An integer from 0 to 2^32 - 1 of any integer type; `None` if the field is missing.
    ///
    /// # Errors
    /// As all the accessors: [`Error::Malformed`] for another type or range,
    /// [`Error::MissingField`] where it is required.
    pub fn u32_opt(&self, key: &str) -> Result<Option<u32>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match value {
            Value::Int(int) => u32::try_from(*int).ok(),
            _ => None,
        }
        .map(Some)
        .ok_or_else(|| self.wrong(key, "an integer from 0 to 4294967295", value))
    }

    /// As [`Metadata::u32_opt`], with a default.
    pub fn u32_or(&self, key: &str, default: u32) -> Result<u32> {
        Ok(self.u32_opt(key)?.unwrap_or(default))
    }

    /// As [`Metadata::u32_opt`], required.
    pub fn u32(&self, key: &str) -> Result<u32> {
        self.required(key, self.u32_opt(key)?)
    }

    /// A float, required.
    pub fn f64(&self, key: &str) -> Result<f64> {
        match self.required(key, self.get(key))? {
            Value::Float(value) => Ok(*value),
            other => Err(self.wrong(key, "a float", other)),
        }
    }

    /// A bool; `None` if missing.
    pub fn bool_opt(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(self.wrong(key, "a bool", other)),
        }
    }

    /// A string; `None` if missing.
    pub fn str_opt(&self, key: &str) -> Result<Option<&str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(value)) => Ok(Some(value)),
            Some(other) => Err(self.wrong(key, "a string", other)),
        }
    }

    /// A string, required.
    pub fn str(&self, key: &str) -> Result<&str> {
        self.required(key, self.str_opt(key)?)
    }

    /// An array of strings, required.
    pub fn strings(&self, key: &str) -> Result<&[String]> {
        match self.required(key, self.get(key))? {
            Value::Strings(items) => Ok(items),
            other => Err(self.wrong(key, "an array of strings", other)),
        }
    }

    /// An array of integers; `None` if missing.
    pub fn ints_opt(&self, key: &str) -> Result<Option<&[i64]>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Ints(items)) => Ok(Some(items)),
            Some(other) => Err(self.wrong(key, "an array of integers", other)),
        }
    }
}

/// GGUF's name of a block type, also of those that we do not run, so that a message can say more
/// than a number.
pub(super) fn type_name(id: u32) -> Option<&'static str> {
    const NAMES: &[(u32, &str)] = &[
        (0, "F32"),
        (1, "F16"),
        (2, "Q4_0"),
        (3, "Q4_1"),
        (6, "Q5_0"),
        (7, "Q5_1"),
        (8, "Q8_0"),
        (9, "Q8_1"),
        (10, "Q2_K"),
        (11, "Q3_K"),
        (12, "Q4_K"),
        (13, "Q5_K"),
        (14, "Q6_K"),
        (15, "Q8_K"),
        (16, "IQ2_XXS"),
        (17, "IQ2_XS"),
        (18, "IQ3_XXS"),
        (19, "IQ1_S"),
        (20, "IQ4_NL"),
        (21, "IQ3_S"),
        (22, "IQ2_S"),
        (23, "IQ4_XS"),
        (24, "I8"),
        (25, "I16"),
        (26, "I32"),
        (27, "I64"),
        (28, "F64"),
        (29, "IQ1_M"),
        (30, "BF16"),
        (34, "TQ1_0"),
        (35, "TQ2_0"),
        (39, "MXFP4"),
    ];
    NAMES.iter().find(|(known, _)| *known == id).map(|(_, name)| *name)
}
