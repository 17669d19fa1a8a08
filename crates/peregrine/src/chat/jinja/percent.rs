//! `'%s' % value`, as Python formats.

use minijinja::value::ValueKind;
use minijinja::{Error, State, Value};

use super::arguments::{check_width, spend, wrong};
use super::print;
use super::spec::Spec;

/// `format % args`.
pub fn percent(state: &State<'_, '_>, format: &str, args: &Value) -> Result<String, Error> {
    let several: Option<Vec<Value>> = args.is_tuple().then(|| args.try_iter().map(Iterator::collect)).transpose()?;
    let mapping = several.is_none() && matches!(args.kind(), ValueKind::Map | ValueKind::Seq | ValueKind::Iterable);
    let mut rest = several.unwrap_or_else(|| vec![args.clone()]).into_iter();
    let mut used = false;
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut key = None;
        if chars.next_if_eq(&'(').is_some() {
            let (mut name, mut depth) = (String::new(), 1);
            loop {
                match chars.next().ok_or_else(|| wrong("incomplete format key"))? {
                    ')' if depth == 1 => break,
                    c => {
                        depth += i32::from(c == '(') - i32::from(c == ')');
                        name.push(c);
                    }
                }
            }
            if args.kind() != ValueKind::Map {
                return Err(wrong("format requires a mapping"));
            }
            key = Some(name);
        }
        let mut next = || {
            used = true;
            rest.next().ok_or_else(|| wrong("not enough arguments for format string"))
        };
        let mut spec = Spec::default();
        let mut left = false;
        while let Some(flag) = chars.next_if(|c| "-+ #0".contains(*c)) {
            match flag {
                '-' => left = true,
                '0' => spec.zero = true,
                '#' => spec.alternate = true,
                // A plus outranks a space.
                sign if spec.sign != Some('+') => spec.sign = Some(sign),
                _ => {}
            }
        }
        let mut number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| -> Result<Option<i64>, Error> {
            if chars.next_if_eq(&'*').is_some() {
                let width = next()?;
                return match width.is_integer() {
                    true => i64::try_from(width).map(Some),
                    false => Err(wrong("* wants an integer")),
                };
            }
            let mut digits = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            let parsed = (!digits.is_empty()).then(|| digits.parse().map_err(|_| wrong("width too big")));
            parsed.transpose()
        };
        if let Some(width) = number(&mut chars)? {
            left |= width < 0;
            spec.width = check_width(width.unsigned_abs())?;
        }
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = Some(check_width(number(&mut chars)?.unwrap_or(0).max(0) as u64)?);
        }
        while chars.next_if(|c| "hlL".contains(*c)).is_some() {}
        let kind = chars.next().ok_or_else(|| wrong("incomplete format"))?;
        if kind == '%' {
            out.push('%');
            continue;
        }
        let value = match &key {
            Some(key) => {
                let found = args.get_item(&Value::from(key.as_str()))?;
                if found.is_undefined() {
                    return Err(wrong(format!("the format's key {key:?} is missing")));
                }
                found
            }
            None => next()?,
        };
        spec.align = Some(if left {
            '<'
        } else if spec.zero {
            '='
        } else {
            '>'
        });
        spec.zero &= !left;
        let piece = convert(&value, kind, spec)?;
        spend(state, piece.len())?;
        out.push_str(&piece);
    }
    if (used || !mapping) && rest.next().is_some() {
        return Err(wrong("not all arguments converted during string formatting"));
    }
    Ok(out)
}

pub fn convert(value: &Value, kind: char, mut spec: Spec) -> Result<String, Error> {
    let is_number = matches!(value.kind(), ValueKind::Number | ValueKind::Bool);
    let text = |text: String, spec: Spec| {
        let cut = spec.precision.map_or(text.clone(), |most| text.chars().take(most).collect());
        let align = spec.align.map(|align| if align == '=' { '>' } else { align });
        Spec { align, zero: false, ..spec }.pad("", &cut)
    };
    match kind {
        's' => Ok(text(print::text(value)?, spec)),
        'r' => Ok(text(print::repr(value)?, spec)),
        'a' => {
            let mut out = String::new();
            match value.as_str() {
                Some(value) => print::quoted(&mut out, value, true),
                None => out = print::repr(value)?,
            }
            Ok(text(out, spec))
        }
        'c' => {
            let c = match value.as_str() {
                Some(one) if one.chars().count() == 1 => one.to_string(),
                None if value.is_integer() => char::from_u32(u32::try_from(value.clone())?)
                    .ok_or_else(|| wrong("%c arg not in range"))?
                    .to_string(),
                _ => return Err(wrong("%c requires int or char")),
            };
            Ok(text(c, Spec { precision: None, ..spec }))
        }
        'd' | 'i' | 'u' | 'o' | 'x' | 'X' => {
            let integer = match value.kind() {
                ValueKind::Bool => i128::from(value.is_true()),
                ValueKind::Number if value.is_integer() => i128::try_from(value.clone())?,
                ValueKind::Number if "diu".contains(kind) => {
                    let number = f64::try_from(value.clone())?;
                    if !number.is_finite() {
                        return Err(wrong("cannot convert an infinite float or NaN to an integer"));
                    }
                    number.trunc() as i128
                }
                other => return Err(wrong(format!("%{kind} format: a number is required, not {other}"))),
            };
            // A precision is the least number of digits.
            let digits = spec.precision.take().unwrap_or(0);
            let kind = if "iu".contains(kind) { 'd' } else { kind };
            Ok(spec.integer(integer, kind, digits))
        }
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' if is_number => {
            let number = match value.kind() {
                ValueKind::Bool => f64::from(u8::from(value.is_true())),
                _ => f64::try_from(value.clone())?,
            };
            spec.float(number, Some(kind))
        }
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => Err(wrong(format!("%{kind}: must be a number, not {}", value.kind()))),
        other => Err(wrong(format!("unsupported format character {other:?}"))),
    }
}
