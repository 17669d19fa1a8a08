//! Errors of llguidance in a line, with the place in what was asked for.

use peregrine::Error;
use peregrine::constraint::Spec;
use serde_json::Value;

/// Characters of a message.
const LONGEST: usize = 300;

/// The error for a grammar that cannot be used. Its place is the kind of grammar; who asked for it
/// knows better names.
pub fn error(spec: &Spec, message: &str) -> Error {
    let (place, at) = match spec {
        Spec::JsonObject => ("json_object", None),
        Spec::JsonSchema { schema, .. } => ("schema", pointer(schema, message)),
        Spec::Regex(_) => ("regex", None),
        Spec::Choice(_) => ("choice", None),
        Spec::Lark(_) => ("grammar", None),
    };
    let place = at.map_or_else(|| place.to_string(), |at| format!("{place}#{at}"));
    Error::Grammar { place, detail: explained(message) }
}

/// The error for a part of a schema.
pub fn at(pointer: &str, message: &str) -> Error {
    Error::Grammar { place: format!("schema#{pointer}"), detail: explained(message) }
}

/// The JSON pointer of a path.
pub fn pointer_of(path: &[String]) -> String {
    path.iter().map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1"))).collect()
}

/// A message in one line, not too long, without what only a developer of llguidance reads.
pub fn line(message: &str) -> String {
    let end = ["<non-verbose/>", "<backtrace>", "<state>"].iter().filter_map(|mark| message.find(mark)).min();
    let plain = &message[..end.unwrap_or(message.len())];
    let plain = if plain.starts_with("panic: ") { "it cannot be compiled: internal error" } else { plain };
    let mut line = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((at, _)) = line.char_indices().nth(LONGEST) {
        line.truncate(at);
        line.push('…');
    }
    line
}

/// The same with what to do about it.
fn explained(message: &str) -> String {
    let line = line(message);
    let advice = match message {
        m if m.contains("Unimplemented keys") => "; leave it out, or ask without \"strict\": it is ignored then",
        m if m.contains("Unknown format") => "; use a pattern, or ask without \"strict\": it is ignored then",
        m if m.contains("oneOf") => "; use anyOf, or ask without \"strict\": it is taken as anyOf then",
        m if m.contains("too big") || m.contains("too large") || m.contains("exceeded") => "; make it smaller",
        _ => "",
    };
    line + advice
}

/// Whether a field with this name and value is the one that is looked for.
type IsIt = dyn Fn(&str, &Value) -> bool;

/// The JSON pointer of what the message speaks of, where that can be found: a keyword or a format
/// by name.
fn pointer(schema: &Value, message: &str) -> Option<String> {
    let is_it: Box<IsIt> = if let Some((_, rest)) = message.split_once("Unimplemented keys: [\"") {
        let key = rest.split('"').next()?.to_string();
        Box::new(move |name, _| name == key)
    } else if let Some((_, rest)) = message.split_once("Unknown format: ") {
        let format = rest.lines().next()?.to_string();
        Box::new(move |name, value| name == "format" && value.as_str() == Some(&format))
    } else if message.contains("oneOf constraints") {
        Box::new(|name, _| name == "oneOf")
    } else {
        return None;
    };
    find(schema, &mut String::new(), &is_it)
}

fn find(value: &Value, at: &mut String, is_it: &IsIt) -> Option<String> {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(i, item)| (i.to_string(), item)).collect(),
        _ => return None,
    };
    let is_schema = !at.ends_with("/properties") && value.is_object();
    for (name, value) in inner {
        let length = at.len();
        at.push('/');
        at.push_str(&name.replace('~', "~0").replace('/', "~1"));
        if is_schema && is_it(&name, value) {
            return Some(at.clone());
        }
        let found = find(value, at, is_it);
        if found.is_some() {
            return found;
        }
        at.truncate(length);
    }
    None
}
