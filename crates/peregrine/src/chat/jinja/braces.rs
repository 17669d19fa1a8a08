//! `'{}'.format(value)`, as Python formats.

use minijinja::value::ValueKind;
use minijinja::{Error, State, Value};

use super::arguments::{spend, split, wrong};
use super::percent::convert;
use super::print;
use super::spec::{Spec, float_digits};

/// `format.format(...)`.
pub fn format(state: &State<'_, '_>, format: &str, args: &[Value]) -> Result<String, Error> {
    let (positional, named) = split(args);
    let mut automatic = 0;
    fill(
        state,
        format,
        &mut |name| {
            let name = match name {
                "" => {
                    automatic += 1;
                    (automatic - 1).to_string()
                }
                name => name.to_string(),
            };
            match name.parse::<usize>() {
                Ok(at) => {
                    positional.get(at).cloned().ok_or_else(|| wrong(format!("there is no argument {at} to format")))
                }
                Err(_) => {
                    let found = named.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
                    found.ok_or_else(|| wrong(format!("there is no argument {name:?} to format")))
                }
            }
        },
        2,
    )
}

fn fill(
    state: &State<'_, '_>,
    format: &str,
    argument: &mut dyn FnMut(&str) -> Result<Value, Error>,
    depth: u32,
) -> Result<String, Error> {
    if depth == 0 {
        return Err(wrong("format fields are nested too deep"));
    }
    let mut out = String::new();
    let mut rest = format;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let tail = &rest[at..];
        if tail.starts_with("{{") || tail.starts_with("}}") {
            out.push_str(&tail[..1]);
            rest = &tail[2..];
            continue;
        }
        if tail.starts_with('}') {
            return Err(wrong("single '}' encountered in format string"));
        }
        let (mut open, mut end) = (0, None);
        for (at, c) in tail.char_indices() {
            open += i32::from(c == '{') - i32::from(c == '}');
            if open == 0 {
                end = Some(at);
                break;
            }
        }
        let end = end.ok_or_else(|| wrong("expected '}' before end of string"))?;
        let field = &tail[1..end];
        rest = &tail[end + 1..];
        // The name ends before the first "!" or ":" that is not inside brackets.
        let mut inside = false;
        let cut = field.char_indices().find(|(_, c)| {
            inside = (inside || *c == '[') && *c != ']';
            !inside && matches!(c, '!' | ':')
        });
        let (path, after) = field.split_at(cut.map_or(field.len(), |(at, _)| at));
        let (conversion, spec) = match after.strip_prefix('!') {
            Some(after) => (after.chars().next(), after.get(1..).unwrap_or_default()),
            None => (None, after),
        };
        let spec = match spec.strip_prefix(':') {
            Some(spec) => fill(state, spec, argument, depth - 1)?,
            None if spec.is_empty() => String::new(),
            None => return Err(wrong("expected ':' after conversion specifier")),
        };
        let value = at_path(path, argument)?;
        let value = match conversion {
            None => value,
            Some('s') => Value::from(print::text(&value)?),
            Some('r') => Value::from(print::repr(&value)?),
            Some('a') => Value::from(convert(&value, 'a', Spec::default())?),
            Some(other) => return Err(wrong(format!("unknown conversion specifier {other:?}"))),
        };
        let piece = formatted(&value, &spec)?;
        spend(state, piece.len())?;
        out.push_str(&piece);
    }
    out.push_str(rest);
    Ok(out)
}

/// `name.attribute[key]`.
fn at_path(path: &str, argument: &mut dyn FnMut(&str) -> Result<Value, Error>) -> Result<Value, Error> {
    let first = path.find(['.', '[']).unwrap_or(path.len());
    let mut value = argument(&path[..first])?;
    let mut rest = &path[first..];
    while !rest.is_empty() {
        let key = match rest.strip_prefix('[') {
            Some(inner) => {
                let (key, after) = inner.split_once(']').ok_or_else(|| wrong("missing ']' in format string"))?;
                rest = after;
                key.parse::<usize>().map_or_else(|_| Value::from(key), Value::from)
            }
            None => return Err(wrong("attributes of a value in a format string are not supported")),
        };
        value = value.get_item(&key)?;
        if value.is_undefined() {
            return Err(wrong(format!("the format's {path:?} does not exist")));
        }
    }
    Ok(value)
}

/// `format(value, spec)`.
fn formatted(value: &Value, spec: &str) -> Result<String, Error> {
    if spec.is_empty() {
        return print::text(value);
    }
    let (spec, kind) = Spec::parse(spec)?;
    if let Some(text) = value.as_str() {
        return match (kind, spec.align) {
            (None | Some('s'), Some('<' | '>' | '^') | None) if spec.sign.is_none() => {
                let cut = spec.precision.map_or(text.into(), |most| text.chars().take(most).collect::<String>());
                Ok(Spec { align: spec.align.or(Some('<')), ..spec }.pad("", &cut))
            }
            _ => Err(wrong("this format is not for strings")),
        };
    }
    let integer = match value.kind() {
        ValueKind::Bool => Some(i128::from(value.is_true())),
        ValueKind::Number if value.is_integer() => Some(i128::try_from(value.clone())?),
        ValueKind::Number => None,
        other => return Err(wrong(format!("a value of type {other} cannot be formatted with {spec:?}"))),
    };
    match (integer, kind) {
        (Some(_), None | Some('d' | 'n' | 'b' | 'o' | 'x' | 'X' | 'c')) if spec.precision.is_some() => {
            Err(wrong("precision is not allowed for integers"))
        }
        (Some(code), Some('c')) => {
            let c = u32::try_from(code).ok().and_then(char::from_u32).ok_or_else(|| wrong("%c arg not in range"))?;
            Ok(Spec { align: spec.align.or(Some('<')), ..spec }.pad("", &c.to_string()))
        }
        (Some(integer), None | Some('d' | 'n' | 'b' | 'o' | 'x' | 'X')) => {
            let kind = kind.filter(|kind| *kind != 'n').unwrap_or('d');
            Ok(spec.integer(integer, kind, 0))
        }
        (Some(integer), kind) => spec.float(integer as f64, kind),
        (None, None) if spec.precision.is_none() => {
            let number = f64::try_from(value.clone())?;
            let digits = print::float(number.abs());
            Ok(spec.signed(number.is_sign_negative() && !number.is_nan(), "", &digits))
        }
        (None, kind) => {
            let number = f64::try_from(value.clone())?;
            match kind {
                None => {
                    let digits = float_digits(number.abs(), 'g', spec.precision, spec.alternate, true);
                    Ok(spec.signed(number.is_sign_negative(), "", &digits))
                }
                kind => spec.float(number, kind),
            }
        }
    }
}
