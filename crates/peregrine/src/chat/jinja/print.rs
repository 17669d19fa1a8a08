//! Values as Python prints them: `str` and `repr`.

use std::fmt::Write;

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

use super::objects::{Range, View};

/// Values nested deeper are refused, so that printing needs no more stack than rendering.
pub const DEPTH: usize = 64;

/// `str(value)`.
pub fn text(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::String => Ok(value.as_str().unwrap_or_default().into()),
        ValueKind::Undefined => Ok(String::new()),
        _ => repr(value),
    }
}

/// `repr(value)`.
pub fn repr(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    write(&mut out, value, 0)?;
    Ok(out)
}

fn write(out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
    if depth > DEPTH {
        return Err(too_deep());
    }
    if let Some(view) = value.downcast_object_ref::<View>() {
        out.push_str(view.name());
        out.push('(');
        list(out, value, ['[', ']'], depth)?;
        out.push(')');
        return Ok(());
    }
    match value.kind() {
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::String => quoted(out, value.as_str().unwrap_or_default(), false),
        ValueKind::Bytes => bytes(out, value.as_bytes().unwrap_or_default()),
        ValueKind::Number => match value.is_integer() {
            true => out.push_str(&value.to_string()),
            false => out.push_str(&float(f64::try_from(value.clone())?)),
        },
        ValueKind::Seq if value.is_tuple() => {
            list(out, value, ['(', ')'], depth)?;
            if value.len() == Some(1) {
                out.insert(out.len() - 1, ',');
            }
        }
        ValueKind::Seq if value.downcast_object_ref::<Range>().is_some() => out.push_str(&value.to_string()),
        ValueKind::Seq | ValueKind::Iterable => list(out, value, ['[', ']'], depth)?,
        ValueKind::Map => {
            out.push('{');
            for (at, key) in value.try_iter()?.enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                write(out, &key, depth + 1)?;
                out.push_str(": ");
                write(out, &value.get_item(&key)?, depth + 1)?;
            }
            out.push('}');
        }
        _ => out.push_str(&value.to_string()),
    }
    Ok(())
}

fn list(out: &mut String, value: &Value, [open, close]: [char; 2], depth: usize) -> Result<(), Error> {
    out.push(open);
    for (at, item) in value.try_iter()?.enumerate() {
        out.push_str(if at > 0 { ", " } else { "" });
        write(out, &item, depth + 1)?;
    }
    out.push(close);
    Ok(())
}

pub fn too_deep() -> Error {
    Error::new(ErrorKind::InvalidOperation, "a value is nested too deep to print")
}

/// `repr` of a string, or `ascii` of it.
pub fn quoted(out: &mut String, text: &str, ascii: bool) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if is_printable(c) && (!ascii || c.is_ascii()) => out.push(c),
            c => {
                let code = u32::from(c);
                let _ = match code {
                    0..=0xff => write!(out, "\\x{code:02x}"),
                    0x100..=0xffff => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(quote);
}

fn bytes(out: &mut String, bytes: &[u8]) {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { '"' } else { '\'' };
    out.extend(['b', quote]);
    for &byte in bytes {
        match byte {
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b'\\' => out.push_str("\\\\"),
            byte if char::from(byte) == quote => out.extend(['\\', quote]),
            0x20..=0x7e => out.push(char::from(byte)),
            byte => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push(quote);
}

/// `str.isprintable` of one character: neither "other" nor a separator, save for the space.
pub fn is_printable(c: char) -> bool {
    // Rust escapes the same classes, and combining characters only where they come first.
    c == ' ' || matches!(c, '\'' | '"' | '\\') || {
        let mut pair = ['a', c].iter().collect::<String>().escape_debug().to_string();
        pair.remove(0);
        pair.chars().eq([c])
    }
}

/// `repr` of a float: the shortest digits, with an exponent outside of 1e-4 to 1e16.
pub fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.into();
    }
    let digits = format!("{value:?}");
    match digits.split_once('e') {
        None => digits,
        Some((mantissa, exponent)) => format!("{}{}", mantissa.trim_end_matches(".0"), signed_exponent(exponent)),
    }
}

/// `e+16`, `e-07`.
pub fn signed_exponent(exponent: &str) -> String {
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("e{sign}{digits:0>2}")
}
