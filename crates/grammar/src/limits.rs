//! Bounds of what comes from outside: so that no grammar takes long, much memory, or the stack.

use llguidance::api::ParserLimits;
use peregrine::Result;
use peregrine::constraint::Spec;
use serde_json::Value;

use crate::expression::{MOST_PLACES, places};
use crate::place;

/// Bytes of a schema, a grammar or an expression, and of all texts of a choice.
const MOST_BYTES: usize = 512 << 10;
const MOST_REGEX_BYTES: usize = 16 << 10;
const MOST_LARK_BYTES: usize = 128 << 10;
/// Texts of a choice.
const MOST_TEXTS: usize = 4096;
/// Values inside values of a schema.
const MOST_DEPTH: usize = 100;
/// Values of a schema.
const MOST_VALUES: usize = 20_000;
/// Bytes of one text of a schema that an answer may have to repeat.
const MOST_TEXT: usize = 16 << 10;
/// Properties of one object.
const MOST_PROPERTIES: usize = 1000;
/// `$ref`s of a schema: each may be a call inside the one before.
const MOST_REFERENCES: usize = 1000;
/// `minLength` and `maxLength`: each character may be a state.
const MOST_LENGTH: u64 = 10_000;
/// `minItems` and the like.
const MOST_ITEMS: u64 = 10_000;
/// Numbers of a Lark grammar, which may be repetitions.
const MOST_REPEATS: u64 = 10_000;
/// Rules and alternatives of a Lark grammar: a table has a row for each.
const MOST_ALTERNATIVES: usize = 4096;
/// Brackets inside brackets of a Lark grammar.
const MOST_BRACKETS: usize = 100;

/// What llguidance may spend. Each number is work or memory, so what is refused is so on every
/// machine.
pub fn parser() -> ParserLimits {
    ParserLimits {
        max_items_in_row: 2000,
        initial_lexer_fuel: 1_000_000,
        step_lexer_fuel: 200_000,
        step_max_items: 50_000,
        max_lexer_states: 20_000,
        max_grammar_size: 300_000,
        precompute_large_lexemes: false,
        verbose_errors: false,
    }
}

/// Whether it is small enough to be looked at.
///
/// # Errors
/// [`Error::Grammar`](peregrine::Error::Grammar).
pub fn check(spec: &Spec) -> Result<()> {
    let refuse = |detail: &str| Err(place::error(spec, detail));
    let most = |what: &str, found: usize, most: usize| match found > most {
        true => Err(place::error(spec, &format!("expected at most {most} {what}, found {found}"))),
        false => Ok(()),
    };
    match spec {
        Spec::JsonObject => Ok(()),
        Spec::JsonSchema { schema, .. } => {
            if !schema.is_object() && !schema.is_boolean() {
                return refuse("expected an object, true or false");
            }
            if schema.get("x-guidance").is_some() {
                return refuse("x-guidance is not for schemas from outside: leave it out");
            }
            let mut size = Size::default();
            size.add(schema, 1);
            most("levels", size.depth, MOST_DEPTH)?;
            most("values", size.values, MOST_VALUES)?;
            most("$refs", size.references, MOST_REFERENCES)?;
            most("bytes of text", size.bytes, MOST_BYTES)?;
            size.wrong.map_or(Ok(()), |(at, detail)| Err(place::at(&at, &detail)))
        }
        Spec::Regex(regex) => {
            if regex.is_empty() {
                return refuse("it is empty");
            }
            most("bytes", regex.len(), MOST_REGEX_BYTES)?;
            expression(regex, "").or_else(|detail| refuse(&detail))
        }
        Spec::Choice(texts) => {
            if texts.is_empty() {
                return refuse("expected at least one text");
            }
            if texts.iter().any(String::is_empty) {
                return refuse("a text is empty");
            }
            most("texts", texts.len(), MOST_TEXTS)?;
            most("bytes", texts.iter().map(String::len).sum(), MOST_REGEX_BYTES)
        }
        Spec::Lark(text) => {
            most("bytes", text.len(), MOST_LARK_BYTES)?;
            let seen = look(text);
            most("brackets inside each other", seen.deepest, MOST_BRACKETS)?;
            most("rules and alternatives", seen.alternatives, MOST_ALTERNATIVES)?;
            seen.wrong.map_or(Ok(()), |detail| refuse(&detail))
        }
    }
}

/// Whether an expression is small enough when its repetitions are written out.
fn expression(regex: &str, ascii: &str) -> std::result::Result<(), String> {
    match places(regex, ascii)? {
        found if found > MOST_PLACES => {
            Err(format!("expected at most {MOST_PLACES} characters with all repetitions written out, found {found}"))
        }
        _ => Ok(()),
    }
}

#[derive(Default)]
struct Size {
    depth: usize,
    values: usize,
    references: usize,
    bytes: usize,
    /// The pointer of the first value that is not small enough by itself, and why.
    wrong: Option<(String, String)>,
    path: Vec<String>,
}

impl Size {
    fn add(&mut self, value: &Value, depth: usize) {
        self.depth = self.depth.max(depth);
        self.values += 1;
        // The rest is of no interest, and might not fit the stack.
        if depth > MOST_DEPTH || self.values > MOST_VALUES {
            return;
        }
        match value {
            Value::String(text) => self.bytes += text.len(),
            Value::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    self.path.push(i.to_string());
                    self.add(item, depth + 1);
                    self.path.pop();
                }
            }
            Value::Object(fields) => {
                let are_names =
                    matches!(self.path.last().map(String::as_str), Some("properties" | "$defs" | "definitions"));
                let are_patterns = self.path.last().is_some_and(|name| name == "patternProperties");
                for (name, value) in fields {
                    self.path.push(name.clone());
                    self.bytes += name.len();
                    self.references += usize::from(name.ends_with("ref") || name.ends_with("Ref"));
                    let checked = match value {
                        _ if are_patterns => expression(name, "dw"),
                        Value::String(pattern) if name == "pattern" && !are_names => expression(pattern, "dw"),
                        Value::Number(number) if !are_names => count(name, number),
                        Value::String(text) if name == "const" => most_bytes(text),
                        Value::Array(items) if name == "enum" => {
                            items.iter().filter_map(Value::as_str).try_for_each(most_bytes)
                        }
                        Value::Object(fields) if name == "properties" && fields.len() > MOST_PROPERTIES => {
                            Err(format!("expected at most {MOST_PROPERTIES} properties, found {}", fields.len()))
                        }
                        _ => Ok(()),
                    };
                    if let (Err(detail), None) = (checked, &self.wrong) {
                        self.wrong = Some((place::pointer_of(&self.path), detail));
                    }
                    self.add(value, depth + 1);
                    self.path.pop();
                }
            }
            _ => {}
        }
    }
}

fn most_bytes(text: &str) -> std::result::Result<(), String> {
    match text.len() {
        found if found > MOST_TEXT => Err(format!("expected a text of at most {MOST_TEXT} bytes, found {found}")),
        _ => Ok(()),
    }
}

/// Whether a keyword that counts does not count too far: each count may be as many states.
fn count(name: &str, number: &serde_json::Number) -> std::result::Result<(), String> {
    let most = match name {
        "minLength" | "maxLength" => MOST_LENGTH,
        "minItems" | "maxItems" | "minProperties" | "maxProperties" => MOST_ITEMS,
        _ => return Ok(()),
    };
    match number.as_f64() {
        Some(found) if found > most as f64 => Err(format!("expected at most {most}, found {number}")),
        _ => Ok(()),
    }
}

/// What a look at a Lark grammar from the left finds: a quote or a slash that never ends is an
/// error later.
struct Seen {
    /// The deepest nesting of brackets outside of strings, expressions and comments.
    deepest: usize,
    /// Rules, and alternatives after the first, outside of those.
    alternatives: usize,
    /// The first expression or number that is too large.
    wrong: Option<String>,
}

fn look(text: &str) -> Seen {
    let mut seen = Seen { deepest: 0, alternatives: 0, wrong: None };
    let mut depth = 0usize;
    for (line, text) in text.lines().enumerate() {
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let checked = match first {
                '/' if rest.starts_with("//") => break,
                '#' => break,
                '"' | '/' => {
                    let end = closing(rest, first);
                    let inner = rest.get(1..end).unwrap_or_default();
                    rest = rest.get(end + 1..).unwrap_or_default();
                    // What cannot be parsed is an error of the grammar, with a better place.
                    let found = if first == '/' { places(inner, "").unwrap_or(0) } else { 0 };
                    (found > MOST_PLACES).then(|| {
                        format!(
                            "expected at most {MOST_PLACES} characters with all repetitions written out, found {found}"
                        )
                    })
                }
                '(' | '[' | '{' => {
                    depth += 1;
                    seen.deepest = seen.deepest.max(depth);
                    rest = &rest[1..];
                    None
                }
                ')' | ']' | '}' => {
                    depth = depth.saturating_sub(1);
                    rest = &rest[1..];
                    None
                }
                '0'..='9' => {
                    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                    let (number, after) = rest.split_at(digits);
                    rest = after;
                    let found: u64 = number.parse().unwrap_or(u64::MAX);
                    (found > MOST_REPEATS)
                        .then(|| format!("expected numbers of at most {MOST_REPEATS}, found {number}"))
                }
                other => {
                    seen.alternatives += usize::from(matches!(other, '|' | ':'));
                    rest = &rest[other.len_utf8()..];
                    None
                }
            };
            if seen.wrong.is_none() {
                seen.wrong = checked.map(|detail| format!("line {}: {detail}", line + 1));
            }
        }
    }
    seen
}

/// Where what begins with a quote or a slash ends: the index of the same without a backslash before
/// it, or the end.
fn closing(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at,
            _ => {}
        }
    }
    text.len()
}
