//! Python's methods of dictionaries, lists and numbers that a template may call; those of strings
//! are in `strings`. Methods that change a value do not exist here: Hugging Face's sandbox refuses
//! them too.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};

use super::arguments::{Arguments, spend};
use super::objects::{View, ViewKind};
use super::strings;

/// What minijinja asks where it knows no method.
pub fn call(state: &mut State<'_, '_>, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            spend(state, text.len())?;
            strings::call(state, text, method, args)
        }
        ValueKind::Map => dictionary(value, method, args),
        ValueKind::Seq | ValueKind::Iterable if value.downcast_object_ref::<View>().is_none() => {
            list(value, method, args)
        }
        ValueKind::Number => number(value, method, args),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn dictionary(value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let view = |kind| {
        Arguments::bind(method, args, &[])?;
        View::new(value, kind).map(Value::from_object)
    };
    match method {
        "keys" => view(ViewKind::Keys),
        "values" => view(ViewKind::Values),
        "items" => view(ViewKind::Items),
        "get" => {
            let args = Arguments::bind(method, args, &["key", "default"])?;
            let found = value.get_item(args.need(0)?)?;
            match found.is_undefined() {
                true => Ok(args.opt(1).cloned().unwrap_or_else(|| Value::from(()))),
                false => Ok(found),
            }
        }
        "copy" => {
            Arguments::bind(method, args, &[])?;
            Ok(value.clone())
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn list(value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    match method {
        "count" => {
            let args = Arguments::bind(method, args, &["value"])?;
            let wanted = args.need(0)?;
            Ok(Value::from(value.try_iter()?.filter(|item| item == wanted).count()))
        }
        "index" => {
            let args = Arguments::bind(method, args, &["value", "start", "stop"])?;
            let (wanted, len) = (args.need(0)?, value.len().unwrap_or(usize::MAX) as i64);
            let place = |at: i64| if at < 0 { (at + len).max(0) } else { at };
            let (start, stop) = (place(args.int(1, 0)?), place(args.int(2, i64::MAX)?));
            let found = value
                .try_iter()?
                .enumerate()
                .find(|(at, item)| (start..stop).contains(&(*at as i64)) && item == wanted);
            let missing = || Error::new(ErrorKind::InvalidOperation, "index: the value is not in the list");
            found.map(|(at, _)| Value::from(at)).ok_or_else(missing)
        }
        "copy" if !value.is_tuple() => {
            Arguments::bind(method, args, &[])?;
            Ok(value.clone())
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn number(value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    Arguments::bind(method, args, &[])?;
    match (method, value.is_integer()) {
        ("bit_length", true) => Ok(Value::from(128 - i128::try_from(value.clone())?.unsigned_abs().leading_zeros())),
        ("is_integer", false) => Ok(Value::from(f64::try_from(value.clone())?.fract() == 0.0)),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}
