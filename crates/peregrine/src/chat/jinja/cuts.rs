//! Strings cut and cased as Python does it.

use minijinja::Error;
use unicode_categories::UnicodeCategories;

use super::arguments::wrong;
use super::strings::is_space;

/// `str.capitalize`.
pub fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or(String::new(), |first| first.to_uppercase().chain(chars.as_str().to_lowercase().chars()).collect())
}

/// Upper case after everything that has no case.
pub fn titled(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        match inside {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        inside = c.is_lowercase() || c.is_uppercase() || c.is_letter_titlecase();
    }
    out
}

/// `str.swapcase`.
pub fn swapped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_uppercase() {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
    }
    out
}

/// `str.split`, or `str.rsplit`.
pub fn split<'a>(text: &'a str, separator: Option<&str>, most: usize, from_end: bool) -> Result<Vec<&'a str>, Error> {
    let parts = most.saturating_add(1);
    match separator {
        Some("") => Err(wrong("empty separator")),
        Some(separator) if from_end => {
            let mut parts: Vec<_> = text.rsplitn(parts, separator).collect();
            parts.reverse();
            Ok(parts)
        }
        Some(separator) => Ok(text.splitn(parts, separator).collect()),
        // What remains when no more may be split keeps the blanks at its far end.
        None if from_end => {
            let (mut rest, mut parts) = (text.trim_end_matches(is_space), Vec::new());
            while !rest.is_empty() {
                let at = rest.rfind(is_space).filter(|_| parts.len() < most);
                let after = at.map_or(0, |at| at + rest[at..].chars().next().map_or(0, char::len_utf8));
                parts.push(&rest[after..]);
                rest = at.map_or("", |at| rest[..at].trim_end_matches(is_space));
            }
            parts.reverse();
            Ok(parts)
        }
        None => {
            let (mut rest, mut parts) = (text.trim_start_matches(is_space), Vec::new());
            while !rest.is_empty() {
                let at = rest.find(is_space).filter(|_| parts.len() < most).unwrap_or(rest.len());
                parts.push(&rest[..at]);
                rest = rest[at..].trim_start_matches(is_space);
            }
            Ok(parts)
        }
    }
}

/// Lines as Python sees them, with their ends or without.
pub fn lines(text: &str, keep: bool) -> Vec<&str> {
    let is_end =
        |c: char| matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let (mut rest, mut lines) = (text, Vec::new());
    while let Some((at, end)) = rest.char_indices().find(|(_, c)| is_end(*c)) {
        let after = if rest[at..].starts_with("\r\n") { at + 2 } else { at + end.len_utf8() };
        lines.push(&rest[..if keep { after } else { at }]);
        rest = &rest[after..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}
