//! A template's text before minijinja reads it: what Jinja takes and minijinja does not is put into
//! words that it does.
//!
//! - Line ends of every kind are `\n`, also inside strings, as Jinja's lexer makes them.
//! - `{% generation %}`, which marks the assistant's part for training, is a scope without a name:
//!   `{% with %}`.
//! - `a % b` formats where `a` is a string, and `a ~ b` joins what Python's `str` makes of both:
//!   minijinja lets nobody redefine operators, so they become calls of filters. Only the operands'
//!   borders are looked for; whatever is not understood stays as it is, and is minijinja's to
//!   refuse.

use super::lexer::{Kind, Token, tokens};

/// Deeper brackets are left alone.
const DEPTH: u32 = 100;

/// The template in minijinja's words, with the same lines.
pub fn prepare(source: &str) -> String {
    rewrite(&source.replace("\r\n", "\n").replace('\r', "\n"))
}

fn rewrite(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.match_indices('{').find(|(at, _)| rest[at + 1..].starts_with(['{', '%', '#'])) {
        let (before, tag) = rest.split_at(at.0);
        out.push_str(before);
        let end = match &tag[..2] {
            "{#" => tag.find("#}").map(|end| end + 2),
            "{%" => raw(tag, &mut out).or_else(|| region(tag, &mut out)),
            _ => region(tag, &mut out),
        };
        if tag.starts_with("{#") {
            out.push_str(&tag[..end.unwrap_or(tag.len())]);
        }
        // Nothing of a tag without an end is understood.
        let Some(end) = end else {
            if !tag.starts_with("{#") {
                out.push_str(tag);
            }
            return out;
        };
        rest = &tag[end..];
    }
    out.push_str(rest);
    out
}

/// The length of a tag with nothing but `word` in it, and what is behind the word.
fn bare_tag<'a>(tag: &'a str, word: &str) -> Option<(usize, &'a str)> {
    let inner = tag.strip_prefix("{%")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner).trim_start();
    let after = inner.strip_prefix(word)?.trim_start();
    let close = ["%}", "-%}", "+%}"].into_iter().find(|close| after.starts_with(close))?;
    Some((tag.len() - after.len() + close.len(), close))
}

/// A raw block, which is text to its end; `None` if this is none.
fn raw(tag: &str, out: &mut String) -> Option<usize> {
    let (begin, close) = bare_tag(tag, "raw")?;
    // Jinja keeps the line end behind the opening tag.
    out.push_str(&tag[..begin - close.len()]);
    out.push_str(if close == "%}" { "+%}" } else { close });
    let mut ends = tag[begin..].match_indices("{%").map(|(at, _)| begin + at);
    let end = ends.find_map(|at| bare_tag(&tag[at..], "endraw").map(|(len, _)| at + len));
    let end = end.unwrap_or(tag.len());
    out.push_str(&tag[begin..end]);
    Some(end)
}

/// A tag with expressions: its length. `None` where it has no end.
fn region(tag: &str, out: &mut String) -> Option<usize> {
    let close = if tag.starts_with("{{") { "}}" } else { "%}" };
    let open = if tag[2..].starts_with(['-', '+']) { 3 } else { 2 };
    let (tokens, end) = tokens(&tag[open..], close)?;
    let inside = &tag[open..open + end];
    let closing = ["", "-", "+"]
        .into_iter()
        .find(|mark| tag[open + end..].trim_start().starts_with(&format!("{mark}{close}")))?;
    let blanks = tag[open + end..].len() - tag[open + end..].trim_start().len();
    let length = open + end + blanks + closing.len() + close.len();
    out.push_str(&tag[..open]);
    let statement = close == "%}";
    match tokens.as_slice() {
        [Token { text: "generation", .. }] if statement => out.push_str(" with"),
        [Token { text: "endgeneration", .. }] if statement => out.push_str(" endwith"),
        _ => {
            let mut rewriter = Rewriter { tokens: &tokens, at: 0, depth: DEPTH };
            let first = if statement { rewriter.next().map_or("", |token| token.spaced) } else { "" };
            match rewriter.sequence().filter(|_| rewriter.at == tokens.len()) {
                Some(rest) => {
                    out.push_str(first);
                    out.push_str(&rest);
                }
                None => out.push_str(inside),
            }
        }
    }
    out.push_str(&tag[open + end..length]);
    Some(length)
}

struct Rewriter<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    /// Levels of brackets that may still come.
    depth: u32,
}

impl<'a> Rewriter<'a> {
    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).copied()
    }

    fn next(&mut self) -> Option<Token<'a>> {
        let token = self.peek()?;
        self.at += 1;
        Some(token)
    }

    fn sign(&self, signs: &[&str]) -> bool {
        self.peek().is_some_and(|token| token.kind == Kind::Sign && signs.contains(&token.text))
    }

    fn word(&self, words: &[&str]) -> bool {
        self.peek().is_some_and(|token| token.kind == Kind::Name && words.contains(&token.text))
    }

    /// Operands and what is between them, to the end or the bracket that closes.
    fn sequence(&mut self) -> Option<String> {
        let mut out = String::new();
        let mut wants_operand = true;
        while self.peek().is_some() && !self.sign(&[")", "]", "}"]) {
            let operand = match self.peek()?.kind {
                Kind::Name => !self.word(&["and", "or", "not", "in", "is", "if", "else", "elif", "recursive"]),
                Kind::Number | Kind::Text => true,
                Kind::Sign => self.sign(&["(", "[", "{"]) || wants_operand && self.sign(&["-", "+"]),
            };
            if operand {
                out.push_str(&self.joined()?);
            } else {
                out.push_str(self.next()?.spaced);
            }
            wants_operand = !operand;
        }
        Some(out)
    }

    /// `a ~ b`, which binds tighter than a sum.
    fn joined(&mut self) -> Option<String> {
        let from = self.at;
        let mut parts = vec![(self.product()?, self.at - from)];
        while self.sign(&["~"]) {
            self.at += 1;
            let from = self.at;
            parts.push((self.product()?, self.at - from));
        }
        if parts.len() == 1 {
            return Some(parts.swap_remove(0).0);
        }
        let text = |(part, tokens): &(String, usize)| match part.trim_start().starts_with(['\'', '"']) && *tokens == 1 {
            true => part.clone(),
            false => format!("({part})|__text"),
        };
        Some(parts.iter().map(text).collect::<Vec<_>>().join(" ~ "))
    }

    fn product(&mut self) -> Option<String> {
        let mut left = self.power()?;
        while self.sign(&["*", "/", "//", "%"]) {
            let sign = self.next()?;
            let right = self.power()?;
            left = match sign.text {
                "%" => format!("(({left})|__percent({right}))"),
                _ => format!("{left}{}{right}", sign.spaced),
            };
        }
        Some(left)
    }

    fn power(&mut self) -> Option<String> {
        let mut out = self.unary()?;
        while self.sign(&["**"]) {
            out.push_str(self.next()?.spaced);
            out.push_str(&self.unary()?);
        }
        Some(out)
    }

    fn unary(&mut self) -> Option<String> {
        let mut out = String::new();
        while self.sign(&["-", "+"]) {
            let sign = self.next()?;
            // minijinja knows no plus before a value, which changes nothing.
            out.push_str(if sign.text == "-" { sign.spaced } else { " " });
        }
        out.push_str(&self.primary()?);
        loop {
            if self.sign(&["|"]) {
                out.push_str(self.next()?.spaced);
                out.push_str(&self.dotted()?);
                if self.sign(&["("]) {
                    out.push_str(&self.group()?);
                }
            } else if self.word(&["is"]) {
                out.push_str(self.next()?.spaced);
                if self.word(&["not"]) {
                    out.push_str(self.next()?.spaced);
                }
                out.push_str(&self.dotted()?);
                let value = match self.peek() {
                    Some(token) if token.kind == Kind::Name => {
                        !self.word(&["else", "or", "and", "is", "if", "in", "not"])
                    }
                    Some(token) if token.kind == Kind::Sign => self.sign(&["(", "[", "{"]),
                    token => token.is_some(),
                };
                if value {
                    out.push_str(&self.primary()?);
                }
            } else if self.sign(&["("]) {
                out.push_str(&self.group()?);
            } else {
                return Some(out);
            }
        }
    }

    /// `name.name`
    fn dotted(&mut self) -> Option<String> {
        let mut out = self.next().filter(|token| token.kind == Kind::Name)?.spaced.to_string();
        while self.sign(&["."]) {
            out.push_str(self.next()?.spaced);
            out.push_str(self.next()?.spaced);
        }
        Some(out)
    }

    /// A value with what is taken of it: attributes, items, calls.
    fn primary(&mut self) -> Option<String> {
        let mut out = match self.peek()?.kind {
            Kind::Sign => self.group()?,
            Kind::Text => {
                let mut texts = String::new();
                while self.peek().is_some_and(|token| token.kind == Kind::Text) {
                    texts.push_str(self.next()?.spaced);
                }
                texts
            }
            Kind::Name | Kind::Number => self.next()?.spaced.to_string(),
        };
        loop {
            if self.sign(&["."]) {
                out.push_str(self.next()?.spaced);
                out.push_str(self.next().filter(|token| matches!(token.kind, Kind::Name | Kind::Number))?.spaced);
            } else if self.sign(&["(", "["]) {
                out.push_str(&self.group()?);
            } else {
                return Some(out);
            }
        }
    }

    fn group(&mut self) -> Option<String> {
        let open = self.next()?;
        let close = match open.text {
            "(" => ")",
            "[" => "]",
            "{" => "}",
            _ => return None,
        };
        self.depth = self.depth.checked_sub(1)?;
        let inside = self.sequence()?;
        self.depth += 1;
        let closing = self.next().filter(|token| token.text == close)?;
        Some(format!("{}{inside}{}", open.spaced, closing.spaced))
    }
}
