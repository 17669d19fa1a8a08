//! Objects that Python has and minijinja has not: views of dictionaries, ranges, `cycler`,
//! `joiner`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use minijinja::value::{Enumerator, Object, ObjectRepr, Tuple, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::arguments::Arguments;

/// What `keys()`, `values()` and `items()` of a dictionary give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewKind {
    Keys,
    Values,
    Items,
}

/// A view of a dictionary: it is iterated and counted, but is no list.
#[derive(Debug)]
pub struct View {
    kind: ViewKind,
    items: Vec<Value>,
}

impl View {
    pub fn new(map: &Value, kind: ViewKind) -> Result<Self, Error> {
        let item = |key: Value| {
            Ok(match kind {
                ViewKind::Keys => key,
                ViewKind::Values => map.get_item(&key)?,
                ViewKind::Items => {
                    let value = map.get_item(&key)?;
                    Value::from(Tuple::from([key, value]))
                }
            })
        };
        Ok(Self { kind, items: map.try_iter()?.map(item).collect::<Result<_, Error>>()? })
    }

    /// Python's name of its type.
    pub fn name(&self) -> &'static str {
        match self.kind {
            ViewKind::Keys => "dict_keys",
            ViewKind::Values => "dict_values",
            ViewKind::Items => "dict_items",
        }
    }
}

impl Object for View {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Iterable
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.items.clone())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.items.len())
    }

    fn is_true(self: &Arc<Self>) -> bool {
        !self.items.is_empty()
    }
}

/// `range(start, stop, step)`.
#[derive(Debug)]
pub struct Range {
    start: i64,
    stop: i64,
    step: i64,
    len: usize,
}

impl Range {
    /// Jinja's sandbox refuses longer ones.
    const MOST: u64 = 100_000;

    pub fn of(args: &[Value]) -> Result<Value, Error> {
        let args = Arguments::bind("range", args, &["start", "stop", "step"])?;
        let int = |at: usize| args.opt(at).map(|value| i64::try_from(value.clone())).transpose();
        let (first, second, step) = (int(0)?, int(1)?, int(2)?.unwrap_or(1));
        let first = first.ok_or_else(|| Error::new(ErrorKind::MissingArgument, "range needs an argument"))?;
        let (start, stop) = second.map_or((0, first), |stop| (first, stop));
        if step == 0 {
            return Err(Error::new(ErrorKind::InvalidOperation, "range() arg 3 must not be zero"));
        }
        let distance = if step > 0 { stop.saturating_sub(start) } else { start.saturating_sub(stop) };
        let len = if distance <= 0 { 0 } else { (distance.unsigned_abs() - 1) / step.unsigned_abs() + 1 };
        if len > Self::MOST {
            let detail = format!("a range of more than {} numbers, which chat templates may not have", Self::MOST);
            return Err(Error::new(ErrorKind::InvalidOperation, detail));
        }
        Ok(Value::from_object(Self { start, stop, step, len: len as usize }))
    }
}

impl Object for Range {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let at = key.as_usize().filter(|at| *at < self.len)?;
        Some(Value::from(self.start + at as i64 * self.step))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.len)
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            1 => write!(f, "range({}, {})", self.start, self.stop),
            step => write!(f, "range({}, {}, {step})", self.start, self.stop),
        }
    }
}

/// `cycler('a', 'b')`.
#[derive(Debug)]
struct Cycler {
    items: Vec<Value>,
    at: AtomicUsize,
}

pub fn cycler(items: Vec<Value>) -> Result<Value, Error> {
    if items.is_empty() {
        return Err(Error::new(ErrorKind::MissingArgument, "cycler: at least one item has to be provided"));
    }
    Ok(Value::from_object(Cycler { items, at: AtomicUsize::new(0) }))
}

impl Cycler {
    fn current(&self) -> Value {
        self.items[self.at.load(Ordering::Relaxed) % self.items.len()].clone()
    }
}

impl Object for Cycler {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        (key.as_str() == Some("current")).then(|| self.current())
    }

    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        Arguments::bind(method, args, &[])?;
        match method {
            "next" => {
                let current = self.current();
                self.at.fetch_add(1, Ordering::Relaxed);
                Ok(current)
            }
            "reset" => {
                self.at.store(0, Ordering::Relaxed);
                Ok(Value::from(()))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}

/// `joiner(', ')`: nothing at first, then the separator.
#[derive(Debug)]
struct Joiner {
    separator: Value,
    used: AtomicBool,
}

pub fn joiner(args: &[Value]) -> Result<Value, Error> {
    let args = Arguments::bind("joiner", args, &["sep"])?;
    let separator = args.opt(0).cloned().unwrap_or_else(|| Value::from(", "));
    Ok(Value::from_object(Joiner { separator, used: AtomicBool::new(false) }))
}

impl Object for Joiner {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        Arguments::bind("joiner", args, &[])?;
        match self.used.swap(true, Ordering::Relaxed) {
            true => Ok(self.separator.clone()),
            false => Ok(Value::from("")),
        }
    }
}

/// A dictionary, in this order.
pub fn dictionary(entries: Vec<(Value, Value)>) -> Value {
    Value::from_pairs(entries)
}

/// `dict`, with its `fromkeys`.
#[derive(Debug)]
pub struct Dict;

impl Object for Dict {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        let (positional, named) = super::arguments::split(args);
        let mut entries: Vec<(Value, Value)> = Vec::new();
        match positional {
            [] => {}
            [map] if map.kind() == ValueKind::Map => {
                for key in map.try_iter()? {
                    entries.push((key.clone(), map.get_item(&key)?));
                }
            }
            [pairs] => {
                for pair in pairs.try_iter()? {
                    match pair.try_iter()?.collect::<Vec<_>>().as_slice() {
                        [key, value] => entries.push((key.clone(), value.clone())),
                        _ => return Err(Error::new(ErrorKind::InvalidOperation, "dict: every item must be a pair")),
                    }
                }
            }
            _ => return Err(Error::new(ErrorKind::TooManyArguments, "dict takes one argument, and named ones")),
        }
        entries.extend(named.into_iter().map(|(name, value)| (Value::from(name), value)));
        Ok(dictionary(entries))
    }

    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        if method != "fromkeys" {
            return Err(Error::from(ErrorKind::UnknownMethod));
        }
        let args = Arguments::bind("fromkeys", args, &["iterable", "value"])?;
        let value = args.opt(1).cloned().unwrap_or_else(|| Value::from(()));
        Ok(dictionary(args.need(0)?.try_iter()?.map(|key| (key, value.clone())).collect()))
    }
}

/// Whether Python could call it: functions, macros, `joiner`; no data.
pub fn is_callable(value: &Value) -> bool {
    value.kind() == ValueKind::Plain && value.downcast_object_ref::<Cycler>().is_none()
}
