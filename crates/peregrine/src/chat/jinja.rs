//! Jinja as Hugging Face sets it up for chat templates, bounded: templates are programs from strangers.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, Serde, ValueKind};
use minijinja::{Environment, Error as JinjaError, ErrorKind, Output, State, Value};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use crate::{Error, Result};

/// Work a rendering may do: about as many instructions, or 64 bytes of data each. A conversation of a thousand turns
/// takes a hundredth of it; a template that loops for ever ends with an error within a second.
const FUEL: u64 = 4_000_000;
/// Nesting; a macro in a macro counts for about ten.
const DEPTH: usize = 250;

const NAME: &str = "chat template";

pub(super) struct Template {
    environment: Environment<'static>,
    source: String,
}

impl Template {
    pub fn new(source: &str) -> Result<Self> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(failed)?;
        environment.set_syntax(syntax);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(DEPTH);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_formatter(python_output);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", tojson);
        environment.add_function("raise_exception", |message: String| -> Result<Value, JinjaError> {
            Err(JinjaError::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", |format: String| strftime(&format, unix_seconds()));
        let template = Self { environment, source: without_generation_tags(source) };
        template.environment.template_from_named_str(NAME, &template.source).map_err(failed)?;
        Ok(template)
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    pub fn render(&self, context: &serde_json::Value) -> Result<String> {
        let template = self.environment.template_from_named_str(NAME, &self.source).map_err(failed)?;
        template.render(Value::from(Serde(context))).map_err(failed)
    }
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Template({:?})", self.source)
    }
}

fn failed(error: JinjaError) -> Error {
    let line = error.line().map(|line| format!("line {line}: ")).unwrap_or_default();
    let reason = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "it does not come to an end".to_string(),
        (ErrorKind::InvalidOperation, Some(detail)) => detail.to_string(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    Error::Template { detail: format!("{line}{reason}") }
}

/// `{% generation %}` marks the assistant's part for training; here the marks mean nothing.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        // In "{%}" the two share a character.
        let Some(end) = tag[2..].find("%}").map(|end| end + 4) else {
            rest = tag;
            break;
        };
        let word = tag[2..end - 2].trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        match word {
            "generation" => out.push_str(&tag[..end].replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag[..end].replace("endgeneration", "endif")),
            _ => {
                // Only the opening is passed over, as "%}" might have been inside a string.
                out.push_str("{%");
                rest = &tag[2..];
                continue;
            }
        }
        rest = &tag[end..];
    }
    out.push_str(rest);
    out
}

/// `{{ value }}` as Python prints it: `None`, `True`, and lists and dictionaries by `repr`.
fn python_output(out: &mut Output, state: &mut State, value: &Value) -> Result<(), JinjaError> {
    let text = match value.kind() {
        ValueKind::None | ValueKind::Bool | ValueKind::Seq | ValueKind::Map => python_repr(value, 0)?,
        _ => return minijinja::escape_formatter(out, state, value),
    };
    out.write_str(&text).map_err(JinjaError::from)
}

fn python_repr(value: &Value, depth: usize) -> Result<String, JinjaError> {
    if depth > 64 {
        return Err(JinjaError::new(ErrorKind::InvalidOperation, "a value is nested too deep to print"));
    }
    Ok(match value.kind() {
        ValueKind::None => "None".into(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.into(),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
            let mut out = String::from(quote);
            for c in text.chars() {
                match c {
                    '\n' => out.push_str("\\n"),
                    '\r' => out.push_str("\\r"),
                    '\t' => out.push_str("\\t"),
                    '\\' => out.push_str("\\\\"),
                    c if c == quote => out.extend(['\\', c]),
                    c => out.push(c),
                }
            }
            out.push(quote);
            out
        }
        ValueKind::Seq => {
            let items: Result<Vec<_>, _> = value.try_iter()?.map(|item| python_repr(&item, depth + 1)).collect();
            format!("[{}]", items?.join(", "))
        }
        ValueKind::Map => {
            let entry = |key: Value| -> Result<String, JinjaError> {
                let item = value.get_item(&key)?;
                Ok(format!("{}: {}", python_repr(&key, depth + 1)?, python_repr(&item, depth + 1)?))
            };
            let entries: Result<Vec<_>, _> = value.try_iter()?.map(entry).collect();
            format!("{{{}}}", entries?.join(", "))
        }
        _ => value.to_string(),
    })
}

/// `json.dumps`, whose spaces differ from serde's, with the arguments Hugging Face passes on.
fn tojson(value: Value, args: Rest<Value>, kwargs: Kwargs) -> Result<Value, JinjaError> {
    let ascii = kwargs.get::<Option<bool>>("ensure_ascii")?.or(args.first().map(Value::is_true)).unwrap_or(false);
    let indent = kwargs.get::<Option<usize>>("indent")?;
    let sort = kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let separators = kwargs.get::<Option<Vec<String>>>("separators")?;
    kwargs.assert_all_used()?;
    let cannot = |e: serde_json::Error| JinjaError::new(ErrorKind::InvalidOperation, format!("tojson: {e}"));
    let mut value = serde_json::to_value(&value).map_err(cannot)?;
    if sort {
        value.sort_all_objects();
    }
    let mut bytes = Vec::new();
    if let Some(indent) = indent {
        let indent = " ".repeat(indent.min(16));
        let formatter = PrettyFormatter::with_indent(indent.as_bytes());
        value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter)).map_err(cannot)?;
    } else {
        let (comma, colon) = match separators.as_deref() {
            Some([comma, colon]) => (comma.as_str(), colon.as_str()),
            _ => (", ", ": "),
        };
        let mut serializer = Serializer::with_formatter(&mut bytes, Separators { comma, colon });
        value.serialize(&mut serializer).map_err(cannot)?;
    }
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if ascii {
        let mut units = [0; 2];
        text = text
            .chars()
            .map(|c| match c.is_ascii() {
                true => c.to_string(),
                false => c.encode_utf16(&mut units).iter().map(|u| format!("\\u{u:04x}")).collect(),
            })
            .collect();
    }
    Ok(Value::from_safe_string(text))
}

struct Separators<'a> {
    comma: &'a str,
    colon: &'a str,
}

impl Formatter for Separators<'_> {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(self.comma.as_bytes()) }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(self.comma.as_bytes()) }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(self.colon.as_bytes())
    }
}

/// Seconds since 1970, UTC. A browser has no system clock for Rust; its own is asked.
fn unix_seconds() -> i64 {
    #[cfg(target_arch = "wasm32")]
    return (js_sys::Date::now() / 1000.0) as i64;
    #[cfg(not(target_arch = "wasm32"))]
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0))
}

/// The `strftime` codes that templates use, in UTC and English; an unknown code stays as it is.
fn strftime(format: &str, unix: i64) -> String {
    const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let (days, second) = (unix.div_euclid(86_400), unix.rem_euclid(86_400));
    let weekday = DAYS[(days + 4).rem_euclid(7) as usize];
    // Civil date from days (Howard Hinnant's algorithm): years begin in March, so the leap day comes last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let month_name = MONTHS[(month - 1) as usize];
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let hour12 = (hour + 11) % 12 + 1;

    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let (code, padded) = match chars.next() {
            Some('-') => (chars.next(), false),
            code => (code, true),
        };
        let number = |n: i64| {
            if padded { format!("{n:02}") } else { n.to_string() }
        };
        out.push_str(&match code {
            Some('Y') => year.to_string(),
            Some('y') => number(year.rem_euclid(100)),
            Some('m') => number(month),
            Some('d') => number(day),
            Some('e') => format!("{day:2}"),
            Some('B') => month_name.to_string(),
            Some('b' | 'h') => month_name[..3].to_string(),
            Some('A') => weekday.to_string(),
            Some('a') => weekday[..3].to_string(),
            Some('H') => number(hour),
            Some('I') => number(hour12),
            Some('M') => number(minute),
            Some('S') => number(second % 60),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.to_string(),
            Some('F') => format!("{year}-{month:02}-{day:02}"),
            Some('T') => format!("{hour:02}:{minute:02}:{:02}", second % 60),
            Some('%') => "%".to_string(),
            Some(other) => format!("%{other}"),
            None => "%".to_string(),
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(strftime("%d %b %Y", 0), "01 Jan 1970");
        assert_eq!(strftime("%A, %B %-d, %Y %H:%M:%S", 951_827_696), "Tuesday, February 29, 2000 12:34:56");
        assert_eq!(strftime("%F %T %I %p %% %q %", 1_795_430_399), "2026-11-23 10:39:59 10 AM % %q %");
    }

    #[test]
    fn generation_tags_vanish() {
        let source = "{%- generation -%}{{ '{% x' }}{%endgeneration%}{% if a %}";
        assert_eq!(without_generation_tags(source), "{%- if true -%}{{ '{% x' }}{%endif%}{% if a %}");
    }
}
