//! Text from files, models and servers on its way to a terminal, where some characters are
//! commands: they can hide, forge and color what stands there, and write to the clipboard.
//! Everything goes through [`escaped`].

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{IsTerminal, Stdout, Write};

use serde_json::Value;

/// Whether a character does something to a terminal, or to the order of what is beside it, instead
/// of standing there.
fn acts(c: char) -> bool {
    // Controls of ASCII and of Latin-1; ends of lines and of paragraphs; embeddings, overrides and
    // isolates of directions.
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text with every such character spelled out, but for those in `keep`.
fn escaped<'a>(text: &'a str, keep: &[char]) -> Cow<'a, str> {
    let odd = |c: char| acts(c) && !keep.contains(&c);
    if !text.contains(odd) {
        return Cow::Borrowed(text);
    }
    let mut spelled = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        // Writing to a string cannot fail.
        let _ = match c {
            c if !odd(c) => spelled.write_char(c),
            '\n' => spelled.write_str("\\n"),
            '\r' => spelled.write_str("\\r"),
            '\t' => spelled.write_str("\\t"),
            c if u32::from(c) < 0x100 => write!(spelled, "\\x{:02x}", u32::from(c)),
            c => write!(spelled, "\\u{{{:x}}}", u32::from(c)),
        };
    }
    Cow::Owned(spelled)
}

/// A name or a value that stands in a line: in a table, in an error, beside a progress bar.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, &[])
}

/// Text of several lines.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, &['\n', '\t'])
}

/// JSON for people and programs: what programs read is the same.
pub fn json(value: &Value) -> String {
    let text = format!("{value:#}");
    if !text.contains(|c: char| acts(c) && c != '\n') {
        return text;
    }
    // Such characters stand only inside strings, where JSON has a spelling for them; none is
    // outside the basic plane.
    let spell = |c: char| match acts(c) && c != '\n' {
        true => format!("\\u{:04x}", u32::from(c)),
        false => c.to_string(),
    };
    text.chars().map(spell).collect()
}

/// For people, beside what is on standard output; on a terminal it is dim.
pub fn note(text: &str) {
    let mut err = std::io::stderr();
    let (on, off) = if err.is_terminal() { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
    // Without stderr there is nobody to tell.
    let _ = writeln!(err, "{on}{}{off}", lines(text));
}

/// Standard output. A program that reads it gets what was written, a terminal gets it escaped.
pub fn stdout() -> Output<Stdout> {
    let out = std::io::stdout();
    Output { terminal: out.is_terminal(), out }
}

/// See [`stdout`].
pub struct Output<W> {
    terminal: bool,
    out: W,
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if !self.terminal {
            return self.out.write(bytes);
        }
        // Every piece of text is written whole.
        self.out.write_all(lines(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A color, the clipboard, another line, a C1 command, a deletion and an override.
    const HOSTILE: &str = "a\x1b[31mb\x1b]52;c;eA==\x07\nc\u{9b}2J\rd\u{7f}\u{202e}e\tf";
    const SPELLED: &str = "a\\x1b[31mb\\x1b]52;c;eA==\\x07\\nc\\x9b2J\\rd\\x7f\\u{202e}e\\tf";

    #[test]
    fn commands_are_spelled_out() {
        assert_eq!(line(HOSTILE), SPELLED);
        assert_eq!(lines(HOSTILE), SPELLED.replace("\\n", "\n").replace("\\t", "\t"));
        // Letters of all kinds are left alone, and so are marks that Arabic and Persian need.
        let text = "für 日本語 🦅 \u{200f}مرحبا\u{200e} می\u{200c}خواهم";
        assert_eq!(line(text), text);
        assert!(!('\0'..=char::MAX).any(|c| c.is_control() && line(&c.to_string()).contains(c)));
    }

    #[test]
    fn programs_get_what_was_written() {
        let written = |terminal| {
            let mut out = Output { terminal, out: Vec::new() };
            write!(out, "{HOSTILE}").unwrap();
            String::from_utf8(out.out).unwrap()
        };
        assert_eq!(written(false), HOSTILE);
        assert_eq!(written(true), lines(HOSTILE));
    }

    #[test]
    fn json_is_the_same_to_programs() {
        let value = json!({"name": HOSTILE, "list": [1, "x"]});
        let text = json(&value);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        assert!(!text.contains(|c: char| acts(c) && c != '\n'), "{text}");
    }
}
