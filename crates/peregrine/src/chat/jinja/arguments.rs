//! Arguments of Python functions: by position or by name.

use minijinja::value::{Kwargs, Rest, ValueKind, ValueOrKwargs};
use minijinja::{Error, ErrorKind, State, Value};

use super::print;

/// Arguments in the order of a function's parameters.
pub struct Arguments<'a> {
    function: &'a str,
    names: &'a [&'a str],
    values: Vec<Option<Value>>,
}

/// All arguments of a filter, named ones last.
pub type Given = Rest<ValueOrKwargs>;

/// As [`Arguments::bind`] wants them.
pub fn values(given: Given) -> Vec<Value> {
    given.0.into_iter().map(ValueOrKwargs::into_value).collect()
}

/// Positional arguments, and the named ones that minijinja hands over as the last.
pub fn split(args: &[Value]) -> (&[Value], Vec<(String, Value)>) {
    let Some((last, positional)) = args.split_last().filter(|(last, _)| last.is_kwargs()) else {
        return (args, Vec::new());
    };
    let named = Kwargs::try_from(last.clone()).map(|named| {
        let pairs = named.args().map(|name| (name.to_string(), named.peek(name).unwrap_or_default()));
        pairs.collect()
    });
    (positional, named.unwrap_or_default())
}

impl<'a> Arguments<'a> {
    /// # Errors
    /// Too many arguments, or a name that the function does not have.
    pub fn bind(function: &'a str, args: &[Value], names: &'a [&'a str]) -> Result<Self, Error> {
        let (positional, named) = split(args);
        if positional.len() > names.len() {
            let detail = format!("{function} takes at most {} arguments, found {}", names.len(), positional.len());
            return Err(Error::new(ErrorKind::TooManyArguments, detail));
        }
        let mut values: Vec<Option<Value>> = positional.iter().cloned().map(Some).collect();
        values.resize(names.len(), None);
        for (name, value) in named {
            let slot = names.iter().position(|known| *known == name).and_then(|at| values.get_mut(at));
            match slot {
                Some(slot) if slot.is_none() => *slot = Some(value),
                Some(_) => {
                    return Err(Error::new(ErrorKind::TooManyArguments, format!("{function}: {name} comes twice")));
                }
                None => {
                    let detail = format!("{function} has no argument {name}");
                    return Err(Error::new(ErrorKind::TooManyArguments, detail));
                }
            }
        }
        Ok(Self { function, names, values })
    }

    /// As it was given; `None` where it was not.
    pub fn opt(&self, at: usize) -> Option<&Value> {
        self.values.get(at).and_then(Option::as_ref)
    }

    /// The same, Python's `None` being as good as nothing.
    pub fn some(&self, at: usize) -> Option<&Value> {
        self.opt(at).filter(|value| !value.is_none())
    }

    pub fn need(&self, at: usize) -> Result<&Value, Error> {
        let name = self.names.get(at).copied().unwrap_or_default();
        self.opt(at).ok_or_else(|| Error::new(ErrorKind::MissingArgument, format!("{} needs {name}", self.function)))
    }

    /// A string that Python would insist on.
    pub fn str(&self, at: usize) -> Result<&str, Error> {
        let value = self.need(at)?;
        value.as_str().ok_or_else(|| self.wrong(at, "a string", value))
    }

    /// A string, or what `str` makes of it, as most of Jinja's filters do.
    pub fn text(&self, at: usize, default: &str) -> Result<String, Error> {
        self.opt(at).map_or(Ok(default.into()), print::text)
    }

    pub fn int(&self, at: usize, default: i64) -> Result<i64, Error> {
        let Some(value) = self.some(at) else {
            return Ok(default);
        };
        match value.kind() {
            ValueKind::Bool => Ok(value.is_true().into()),
            ValueKind::Number if value.is_integer() => i64::try_from(value.clone()),
            _ => Err(self.wrong(at, "an integer", value)),
        }
    }

    /// A number of characters; more than a million of them are no honest template's.
    pub fn width(&self, at: usize, default: usize) -> Result<usize, Error> {
        let width = self.int(at, default as i64)?.max(0);
        check_width(width as u64)
    }

    pub fn bool(&self, at: usize, default: bool) -> bool {
        self.opt(at).map_or(default, Value::is_true)
    }

    fn wrong(&self, at: usize, expected: &str, found: &Value) -> Error {
        let name = self.names.get(at).copied().unwrap_or_default();
        let detail = format!("{}: {name} must be {expected}, not {}", self.function, found.kind());
        Error::new(ErrorKind::InvalidOperation, detail)
    }
}

/// What Python would raise.
pub fn wrong(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, detail.into())
}

/// Counts a text of so many bytes as work before it is made: as the engine counts, 64 of them are a
/// step. What could grow beyond all memory runs out of steps first.
///
/// # Errors
/// [`ErrorKind::OutOfFuel`].
pub fn spend(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(bytes as u64 / 64)
}

/// As [`Arguments::width`].
pub fn check_width(width: u64) -> Result<usize, Error> {
    match usize::try_from(width) {
        Ok(width) if width <= 1_000_000 => Ok(width),
        _ => Err(Error::new(ErrorKind::InvalidOperation, format!("a width of {width} characters is too much"))),
    }
}
