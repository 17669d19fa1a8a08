//! The words of an expression, as Jinja's lexer cuts them.

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Name,
    Number,
    Text,
    Sign,
}

#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    pub kind: Kind,
    pub text: &'a str,
    /// Blanks before it, and it.
    pub spaced: &'a str,
}

/// The tokens to the closing mark, which inside brackets is none, and where the last of them ends.
pub fn tokens<'a>(text: &'a str, close: &str) -> Option<(Vec<Token<'a>>, usize)> {
    let mut tokens: Vec<Token<'a>> = Vec::new();
    let (mut at, mut depth) = (0usize, 0usize);
    loop {
        let from = at;
        at += text[at..].len() - text[at..].trim_start().len();
        let rest = &text[at..];
        let marked = rest.strip_prefix(['-', '+']).unwrap_or(rest);
        if depth == 0 && (rest.starts_with(close) || marked.starts_with(close)) {
            return Some((tokens, from));
        }
        let first = rest.chars().next()?;
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let (kind, length) = match first {
            '\'' | '"' => (Kind::Text, string_length(rest)?),
            c if c.is_ascii_digit() => {
                (Kind::Number, number_length(rest, tokens.last().is_some_and(|t| t.text == ".")))
            }
            c if word(c) => (Kind::Name, rest.find(|c| !word(c)).unwrap_or(rest.len())),
            _ => {
                let long = ["//", "**", "==", "!=", ">=", "<="].into_iter().any(|sign| rest.starts_with(sign));
                match first {
                    '(' | '[' | '{' => depth += 1,
                    ')' | ']' | '}' => depth = depth.checked_sub(1)?,
                    _ => {}
                }
                (Kind::Sign, if long { 2 } else { first.len_utf8() })
            }
        };
        tokens.push(Token { kind, text: &rest[..length], spaced: &text[from..at + length] });
        at += length;
    }
}

fn string_length(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let mut escaped = false;
    text.char_indices().skip(1).find_map(|(at, c)| {
        let end = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        end.then_some(at + 1)
    })
}

/// After a point, digits are an index.
fn number_length(text: &str, index: bool) -> usize {
    let bytes = text.as_bytes();
    let word = |at: usize| bytes.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut at = 0;
    let decimal = !matches!(bytes.get(1), Some(b'x' | b'X' | b'b' | b'B' | b'o' | b'O'));
    loop {
        let exponent =
            decimal && at > 0 && matches!(bytes[at - 1], b'e' | b'E') && matches!(bytes.get(at), Some(b'-' | b'+'));
        let point = decimal && !index && bytes.get(at) == Some(&b'.') && digit(at + 1);
        if !(word(at) || exponent && digit(at + 1) || point) {
            return at;
        }
        at += 1;
    }
}
