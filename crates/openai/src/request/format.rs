//! `response_format`: what an answer must look like.

use std::rc::Rc;

use peregrine::Error;
use peregrine::constraint::{Compiler, Grammar, Spec};
use serde::ser::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::check::{boolean, list, missing, mistyped, object, one_of, text, wrong};
use crate::error::{ApiError, Code};

const FIELD: &str = "response_format";

/// Letters of a schema's name, as at OpenAI.
const LONGEST_NAME: usize = 64;

/// Another form than a text.
#[derive(Clone, Debug, PartialEq)]
pub struct ResponseFormat {
    /// What the answer must be.
    pub spec: Spec,
    /// As it was asked for.
    given: Value,
}

impl Serialize for ResponseFormat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.given.serialize(serializer)
    }
}

impl ResponseFormat {
    /// `None` for a text.
    pub(super) fn parse(value: &Value) -> Result<Option<Self>, ApiError> {
        const KINDS: [&str; 6] = ["text", "json_object", "json_schema", "regex", "choice", "grammar"];
        let fields = object(FIELD, value)?;
        let kind = required(FIELD, fields, "type", "the kind of format")?;
        let spec = match one_of("response_format.type", kind, &KINDS)? {
            "json_object" => Spec::JsonObject,
            "json_schema" => schema(required(FIELD, fields, "json_schema", "an object with a name and a schema")?)?,
            "regex" => Spec::Regex(inner(fields, "regex", "a regular expression")?),
            "grammar" => Spec::Lark(inner(fields, "grammar", "a grammar in Lark's syntax")?),
            "choice" => {
                const EXPECTED: &str = "a list of at least one text";
                let path = "response_format.choice";
                let items = list(path, EXPECTED, required(FIELD, fields, "choice", EXPECTED)?)?;
                let one = |(i, item)| text(&format!("{path}[{i}]"), item).map(str::to_string);
                Spec::Choice(items.iter().enumerate().map(one).collect::<Result<_, _>>()?)
            }
            _ => return Ok(None),
        };
        let known: &[&str] = match &spec {
            Spec::JsonObject => &[],
            Spec::JsonSchema { .. } => &["json_schema"],
            Spec::Regex(_) => &["regex"],
            Spec::Choice(_) => &["choice"],
            Spec::Lark(_) => &["grammar"],
        };
        only(FIELD, fields, known)?;
        Ok(Some(Self { spec, given: value.clone() }))
    }

    /// The grammar of it.
    ///
    /// # Errors
    /// 400 with the path of what is wrong; and where there is nobody to make a grammar.
    pub fn compiled(&self, compiler: Option<&dyn Compiler>) -> Result<Rc<dyn Grammar>, ApiError> {
        let compiler =
            compiler.ok_or_else(|| ApiError::at(Code::Unsupported, FIELD, "not supported in this version"))?;
        compiler.compile(&self.spec).map_err(|error| match &error {
            Error::Grammar { place, detail } => {
                let path = match &self.spec {
                    Spec::JsonObject => FIELD,
                    Spec::JsonSchema { .. } => "response_format.json_schema.schema",
                    Spec::Regex(_) => "response_format.regex",
                    Spec::Choice(_) => "response_format.choice",
                    Spec::Lark(_) => "response_format.grammar",
                };
                // The place inside of it is a JSON pointer.
                let inside = place.find('#').map_or_else(String::new, |at| format!(" at {}", &place[at..]));
                let detail = format!("{detail}{inside}");
                ApiError { engine: Some(error.code()), ..ApiError::at(Code::InvalidValue, path, &detail) }
            }
            _ => ApiError::of(&error, FIELD),
        })
    }
}

/// `json_schema`
fn schema(value: &Value) -> Result<Spec, ApiError> {
    const PATH: &str = "response_format.json_schema";
    let fields = object(PATH, value)?;
    only(PATH, fields, &["name", "schema", "strict", "description"])?;
    let name = required(PATH, fields, "name", "a name")?;
    let at = "response_format.json_schema.name";
    let letters = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if !(1..=LONGEST_NAME).contains(&text(at, name)?.len()) || !text(at, name)?.is_ascii() || !letters(text(at, name)?)
    {
        return Err(wrong(at, "1 to 64 letters, digits, _ and -", name));
    }
    if let Some(description) = fields.get("description").filter(|description| !description.is_null()) {
        text("response_format.json_schema.description", description)?;
    }
    let strict = fields.get("strict").filter(|strict| !strict.is_null());
    let strict = strict.map_or(Ok(false), |strict| boolean("response_format.json_schema.strict", strict))?;
    let schema = required(PATH, fields, "schema", "a JSON schema")?;
    if !schema.is_object() && !schema.is_boolean() {
        return Err(mistyped("response_format.json_schema.schema", "an object", schema));
    }
    Ok(Spec::JsonSchema { schema: schema.clone(), strict })
}

fn inner(fields: &Map<String, Value>, name: &str, expected: &str) -> Result<String, ApiError> {
    text(&format!("{FIELD}.{name}"), required(FIELD, fields, name, expected)?).map(str::to_string)
}

fn required<'a>(path: &str, fields: &'a Map<String, Value>, name: &str, expected: &str) -> Result<&'a Value, ApiError> {
    let found = fields.get(name).filter(|value| !value.is_null());
    found.ok_or_else(|| missing(&format!("{path}.{name}"), expected))
}

/// Nothing but these fields, beside `type`.
fn only(path: &str, fields: &Map<String, Value>, known: &[&str]) -> Result<(), ApiError> {
    let unknown =
        fields.iter().find(|(name, value)| !value.is_null() && *name != "type" && !known.contains(&name.as_str()));
    match unknown {
        None => Ok(()),
        Some((name, _)) => {
            let name: String = name.chars().take(80).collect();
            let message = format!("not a field of {path} with this type");
            Err(ApiError::at(Code::UnknownField, &format!("{path}.{name}"), &message))
        }
    }
}
