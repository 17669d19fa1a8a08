//! Filters for pages: escapes, tags, addresses.

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::{print, strings};

/// As markupsafe escapes.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Without comments and tags, and with single spaces. Named entities beyond the usual five stay as
/// they are.
pub fn striptags(text: &str) -> String {
    let mut text = text.to_string();
    for (open, close) in [("<!--", "-->"), ("<", ">")] {
        let mut from = 0;
        while let Some(at) = text[from..].find(open).map(|at| from + at) {
            let Some(end) = text[at..].find(close) else { break };
            text.replace_range(at..at + end + close.len(), "");
            from = at;
        }
    }
    let mut text = text.split(strings::is_space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    for (entity, c) in [("&lt;", "<"), ("&gt;", ">"), ("&#34;", "\""), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")]
    {
        text = text.replace(entity, c);
    }
    text
}

/// The filter `urlencode`.
pub fn urlencode(value: &Value) -> Result<String, Error> {
    let quote = |value: &Value, query: bool| -> Result<String, Error> {
        let mut out = String::new();
        for byte in print::text(value)?.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => out.push(char::from(byte)),
                b'/' if !query => out.push('/'),
                b' ' if query => out.push('+'),
                byte => out.push_str(&format!("%{byte:02X}")),
            }
        }
        Ok(out)
    };
    let pairs: Vec<(Value, Value)> = match value.kind() {
        ValueKind::Map => {
            value.try_iter()?.map(|key| Ok((key.clone(), value.get_item(&key)?))).collect::<Result<_, Error>>()?
        }
        ValueKind::Seq | ValueKind::Iterable => value
            .try_iter()?
            .map(|pair| Ok((pair.get_item_by_index(0)?, pair.get_item_by_index(1)?)))
            .collect::<Result<_, Error>>()?,
        _ => return quote(value, false),
    };
    let pairs = pairs.iter().map(|(key, value)| Ok(format!("{}={}", quote(key, true)?, quote(value, true)?)));
    Ok(pairs.collect::<Result<Vec<_>, Error>>()?.join("&"))
}
