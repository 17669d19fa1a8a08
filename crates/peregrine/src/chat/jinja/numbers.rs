//! Filters that make numbers, or texts of them.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};

use super::arguments::{Arguments, wrong};
use super::{percent as printf, strings};

/// The operator `%`.
pub fn percent(state: &State<'_, '_>, left: &Value, right: &Value) -> Result<Value, Error> {
    if let Some(text) = left.as_str() {
        return printf::percent(state, text, right).map(Value::from);
    }
    let number = |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool);
    if !(number(left) && number(right)) {
        return Err(wrong(format!("unsupported types for %: {} and {}", left.kind(), right.kind())));
    }
    let whole = |value: &Value| match value.kind() {
        ValueKind::Bool => Some(i128::from(value.is_true())),
        _ if value.is_integer() => i128::try_from(value.clone()).ok(),
        _ => None,
    };
    if let (Some(a), Some(b)) = (whole(left), whole(right)) {
        let remainder = a.checked_rem(b).ok_or_else(|| wrong("modulo by zero"))?;
        // Of the divisor's sign.
        let other_sign = remainder != 0 && (remainder < 0) != (b < 0);
        return Ok(Value::from(if other_sign { remainder + b } else { remainder }));
    }
    let float = |value: &Value| whole(value).map_or_else(|| f64::try_from(value.clone()), |whole| Ok(whole as f64));
    let (a, b) = (float(left)?, float(right)?);
    if b == 0.0 {
        return Err(wrong("modulo by zero"));
    }
    let remainder = a % b;
    let other_sign = remainder != 0.0 && (remainder < 0.0) != (b < 0.0);
    Ok(Value::from(if other_sign {
        remainder + b
    } else if remainder == 0.0 {
        0f64.copysign(b)
    } else {
        remainder
    }))
}

/// What Python's `float()` reads.
fn parse_float(text: &str) -> Option<f64> {
    let text = text.trim_matches(strings::is_space);
    let digits = without_underscores(text)?;
    let lower = digits.to_ascii_lowercase();
    let word = lower.trim_start_matches(['+', '-']);
    match word {
        "inf" | "infinity" | "nan" => lower.parse().ok(),
        // Rust reads some words more.
        _ if word.starts_with(|c: char| c.is_ascii_digit() || c == '.') => lower.parse().ok(),
        _ => None,
    }
}

/// Underscores may stand between digits only.
fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
    let wrong = |(at, byte): (usize, &u8)| *byte == b'_' && !(at > 0 && digit(at - 1) && digit(at + 1));
    (!bytes.iter().enumerate().any(wrong)).then(|| text.replace('_', ""))
}

fn parse_int(text: &str, base: u32) -> Option<i128> {
    let text = text.trim_matches(strings::is_space);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let prefix = match base {
        2 => ["0b", "0B"],
        8 => ["0o", "0O"],
        16 => ["0x", "0X"],
        _ => ["", ""],
    };
    let bare = prefix.iter().find_map(|prefix| digits.strip_prefix(prefix)).unwrap_or(digits);
    let bare = without_underscores(bare)?;
    if !bare.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = i128::from_str_radix(&bare, base).ok()?;
    Some(if negative { -magnitude } else { magnitude })
}

fn undefined() -> Error {
    Error::new(ErrorKind::UndefinedError, "the value is undefined")
}

/// The filter `int`.
pub fn int(value: &Value, args: &[Value]) -> Result<Value, Error> {
    let args = Arguments::bind("int", args, &["default", "base"])?;
    let base = u32::try_from(args.int(1, 10)?).ok().filter(|base| (2..=36).contains(base));
    let base = base.ok_or_else(|| wrong("int: the base must be from 2 to 36"))?;
    let truncated =
        |number: f64| (number.is_finite() && number.abs() < 1e38).then(|| Value::from(number.trunc() as i128));
    let found = match value.kind() {
        ValueKind::Undefined => return Err(undefined()),
        ValueKind::Bool => Some(Value::from(u8::from(value.is_true()))),
        ValueKind::Number if value.is_integer() => Some(value.clone()),
        ValueKind::Number => truncated(f64::try_from(value.clone())?),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            parse_int(text, base).map(Value::from).or_else(|| parse_float(text).and_then(truncated))
        }
        _ => None,
    };
    Ok(found.unwrap_or_else(|| args.opt(0).cloned().unwrap_or_else(|| Value::from(0))))
}

/// The filter `float`.
pub fn float(value: &Value, args: &[Value]) -> Result<Value, Error> {
    let args = Arguments::bind("float", args, &["default"])?;
    let found = match value.kind() {
        ValueKind::Undefined => return Err(undefined()),
        ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        ValueKind::Number => Some(f64::try_from(value.clone())?),
        ValueKind::String => value.as_str().and_then(parse_float),
        _ => None,
    };
    Ok(found.map(Value::from).unwrap_or_else(|| args.opt(0).cloned().unwrap_or_else(|| Value::from(0.0))))
}

/// The filter `filesizeformat`.
pub fn filesize(value: &Value, args: &[Value]) -> Result<String, Error> {
    let args = Arguments::bind("filesizeformat", args, &["binary"])?;
    let binary = args.bool(0, false);
    let bytes = f64::try_from(float(value, &[])?)?;
    let base: f64 = if binary { 1024.0 } else { 1000.0 };
    if bytes == 1.0 {
        return Ok("1 Byte".into());
    }
    if bytes < base {
        return Ok(format!("{} Bytes", bytes.trunc()));
    }
    let mut unit = base;
    for prefix in ["k", "M", "G", "T", "P", "E", "Z", "Y"] {
        unit *= base;
        if bytes < unit || prefix == "Y" {
            let prefix = if binary { format!("{}i", prefix.to_uppercase()) } else { prefix.into() };
            return Ok(format!("{:.1} {prefix}B", base * bytes / unit));
        }
    }
    Ok(String::new())
}
