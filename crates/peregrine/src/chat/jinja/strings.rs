//! Python's methods of strings.

use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};
use unicode_categories::UnicodeCategories;

use super::arguments::{Arguments, check_width, spend, wrong};
use super::cuts::{capitalized, lines, split, swapped, titled};
use super::{braces, print};

/// `str.isspace` of one character: Rust's whitespace, and the four separators of ASCII.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

fn is_alpha(c: char) -> bool {
    c.is_letter()
}

/// Decimal digits, and others that stand for one digit: superscripts, circled ones.
fn is_digit(c: char) -> bool {
    const OTHERS: [(u32, u32); 19] = [
        (0xb2, 0xb3),
        (0xb9, 0xb9),
        (0x1369, 0x1371),
        (0x19da, 0x19da),
        (0x2070, 0x2070),
        (0x2074, 0x2079),
        (0x2080, 0x2089),
        (0x2460, 0x2468),
        (0x2474, 0x247c),
        (0x2488, 0x2490),
        (0x24ea, 0x24ea),
        (0x24f5, 0x24fd),
        (0x24ff, 0x24ff),
        (0x2776, 0x277e),
        (0x2780, 0x2788),
        (0x278a, 0x2792),
        (0x10a40, 0x10a43),
        (0x10e60, 0x10e68),
        (0x1f100, 0x1f10a),
    ];
    c.is_number_decimal_digit() || OTHERS.iter().any(|(first, last)| (*first..=*last).contains(&u32::from(c)))
}

/// A method, or [`ErrorKind::UnknownMethod`].
pub fn call(state: &State<'_, '_>, text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let none = || Arguments::bind(method, args, &[]).map(|_| ());
    let every = |test: &dyn Fn(char) -> bool| {
        none()?;
        Ok(Value::from(!text.is_empty() && text.chars().all(test)))
    };
    let cased = |upper: bool| {
        none()?;
        let right = |c: char| if upper { c.is_uppercase() } else { c.is_lowercase() };
        let other = |c: char| if upper { c.is_lowercase() } else { c.is_uppercase() };
        Ok(Value::from(text.chars().any(right) && !text.chars().any(other)))
    };
    match method {
        "upper" => none().map(|()| Value::from(text.to_uppercase())),
        "lower" => none().map(|()| Value::from(text.to_lowercase())),
        // Full folding is lower case but for a few letters, of which this is the one in use.
        "casefold" => none().map(|()| Value::from(text.to_lowercase().replace('ß', "ss").replace('ς', "σ"))),
        "capitalize" => none().map(|()| Value::from(capitalized(text))),
        "title" => none().map(|()| Value::from(titled(text))),
        "swapcase" => none().map(|()| Value::from(swapped(text))),
        "isalpha" => every(&is_alpha),
        "isalnum" => every(&|c| is_alpha(c) || c.is_numeric()),
        "isdigit" => every(&is_digit),
        "isdecimal" => every(&|c| c.is_number_decimal_digit()),
        "isnumeric" => every(&char::is_numeric),
        "isspace" => every(&is_space),
        "isprintable" => none().map(|()| Value::from(text.chars().all(print::is_printable))),
        "isascii" => none().map(|()| Value::from(text.is_ascii())),
        "isidentifier" => every(&|c| c == '_' || c.is_alphanumeric())
            .map(|all| Value::from(all.is_true() && !text.starts_with(|c: char| c.is_numeric()))),
        "islower" => cased(false),
        "isupper" => cased(true),
        "istitle" => none().map(|()| Value::from(titled(text) == text && text.chars().any(|c| c.is_uppercase()))),
        "strip" | "lstrip" | "rstrip" => {
            let args = Arguments::bind(method, args, &["chars"])?;
            let chars = args.some(0).map(|_| args.str(0)).transpose()?;
            let cut = |c: char| chars.map_or(is_space(c), |chars| chars.contains(c));
            Ok(Value::from(match method {
                "strip" => text.trim_matches(cut),
                "lstrip" => text.trim_start_matches(cut),
                _ => text.trim_end_matches(cut),
            }))
        }
        "split" | "rsplit" => {
            let args = Arguments::bind(method, args, &["sep", "maxsplit"])?;
            let separator = args.some(0).map(|_| args.str(0)).transpose()?;
            let most = usize::try_from(args.int(1, -1)?).unwrap_or(usize::MAX);
            split(text, separator, most, method == "rsplit").map(|parts| parts.into_iter().map(Value::from).collect())
        }
        "splitlines" => {
            let args = Arguments::bind(method, args, &["keepends"])?;
            Ok(lines(text, args.bool(0, false)).into_iter().map(Value::from).collect())
        }
        "partition" | "rpartition" => {
            let args = Arguments::bind(method, args, &["sep"])?;
            let separator = args.str(0)?;
            if separator.is_empty() {
                return Err(wrong("empty separator"));
            }
            let first = method == "partition";
            let at = if first { text.find(separator) } else { text.rfind(separator) };
            let parts = match at {
                Some(at) => [&text[..at], separator, &text[at + separator.len()..]],
                None if first => [text, "", ""],
                None => ["", "", text],
            };
            Ok(Value::from(Tuple::from(parts.map(Value::from))))
        }
        "replace" => {
            let args = Arguments::bind(method, args, &["old", "new", "count"])?;
            let (old, new) = (args.str(0)?, args.str(1)?);
            let most = usize::try_from(args.int(2, -1)?).unwrap_or(usize::MAX);
            replaced(state, text, old, new, most).map(Value::from)
        }
        "removeprefix" => {
            let args = Arguments::bind(method, args, &["prefix"])?;
            Ok(Value::from(text.strip_prefix(args.str(0)?).unwrap_or(text)))
        }
        "removesuffix" => {
            let args = Arguments::bind(method, args, &["suffix"])?;
            Ok(Value::from(text.strip_suffix(args.str(0)?).unwrap_or(text)))
        }
        "find" | "rfind" | "index" | "rindex" | "count" => {
            let args = Arguments::bind(method, args, &["sub", "start", "end"])?;
            search(text, method, &args)
        }
        "startswith" | "endswith" => {
            let args = Arguments::bind(method, args, &["prefix", "start", "end"])?;
            let part = part(text, &args)?.map_or("", |(_, part)| part);
            let known = part.len() <= text.len();
            let one = |affix: &Value| match affix.as_str() {
                Some(affix) if method == "startswith" => Ok(known && part.starts_with(affix)),
                Some(affix) => Ok(known && part.ends_with(affix)),
                None => Err(wrong(format!("{method} wants a string or a tuple of strings, not {}", affix.kind()))),
            };
            let affix = args.need(0)?;
            match affix.kind() {
                ValueKind::Seq => {
                    affix.try_iter()?.try_fold(false, |any, item| Ok(any || one(&item)?)).map(Value::from)
                }
                _ => one(affix).map(Value::from),
            }
        }
        "join" => {
            let args = Arguments::bind(method, args, &["iterable"])?;
            let mut out = String::new();
            for (at, item) in args.need(0)?.try_iter()?.enumerate() {
                let part = item.as_str();
                let part = part.ok_or_else(|| wrong(format!("join: item {at} is no string but {}", item.kind())))?;
                let before = if at > 0 { text } else { "" };
                spend(state, 64 + before.len() + part.len())?;
                out.push_str(before);
                out.push_str(part);
            }
            Ok(Value::from(out))
        }
        "ljust" | "rjust" | "center" => {
            let args = Arguments::bind(method, args, &["width", "fillchar"])?;
            args.need(0)?;
            let fill = args.text(1, " ")?;
            if fill.chars().count() != 1 {
                return Err(wrong(format!("{method}: the fill must be one character")));
            }
            justified(state, text, method, args.width(0, 0)?, &fill).map(Value::from)
        }
        "zfill" => {
            let args = Arguments::bind(method, args, &["width"])?;
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            let zeros = args.width(0, 0)?.saturating_sub(text.chars().count());
            spend(state, zeros)?;
            Ok(Value::from(format!("{sign}{}{digits}", "0".repeat(zeros))))
        }
        "expandtabs" => {
            let args = Arguments::bind(method, args, &["tabsize"])?;
            expanded(state, text, args.width(0, 8)?).map(Value::from)
        }
        "format" => braces::format(state, text, args).map(Value::from),
        "translate" => {
            let args = Arguments::bind(method, args, &["table"])?;
            let mut out = String::new();
            for c in text.chars() {
                let to = args.need(0)?.get_item(&Value::from(u32::from(c)))?;
                match to.as_str() {
                    Some(to) => {
                        spend(state, to.len())?;
                        out.push_str(to);
                    }
                    None if to.is_undefined() => out.push(c),
                    None if to.is_none() => {}
                    None => out.extend(char::from_u32(u32::try_from(to)?)),
                }
            }
            Ok(Value::from(out))
        }
        "encode" => none().map(|()| Value::from_bytes(text.as_bytes().to_vec())),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

/// `center` is uneven as Python's is.
pub fn justified(state: &State<'_, '_>, text: &str, how: &str, width: usize, fill: &str) -> Result<String, Error> {
    spend(state, width)?;
    let missing = width.saturating_sub(text.chars().count());
    let left = match how {
        "ljust" => 0,
        "rjust" => missing,
        _ => missing / 2 + (missing & width & 1),
    };
    Ok(format!("{}{text}{}", fill.repeat(left), fill.repeat(missing - left)))
}

/// `str.replace`.
pub fn replaced(state: &State<'_, '_>, text: &str, old: &str, new: &str, most: usize) -> Result<String, Error> {
    let places = text.matches(old).take(most).count();
    spend(state, text.len().saturating_add(places.saturating_mul(new.len())))?;
    Ok(text.replacen(old, new, most))
}

/// The part between the arguments `start` and `end`, and how many characters are before it; `None`
/// where `start` is past the end.
fn part<'a>(text: &'a str, args: &Arguments<'_>) -> Result<Option<(usize, &'a str)>, Error> {
    if args.some(1).is_none() && args.some(2).is_none() {
        return Ok(Some((0, text)));
    }
    let len = text.chars().count() as i64;
    let place = |at: i64| if at < 0 { (at + len).max(0) } else { at };
    let (start, end) = (place(args.int(1, 0)?), place(args.int(2, i64::MAX)?).min(len));
    if start > end {
        return Ok(None);
    }
    let byte = |at: i64| text.char_indices().nth(at as usize).map_or(text.len(), |(at, _)| at);
    Ok(Some((start as usize, &text[byte(start)..byte(end)])))
}

fn search(text: &str, method: &str, args: &Arguments<'_>) -> Result<Value, Error> {
    let wanted = args.str(0)?;
    let part = part(text, args)?;
    if method == "count" {
        return Ok(Value::from(part.map_or(0, |(_, part)| part.matches(wanted).count())));
    }
    let found = part.and_then(|(before, part)| {
        let at = if method.starts_with('r') { part.rfind(wanted) } else { part.find(wanted) };
        at.map(|at| before + part[..at].chars().count())
    });
    match found {
        Some(at) => Ok(Value::from(at)),
        None if method.ends_with("find") => Ok(Value::from(-1)),
        None => Err(wrong("substring not found")),
    }
}

fn expanded(state: &State<'_, '_>, text: &str, size: usize) -> Result<String, Error> {
    let (mut out, mut column) = (String::new(), 0);
    for c in text.chars() {
        match c {
            '\t' => {
                let blanks = if size == 0 { 0 } else { size - column % size };
                spend(state, blanks)?;
                out.extend(std::iter::repeat_n(' ', blanks));
                column += blanks;
                check_width(out.len() as u64)?;
            }
            '\n' | '\r' => {
                out.push(c);
                column = 0;
            }
            c => {
                out.push(c);
                column += 1;
            }
        }
    }
    Ok(out)
}
