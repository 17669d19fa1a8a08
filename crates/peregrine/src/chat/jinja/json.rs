//! `json.dumps` with the arguments that Hugging Face's `tojson` passes on.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};

use super::arguments::{Arguments, check_width, spend};
use super::objects::{Range, View};
use super::print;

struct Style {
    ascii: bool,
    sort: bool,
    /// What a level is indented by; `None` for one line.
    indent: Option<String>,
    comma: String,
    colon: String,
}

/// The filter: `value | tojson(ensure_ascii, indent, separators, sort_keys)`.
pub fn tojson(state: &State<'_, '_>, value: &Value, args: &[Value]) -> Result<Value, Error> {
    let args = Arguments::bind("tojson", args, &["ensure_ascii", "indent", "separators", "sort_keys"])?;
    let indent = match args.some(1) {
        None => None,
        Some(text) if text.as_str().is_some() => text.as_str().map(Into::into),
        Some(_) => Some(" ".repeat(check_width(args.int(1, 0)?.max(0) as u64)?)),
    };
    let (mut comma, mut colon) = (if indent.is_some() { "," } else { ", " }.to_string(), ": ".to_string());
    if let Some(separators) = args.some(2) {
        let parts: Vec<Value> = separators.try_iter()?.collect();
        match parts.as_slice() {
            [item, key] if item.as_str().is_some() && key.as_str().is_some() => {
                (comma, colon) = (item.to_string(), key.to_string());
            }
            _ => return Err(wrong("separators must be two strings")),
        }
    }
    let style = Style { ascii: args.bool(0, false), sort: args.bool(3, false), indent, comma, colon };
    let mut out = String::new();
    dump(state, &mut out, value, &style, 0)?;
    Ok(Value::from(out))
}

fn wrong(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("tojson: {}", detail.into()))
}

fn dump(state: &State<'_, '_>, out: &mut String, value: &Value, style: &Style, depth: usize) -> Result<(), Error> {
    if depth > print::DEPTH {
        return Err(print::too_deep());
    }
    state.consume_fuel(1)?;
    let python = value.downcast_object_ref::<View>().map(View::name);
    let python = python.or(value.downcast_object_ref::<Range>().map(|_| "range"));
    if let Some(kind) = python {
        return Err(wrong(format!("an object of type {kind} is not JSON serializable; make it a list")));
    }
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&number(value)?),
        ValueKind::String => string(out, value.as_str().unwrap_or_default(), style.ascii),
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<Value> = value.try_iter()?.collect();
            block(state, out, ['[', ']'], style, depth, items, |out, item| dump(state, out, &item, style, depth + 1))?;
        }
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if style.sort {
                keys.sort();
            }
            block(state, out, ['{', '}'], style, depth, keys, |out, key| {
                match key.kind() {
                    ValueKind::String => string(out, key.as_str().unwrap_or_default(), style.ascii),
                    ValueKind::None => out.push_str("\"null\""),
                    ValueKind::Bool => out.push_str(if key.is_true() { "\"true\"" } else { "\"false\"" }),
                    ValueKind::Number => out.push_str(&format!("\"{}\"", number(&key)?)),
                    other => return Err(wrong(format!("a key cannot be of type {other}"))),
                }
                out.push_str(&style.colon);
                dump(state, out, &value.get_item(&key)?, style, depth + 1)
            })?;
        }
        other => return Err(wrong(format!("an object of type {other} is not JSON serializable"))),
    }
    Ok(())
}

fn block(
    state: &State<'_, '_>,
    out: &mut String,
    [open, close]: [char; 2],
    style: &Style,
    depth: usize,
    items: Vec<Value>,
    mut each: impl FnMut(&mut String, Value) -> Result<(), Error>,
) -> Result<(), Error> {
    let line = |out: &mut String, depth: usize| {
        if let Some(indent) = &style.indent {
            spend(state, indent.len().saturating_mul(depth))?;
            out.push('\n');
            out.extend(std::iter::repeat_n(indent.as_str(), depth));
        }
        Ok::<_, Error>(())
    };
    out.push(open);
    let empty = items.is_empty();
    for (at, item) in items.into_iter().enumerate() {
        spend(state, style.comma.len() + style.colon.len())?;
        out.push_str(if at > 0 { &style.comma } else { "" });
        line(out, depth + 1)?;
        each(out, item)?;
    }
    if !empty {
        line(out, depth)?;
    }
    out.push(close);
    Ok(())
}

fn number(value: &Value) -> Result<String, Error> {
    if value.is_integer() {
        return Ok(value.to_string());
    }
    let number = f64::try_from(value.clone())?;
    Ok(match number {
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        number if number.is_nan() => "NaN".into(),
        number => print::float(number),
    })
}

fn string(out: &mut String, text: &str, ascii: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' || (ascii && !(' '..='~').contains(&c)) => {
                let mut units = [0; 2];
                out.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
