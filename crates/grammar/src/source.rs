//! What is asked for, in llguidance's form.

use llguidance::api::TopLevelGrammar;
use peregrine::Result;
use peregrine::constraint::Spec;
use serde_json::{Map, Value, json};

use crate::place;

/// White space between two tokens of JSON: a space, or a line and its indentation. More would be a
/// loop that a small model falls into.
const WHITESPACE: &str = r"\x20|\x0A[\x20\x09]{0,7}";

/// The grammar of llguidance.
pub fn grammar(spec: &Spec) -> Result<TopLevelGrammar> {
    Ok(match spec {
        Spec::JsonObject => TopLevelGrammar::from_json_schema(with_options(json!({"type": "object"}), true)),
        Spec::JsonSchema { schema, strict } => TopLevelGrammar::from_json_schema(with_options(schema.clone(), *strict)),
        Spec::Regex(regex) => TopLevelGrammar::from_regex(whole(regex)),
        Spec::Choice(texts) => {
            let texts: Vec<String> = texts.iter().map(|text| literal(text)).collect();
            TopLevelGrammar::from_regex(&texts.join("|"))
        }
        Spec::Lark(text) if text.trim().is_empty() => return Err(place::error(spec, "it is empty")),
        Spec::Lark(text) => TopLevelGrammar::from_lark(text.clone()),
    })
}

/// The schema with what is decided once for all. `limits::check` has seen that it is an object or a
/// boolean.
fn with_options(schema: Value, strict: bool) -> Value {
    let mut fields = match schema {
        Value::Object(fields) => fields,
        Value::Bool(true) => Map::new(),
        other => Map::from_iter([("allOf".to_string(), Value::Array(vec![other]))]),
    };
    let options = json!({
        "whitespace_pattern": WHITESPACE,
        "json_allow_general_unicode_escapes": true,
        "coerce_one_of": !strict,
        "lenient": !strict,
    });
    fields.insert("x-guidance".into(), options);
    Value::Object(fields)
}

/// The expression without anchors at its ends: it is matched as a whole anyway.
fn whole(regex: &str) -> &str {
    let regex = regex.strip_prefix('^').unwrap_or(regex);
    match regex.strip_suffix('$') {
        Some(rest) if rest.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 0 => rest,
        _ => regex,
    }
}

/// The expression that matches this text alone.
fn literal(text: &str) -> String {
    // With a backslash these two are borders of words.
    let escape = |c: char| c.is_ascii_punctuation() && !matches!(c, '<' | '>');
    text.chars().flat_map(|c| escape(c).then_some('\\').into_iter().chain([c])).collect()
}
