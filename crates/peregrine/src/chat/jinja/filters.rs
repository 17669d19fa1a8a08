//! Jinja's filters where minijinja's differ from them or are missing.

use minijinja::value::{Tuple, ValueKind};
use minijinja::{Environment, Error, State, Value};

use super::arguments::{Arguments, Given, spend, split, values, wrong};
use super::numbers::{filesize, float, int, percent};
use super::percent as printf;
use super::web::{escaped, striptags, urlencode};
use super::{cuts, json, objects, print, strings};

/// Puts them in, and takes out what minijinja has and Jinja has not.
pub fn add(environment: &mut Environment<'_>) {
    for filter in ["bool", "split", "chain", "lines", "zip"] {
        environment.remove_filter(filter);
    }
    for test in ["startingwith", "endingwith", "safe"] {
        environment.remove_test(test);
    }
    environment.add_filter("tojson", |state: &State<'_, '_>, value: Value, args: Given| {
        json::tojson(state, &value, &values(args))
    });
    for name in ["string", "__text"] {
        environment.add_filter(name, |value: Value| match value.as_str() {
            Some(_) => Ok(value),
            None => print::text(&value).map(Value::from),
        });
    }
    environment
        .add_filter("__percent", |state: &State<'_, '_>, left: Value, right: Value| percent(state, &left, &right));
    environment.add_filter("int", |value: Value, args: Given| int(&value, &values(args)));
    environment.add_filter("float", |value: Value, args: Given| float(&value, &values(args)));
    environment.add_filter("join", join);
    environment.add_filter("trim", |state: &State<'_, '_>, value: Value, args: Given| {
        strings::call(state, &print::text(&value)?, "strip", &values(args))
    });
    environment.add_filter("title", |value: Value| print::text(&value).map(|text| title(&text)));
    environment.add_filter("replace", |state: &State<'_, '_>, value: Value, args: Given| {
        replace(state, &value, &values(args))
    });
    environment.add_filter("center", |state: &State<'_, '_>, value: Value, args: Given| {
        let args = Arguments::bind("center", &values(args), &["width"])?;
        strings::justified(state, &print::text(&value)?, "center", args.width(0, 80)?, " ")
    });
    environment.add_filter("indent", |state: &State<'_, '_>, value: Value, args: Given| {
        indent(state, &print::text(&value)?, &values(args))
    });
    environment.add_filter("truncate", |value: Value, args: Given| truncate(&print::text(&value)?, &values(args)));
    environment.add_filter("wordcount", |value: Value| {
        let text = print::text(&value)?;
        let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
        Ok::<_, Error>(words.count())
    });
    environment.add_filter("format", |state: &State<'_, '_>, value: Value, args: Given| {
        let args = values(args);
        let (positional, named) = split(&args);
        let args = match (positional, named.is_empty()) {
            (_, true) => Value::from(Tuple::from(positional)),
            ([], false) => {
                let named = named.into_iter().map(|(name, value)| (Value::from(name), value));
                objects::dictionary(named.collect())
            }
            _ => return Err(wrong("format takes positional or named arguments, not both")),
        };
        printf::percent(state, &print::text(&value)?, &args)
    });
    for name in ["default", "d"] {
        environment.add_filter(name, |value: Value, args: Given| {
            let args = Arguments::bind("default", &values(args), &["default_value", "boolean"])?;
            let missing = value.is_undefined() || args.bool(1, false) && !value.is_true();
            let other = || args.opt(0).cloned().unwrap_or_else(|| Value::from(""));
            Ok::<_, Error>(if missing { other() } else { value })
        });
    }
    environment.add_filter("dictsort", dictsort);
    environment.add_filter("items", |value: Value| match value.kind() {
        ValueKind::Undefined => Ok(Value::from(Vec::<Value>::new())),
        ValueKind::Map => {
            let view = objects::View::new(&value, objects::ViewKind::Items)?;
            Ok(Value::from_object(view).try_iter()?.collect())
        }
        other => Err(wrong(format!("items: can only get item pairs from a mapping, not {other}"))),
    });
    // Only attributes count, and what templates are given has none but methods.
    environment.remove_filter("attr");
    for name in ["escape", "e", "forceescape"] {
        environment.add_filter(name, move |value: Value| match value.is_safe() && name != "forceescape" {
            true => Ok(value),
            false => Ok::<_, Error>(Value::from_safe_string(escaped(&print::text(&value)?))),
        });
    }
    environment.add_filter("striptags", |value: Value| print::text(&value).map(|text| striptags(&text)));
    environment.add_filter("urlencode", |value: Value| urlencode(&value));
    environment.add_filter("filesizeformat", |value: Value, args: Given| filesize(&value, &values(args)));
    environment.remove_filter("pprint");
    environment.add_test("callable", |value: &Value| objects::is_callable(value));
    environment.add_test("iterable", |value: &Value| {
        let kind = value.kind();
        matches!(kind, ValueKind::Undefined | ValueKind::String | ValueKind::Seq | ValueKind::Iterable | ValueKind::Map)
    });
    environment.add_test("sequence", |value: &Value| match value.kind() {
        ValueKind::Undefined | ValueKind::String | ValueKind::Seq | ValueKind::Map => true,
        ValueKind::Iterable => value.downcast_object_ref::<objects::View>().is_none(),
        _ => false,
    });
}

fn join(state: &mut State<'_, '_>, value: Value, args: Given) -> Result<String, Error> {
    let args = Arguments::bind("join", &values(args), &["d", "attribute"])?;
    let items = match args.some(1) {
        None => value,
        Some(attribute) => {
            let named = minijinja::value::Kwargs::from_iter([("attribute", attribute.clone())]);
            state.apply_filter("map", &[value, Value::from(named)])?
        }
    };
    let (mut out, separator) = (String::new(), args.text(0, "")?);
    if items.is_undefined() {
        return Ok(out);
    }
    for (at, item) in items.try_iter()?.enumerate() {
        let (before, item) = (if at > 0 { separator.as_str() } else { "" }, print::text(&item)?);
        spend(state, 64 + before.len() + item.len())?;
        out.push_str(before);
        out.push_str(&item);
    }
    Ok(out)
}

/// A word begins after blanks and some punctuation.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        match inside {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        inside = !(strings::is_space(c) || matches!(c, '-' | '(' | '{' | '[' | '<'));
    }
    out
}

fn replace(state: &State<'_, '_>, value: &Value, args: &[Value]) -> Result<String, Error> {
    let args = Arguments::bind("replace", args, &["old", "new", "count"])?;
    args.need(0)?;
    args.need(1)?;
    let most = usize::try_from(args.int(2, -1)?).unwrap_or(usize::MAX);
    strings::replaced(state, &print::text(value)?, &args.text(0, "")?, &args.text(1, "")?, most)
}

fn indent(state: &State<'_, '_>, text: &str, args: &[Value]) -> Result<String, Error> {
    let args = Arguments::bind("indent", args, &["width", "first", "blank"])?;
    let indention = match args.some(0).and_then(Value::as_str) {
        Some(text) => text.to_string(),
        None => " ".repeat(args.width(0, 4)?),
    };
    // Python appends a line end, so that one at the text's own end is kept.
    let whole = format!("{text}\n");
    let mut out = String::new();
    for (at, line) in cuts::lines(&whole, false).into_iter().enumerate() {
        out.push_str(if at > 0 { "\n" } else { "" });
        if at > 0 && (args.bool(2, false) || !line.is_empty()) || at == 0 && args.bool(1, false) {
            spend(state, indention.len())?;
            out.push_str(&indention);
        }
        out.push_str(line);
    }
    Ok(out)
}

fn truncate(text: &str, args: &[Value]) -> Result<String, Error> {
    let args = Arguments::bind("truncate", args, &["length", "killwords", "end", "leeway"])?;
    let (length, leeway, end) = (args.width(0, 255)?, args.width(3, 5)?, args.text(2, "...")?);
    let keep =
        length.checked_sub(end.chars().count()).ok_or_else(|| wrong("truncate: the length is below the end's"))?;
    if text.chars().count() <= length + leeway {
        return Ok(text.into());
    }
    let cut: String = text.chars().take(keep).collect();
    let whole =
        if args.bool(1, false) { cut.as_str() } else { cut.rsplit_once(' ').map_or(cut.as_str(), |(words, _)| words) };
    Ok(format!("{whole}{end}"))
}

fn dictsort(state: &State<'_, '_>, value: Value, args: Given) -> Result<Value, Error> {
    let args = Arguments::bind("dictsort", &values(args), &["case_sensitive", "by", "reverse"])?;
    if value.kind() != ValueKind::Map {
        return Err(wrong(format!("dictsort wants a dictionary, not {}", value.kind())));
    }
    let place = match args.text(1, "key")?.as_str() {
        "key" => 0,
        "value" => 1,
        _ => return Err(wrong("dictsort: you can only sort by either 'key' or 'value'")),
    };
    let folded = |value: &Value| match value.as_str() {
        Some(text) if !args.bool(0, false) => Value::from(text.to_lowercase()),
        _ => value.clone(),
    };
    let mut pairs: Vec<[Value; 2]> = Vec::new();
    for key in value.try_iter()? {
        let item = value.get_item(&key)?;
        pairs.push([key, item]);
        state.consume_fuel(1)?;
    }
    let reverse = args.bool(2, false);
    pairs.sort_by(|a, b| {
        let order = folded(&a[place]).cmp(&folded(&b[place]));
        if reverse { order.reverse() } else { order }
    });
    Ok(pairs.into_iter().map(|pair| Value::from(Tuple::from(pair))).collect())
}
