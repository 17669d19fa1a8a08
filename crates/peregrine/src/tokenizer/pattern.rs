//! Regular expressions of `tokenizer.json`. They are written for Oniguruma (with Ruby's syntax), as
//! the `tokenizers` library is built elsewhere; here another engine reads them. What means the same
//! to both is let through, the rest is refused by its own text.

use serde_json::Value;

use super::parts::unsupported;
use crate::Result;

/// Checks every pattern of both.
pub(super) fn check_all(pre_tokenizer: &Value, normalizer: &Value) -> Result<()> {
    for (field, value) in [("pre_tokenizer", pre_tokenizer), ("normalizer", normalizer)] {
        let mut waiting = vec![value];
        while let Some(value) = waiting.pop() {
            match value {
                Value::Array(items) => waiting.extend(items),
                Value::Object(fields) => {
                    if let Some(Value::String(pattern)) = fields.get("Regex")
                        && let Err(what) = check(pattern)
                    {
                        let expected = "what Oniguruma and this runtime read alike";
                        let found = Value::String(format!("{what} in {pattern}"));
                        return Err(unsupported(&format!("{field}: the regular expression"), expected, &found));
                    }
                    waiting.extend(fields.values());
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// `Err` with the construct that the engines may read differently.
fn check(pattern: &str) -> Result<(), String> {
    let mut rest = pattern;
    let mut ignore_case = vec![false];
    let mut letters = String::new();
    while let Some(c) = rest.chars().next() {
        let (mut length, mut letter) = (c.len_utf8(), None);
        match c {
            '\\' => length = escape(rest)?,
            '[' => length = class(rest)?,
            '(' => {
                let kind = ["(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?-i:"]
                    .into_iter()
                    .find(|k| rest.starts_with(k));
                // A number as a name is fine in both, other groups have options that differ.
                let kind = kind.or((!rest.starts_with("(?")).then_some("("));
                let kind = kind.ok_or_else(|| rest.chars().take(4).collect::<String>())?;
                let outer = *ignore_case.last().unwrap_or(&false);
                ignore_case.push(kind == "(?i:" || outer && kind != "(?-i:");
                length = kind.len();
            }
            ')' => {
                ignore_case.pop();
            }
            // Ruby's are those of lines.
            '^' | '$' => return Err(c.to_string()),
            '*' | '+' | '?' => {
                let more = &rest[1..];
                // Lazy or possessive; a third sign means other things.
                length += usize::from(more.starts_with(['?', '+']));
                if rest[length..].starts_with(['*', '+', '?', '{']) {
                    return Err(rest.chars().take(length + 1).collect());
                }
            }
            '{' => {
                let end = rest.find('}').ok_or("{")? + 1;
                let inside = &rest[1..end - 1];
                let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                let (plain, lazy) = match inside.split_once(',') {
                    Some((low, high)) => (number(low) && (high.is_empty() || number(high)), true),
                    None => (number(inside), false),
                };
                let after = &rest[end..];
                // `{n}?` and `{n,m}+` are other things in Ruby.
                let lazy = usize::from(lazy && after.starts_with('?'));
                if !plain || after[lazy..].starts_with(['*', '+', '?', '{']) {
                    return Err(rest.chars().take(end + 1).collect());
                }
                length = end + lazy;
            }
            c if c.is_alphabetic() && ignore_case.last() == Some(&true) => letter = Some(c.to_ascii_lowercase()),
            _ => {}
        }
        match letter {
            Some(letter) => letters.push(letter),
            None => letters.clear(),
        }
        // One character may stand for two of these when case does not matter: Oniguruma knows,
        // others do not.
        if let Some(pair) = ["ss", "ff", "fi", "fl", "st"].into_iter().find(|pair| letters.ends_with(pair)) {
            return Err(format!("(?i:{pair})"));
        }
        rest = &rest[length..];
    }
    Ok(())
}

/// An escape: its length.
fn escape(text: &str) -> Result<usize, String> {
    let c = text[1..].chars().next().ok_or("\\")?;
    match c {
        'p' | 'P' => {
            let end = text
                .find('}')
                .filter(|_| text[2..].starts_with('{'))
                .ok_or_else(|| text.chars().take(3).collect::<String>())?;
            let name = &text[3..end];
            // POSIX's names mean other sets in Unicode, `^` negates only there.
            let posix = [
                "alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper",
                "xdigit", "word", "ascii", "any", "assigned",
            ];
            let plain = name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
            match plain && !posix.contains(&name.to_ascii_lowercase().as_str()) {
                true => Ok(end + 1),
                false => Err(text[..=end].into()),
            }
        }
        'r' | 'n' | 't' | 'f' | 's' | 'S' | 'd' | 'D' | 'w' | 'W' => Ok(2),
        c if c.is_ascii_punctuation() || c == ' ' => Ok(2),
        c => Err(format!("\\{c}")),
    }
}

/// A set of characters in brackets: its length.
fn class(text: &str) -> Result<usize, String> {
    let mut at = 1 + usize::from(text[1..].starts_with('^'));
    let first = at;
    loop {
        let rest = &text[at..];
        match rest.chars().next().ok_or("[")? {
            ']' if at > first => return Ok(at + 1),
            ']' | '[' => return Err(rest.chars().take(2).collect()),
            '&' if rest.starts_with("&&") => return Err("&&".into()),
            '-' if rest.starts_with("--") => return Err("--".into()),
            '~' if rest.starts_with("~~") => return Err("~~".into()),
            '\\' => at += escape(rest)?,
            c => at += c.len_utf8(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn what_both_engines_read_alike() {
        for pattern in [
            super::super::words::LLAMA3,
            // Qwen 2's, GPT-4's, that of GPT-4o in parts, DeepSeek's.
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"[!-/:-~]+|[一-龥぀-ゟ゠-ヿ]+|\p{Han}+|[\r\n]",
        ] {
            assert_eq!(check(pattern), Ok(()), "{pattern}");
        }
    }

    #[test]
    fn what_they_may_not() {
        for (pattern, what) in [
            ("^a", "^"),
            ("a$", "$"),
            (r"\h+", r"\h"),
            (r"\Aa", r"\A"),
            (r"a\b", r"\b"),
            (r"\p{^L}", r"\p{^L}"),
            (r"\p{Punct}", r"\p{Punct}"),
            (r"\pL", r"\pL"),
            ("[[:alpha:]]", "[:"),
            ("[a&&b]", "&&"),
            ("(?m:a.)", "(?m:"),
            ("(?x: a)", "(?x:"),
            ("(?<name>a)", "(?<n"),
            ("a{2}?", "{2}?"),
            ("a{1,2}+", "{1,2}+"),
            ("a{,2}", "{,2}"),
            ("a+*", "+*"),
            ("(?i:'ss)", "(?i:ss)"),
        ] {
            assert!(check(pattern).is_err_and(|found| found.starts_with(what)), "{pattern}: {:?}", check(pattern));
        }
    }
}
