//! JSON as models write it, a character at a time: out comes JSON as it should be.
//!
//! Strings in single quotes, line ends inside of strings, `True`, `None`, and a comma after the
//! last item are mended.

/// What a character was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A part of the value.
    More,
    /// Its last one.
    Last,
    /// The first one behind it.
    Behind,
    /// Nothing that may come here.
    Wrong,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Value,
    /// Behind `[`, or a comma of a list.
    Item,
    /// Behind `{`, or a comma of an object.
    Key,
    Colon,
    /// Behind a value that is inside of another.
    After,
    Text {
        quote: char,
        is_key: bool,
        escape: Escape,
    },
    Word(String),
    Done,
}

#[derive(Clone, Debug, PartialEq)]
enum Escape {
    No,
    Begun,
    /// Hexadecimal digits.
    Code(String),
}

/// Letters of a number.
const LONGEST_WORD: usize = 400;

/// Reads one value.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    state: State,
    /// What ends what is open: `]` or `}`.
    open: Vec<char>,
    /// A comma and the space behind it, of which nobody knows yet whether something follows.
    comma: String,
    /// A string that is the value itself comes out as what it says.
    says: bool,
    /// The first half of a character of two escapes.
    high: Option<u32>,
    out: String,
}

impl Reader {
    /// `says`: a string comes out as what it says; strings inside of lists and objects stay JSON.
    pub fn new(says: bool) -> Self {
        Self { state: State::Value, open: Vec::new(), comma: String::new(), says, high: None, out: String::new() }
    }

    /// What has come out since this was asked last.
    pub fn take(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    /// What was held back, as it was written: after [`Step::Wrong`].
    pub fn held(&mut self) -> String {
        let mut held = std::mem::take(&mut self.comma);
        if let State::Word(word) = &mut self.state {
            held.push_str(&std::mem::take(word));
        }
        held
    }

    pub fn push(&mut self, c: char) -> Step {
        match &mut self.state {
            State::Text { .. } => self.text(c),
            State::Word(word) if c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_') => {
                word.push(c);
                if word.len() > LONGEST_WORD { Step::Wrong } else { Step::More }
            }
            State::Word(word) => {
                let Some(word) = spelled(word) else { return Step::Wrong };
                self.out.push_str(&word);
                match self.ended() {
                    Step::Last => Step::Behind,
                    _ => self.push(c),
                }
            }
            _ if c.is_whitespace() => {
                if self.comma.is_empty() {
                    self.out.push(c)
                } else {
                    self.comma.push(c)
                }
                Step::More
            }
            State::Done => Step::Behind,
            State::Colon if c == ':' => {
                self.out.push(c);
                self.state = State::Value;
                Step::More
            }
            State::After if c == ',' => {
                self.comma.push(c);
                self.state = if self.open.last() == Some(&'}') { State::Key } else { State::Item };
                Step::More
            }
            State::After | State::Key | State::Item if self.open.last() == Some(&c) => {
                // The comma before it was one too many.
                self.out.extend(self.comma.drain(..).skip(1));
                self.open.pop();
                self.out.push(c);
                self.ended()
            }
            State::Key if matches!(c, '"' | '\'') => self.begin_text(c, true),
            State::Value | State::Item => self.begin_value(c),
            _ => Step::Wrong,
        }
    }

    /// What is missing at the end, where that is clear: a string that is open could be anything.
    pub fn close(&mut self) -> Option<String> {
        let mut rest = match &self.state {
            State::Done | State::After => String::new(),
            State::Key | State::Item => String::new(),
            State::Word(word) => spelled(word)?,
            _ => return None,
        };
        rest.extend(self.open.drain(..).rev());
        self.comma.clear();
        self.state = State::Done;
        Some(rest)
    }

    fn begin_value(&mut self, c: char) -> Step {
        match c {
            '"' | '\'' => return self.begin_text(c, false),
            '{' | '[' => {
                self.flush();
                self.out.push(c);
                self.open.push(if c == '{' { '}' } else { ']' });
                self.state = if c == '{' { State::Key } else { State::Item };
            }
            _ if c.is_ascii_alphanumeric() || c == '-' => {
                self.flush();
                self.state = State::Word(c.into());
            }
            _ => return Step::Wrong,
        }
        Step::More
    }

    fn begin_text(&mut self, quote: char, is_key: bool) -> Step {
        self.flush();
        self.state = State::Text { quote, is_key, escape: Escape::No };
        if !self.is_said() {
            self.out.push('"');
        }
        Step::More
    }

    fn flush(&mut self) {
        self.out.push_str(&std::mem::take(&mut self.comma));
    }

    fn is_said(&self) -> bool {
        self.says && self.open.is_empty()
    }

    /// A value has ended.
    fn ended(&mut self) -> Step {
        self.state = if self.open.is_empty() { State::Done } else { State::After };
        if self.open.is_empty() { Step::Last } else { Step::More }
    }

    fn text(&mut self, c: char) -> Step {
        let said = self.is_said();
        let State::Text { quote, is_key, escape } = &mut self.state else { return Step::Wrong };
        match escape {
            Escape::No if c == *quote => {
                let is_key = *is_key;
                self.half();
                if !said {
                    self.out.push('"');
                }
                if is_key {
                    self.state = State::Colon;
                    return Step::More;
                }
                return self.ended();
            }
            Escape::No if c == '\\' => *escape = Escape::Begun,
            Escape::No => self.letter(c),
            Escape::Begun if c == 'u' => *escape = Escape::Code(String::new()),
            Escape::Begun => {
                *escape = Escape::No;
                let meant = match c {
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    '"' | '\'' | '\\' | '/' => c,
                    // No escape of JSON's: the backslash is one.
                    _ => {
                        self.letter('\\');
                        c
                    }
                };
                self.letter(meant);
            }
            Escape::Code(digits) => {
                if !c.is_ascii_hexdigit() {
                    return Step::Wrong;
                }
                digits.push(c);
                if digits.len() == 4 {
                    let code = u32::from_str_radix(digits, 16).unwrap_or_default();
                    *escape = Escape::No;
                    self.code(code);
                }
            }
        }
        Step::More
    }

    /// A UTF-16 unit.
    fn code(&mut self, code: u32) {
        match (self.high.take(), code) {
            (Some(high), 0xDC00..=0xDFFF) => {
                let both = 0x10000 + ((high - 0xD800) << 10) + (code - 0xDC00);
                self.letter(char::from_u32(both).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            (before, _) => {
                if before.is_some() {
                    self.put(char::REPLACEMENT_CHARACTER);
                }
                match code {
                    0xD800..=0xDBFF => self.high = Some(code),
                    _ => self.letter(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)),
                }
            }
        }
    }

    /// Half a character that stays one.
    fn half(&mut self) {
        if self.high.take().is_some() {
            self.put(char::REPLACEMENT_CHARACTER);
        }
    }

    fn letter(&mut self, c: char) {
        self.half();
        self.put(c);
    }

    fn put(&mut self, c: char) {
        match c {
            _ if self.is_said() => self.out.push(c),
            '"' => self.out.push_str("\\\""),
            '\\' => self.out.push_str("\\\\"),
            '\n' => self.out.push_str("\\n"),
            '\r' => self.out.push_str("\\r"),
            '\t' => self.out.push_str("\\t"),
            '\0'..='\u{1f}' => self.out.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => self.out.push(c),
        }
    }
}

/// A word as JSON spells it.
fn spelled(word: &str) -> Option<String> {
    match word {
        "true" | "True" => Some("true".into()),
        "false" | "False" => Some("false".into()),
        "null" | "None" => Some("null".into()),
        _ => is_number(word).then(|| word.into()),
    }
}

/// Of JSON, which has no largest one: what a double makes of it is the reader's.
fn is_number(word: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let word = word.strip_prefix('-').unwrap_or(word);
    let (mantissa, exponent) = word.split_once(['e', 'E']).unwrap_or((word, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    digits(whole) && (whole == "0" || !whole.starts_with('0')) && digits(fraction) && digits(exponent)
}

#[test]
fn numbers_are_those_of_json() {
    for word in ["0", "-0", "17", "-1.50", "1e5", "0.1E-7", "2.5E+2024", &"9".repeat(399)] {
        assert!(is_number(word), "{word}");
    }
    for word in ["", "-", "01", "1.", ".5", "1e", "1e+", "+1", "1.2.3", "0x1", "1e1e1", "--1", "NaN", "1_000"] {
        assert!(!is_number(word), "{word}");
    }
}
