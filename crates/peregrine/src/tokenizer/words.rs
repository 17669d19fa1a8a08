//! How text is cut into words before BPE, for the three ways that models of this family use. By
//! hand, since an engine for regular expressions with Unicode's tables is a fifth of what a browser
//! downloads; the tests hold it against that engine.

use serde_json::Value;

use super::letters::{is_letter, is_number};

/// Llama 3's pattern.
pub(super) const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How text is cut into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Words {
    /// By [`LLAMA3`].
    Llama3,
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    Gpt2,
    /// First each number alone, as the standard library has them, then what is between them as
    /// [`Words::Gpt2`].
    DigitsThenGpt2,
}

impl Words {
    /// The `pre_tokenizer` of a `tokenizer.json`, where it is one of these.
    pub fn described(json: &Value) -> Option<Self> {
        let bytes = |step: &Value, pattern: bool| {
            let has_pattern = step["use_regex"].as_bool().unwrap_or(true);
            step["type"] == "ByteLevel" && step["add_prefix_space"] == false && has_pattern == pattern
        };
        let steps = match &json["pretokenizers"] {
            Value::Array(steps) if json["type"] == "Sequence" => steps.as_slice(),
            _ => std::slice::from_ref(json),
        };
        match steps {
            [last] if bytes(last, true) => Some(Self::Gpt2),
            [digits, last] if bytes(last, true) => {
                let each = digits["type"] == "Digits" && digits["individual_digits"] == true;
                each.then_some(Self::DigitsThenGpt2)
            }
            [split, last] if bytes(last, false) => {
                let isolated = split["behavior"] == "Isolated" && split["invert"] == false;
                let same = split["type"] == "Split" && split["pattern"]["Regex"] == LLAMA3;
                (same && isolated).then_some(Self::Llama3)
            }
            _ => None,
        }
    }

    /// Hears every word of `text`, in order. Together they are the text.
    pub fn each<'a>(self, text: &'a str, hear: &mut dyn FnMut(&'a str)) {
        match self {
            Self::Llama3 => cut(text, llama3, hear),
            Self::Gpt2 => cut(text, gpt2, hear),
            Self::DigitsThenGpt2 => {
                let part = |text: &str| match text.chars().next() {
                    Some(digit) if digit.is_numeric() => digit.len_utf8(),
                    _ => run(text, |c| !c.is_numeric()),
                };
                cut(text, part, &mut |part| cut(part, gpt2, hear));
            }
        }
    }
}

/// Cuts `text` where `length` says that its first piece ends.
fn cut<'a>(mut text: &'a str, length: impl Fn(&str) -> usize, hear: &mut dyn FnMut(&'a str)) {
    while !text.is_empty() {
        let (piece, rest) = text.split_at(length(text));
        hear(piece);
        text = rest;
    }
}

/// The length of the longest beginning of such characters.
fn run(text: &str, is: impl Fn(char) -> bool) -> usize {
    text.find(|c| !is(c)).unwrap_or(text.len())
}

/// Neither space nor letter nor number.
fn is_sign(c: char) -> bool {
    !(c.is_whitespace() || is_letter(c) || is_number(c))
}

fn is_newline(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

/// The length of the first word of a text that is not empty.
fn llama3(text: &str) -> usize {
    // U+017F, a long s, is an s where case does not matter.
    if let Some(length) = contraction(text, |c| if c == 'ſ' { 's' } else { c.to_ascii_lowercase() }) {
        return length;
    }
    let first = text.chars().next().unwrap_or_default();
    let (size, letters) = (first.len_utf8(), run(text, is_letter));
    if letters > 0 {
        return letters;
    }
    if is_number(first) {
        return text.chars().take(3).take_while(|c| is_number(*c)).map(char::len_utf8).sum();
    }
    let letters = run(&text[size..], is_letter);
    if letters > 0 && !is_newline(first) {
        return size + letters;
    }
    let start = usize::from(first == ' ');
    let signs = run(&text[start..], is_sign);
    if signs > 0 {
        return start + signs + run(&text[start + signs..], is_newline);
    }
    let spaces = run(text, char::is_whitespace);
    text[..spaces].rfind(is_newline).map_or_else(|| all_but_the_last(text, spaces), |last| last + 1)
}

/// The same.
fn gpt2(text: &str) -> usize {
    if let Some(length) = contraction(text, |c| c) {
        return length;
    }
    let start = usize::from(text.starts_with(' '));
    let of = |is: fn(char) -> bool| Some(run(&text[start..], is)).filter(|length| *length > 0);
    match of(is_letter).or_else(|| of(is_number)).or_else(|| of(is_sign)) {
        Some(length) => start + length,
        None => all_but_the_last(text, run(text, char::is_whitespace)),
    }
}

/// `\s+(?!\S)|\s+`: the last space belongs to the word after it, if there is one.
fn all_but_the_last(text: &str, spaces: usize) -> usize {
    let last = text[..spaces].chars().next_back().map_or(0, char::len_utf8);
    if spaces == text.len() || spaces == last { spaces } else { spaces - last }
}

/// The length of `'s` and its like.
fn contraction(text: &str, fold: impl Fn(char) -> char) -> Option<usize> {
    let after = text.strip_prefix('\'')?;
    ["s", "t", "re", "ve", "m", "ll", "d"].into_iter().find_map(|end| {
        let mut chars = after.chars();
        let same = end.chars().all(|letter| chars.next().is_some_and(|c| fold(c) == letter));
        same.then(|| text.len() - chars.as_str().len())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use tokenizers::pre_tokenizers::byte_level::ByteLevel;
    use tokenizers::pre_tokenizers::digits::Digits;
    use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, SplitDelimiterBehavior};

    use super::{LLAMA3, Words};

    /// What the `tokenizers` crate makes of a text, in the text's own words.
    fn theirs(words: Words, text: &str) -> Vec<String> {
        static SPLIT: LazyLock<Split> = LazyLock::new(|| {
            let pattern = SplitPattern::Regex(LLAMA3.into());
            Split::new(pattern, SplitDelimiterBehavior::Isolated, false).unwrap()
        });
        let mut pieces = PreTokenizedString::from(text);
        let gpt2 = ByteLevel::new(false, true, true);
        match words {
            Words::Llama3 => SPLIT.pre_tokenize(&mut pieces).unwrap(),
            Words::Gpt2 => gpt2.pre_tokenize(&mut pieces).unwrap(),
            Words::DigitsThenGpt2 => {
                Digits::new(true).pre_tokenize(&mut pieces).unwrap();
                gpt2.pre_tokenize(&mut pieces).unwrap();
            }
        }
        let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits.into_iter().map(|(_, (start, end), _)| text[start..end].into()).collect()
    }

    fn compare(text: &str) {
        for words in [Words::Llama3, Words::Gpt2, Words::DigitsThenGpt2] {
            let mut ours = Vec::new();
            words.each(text, &mut |word| ours.push(word.to_string()));
            assert_eq!(ours, theirs(words, text), "{words:?} of {text:?}");
        }
    }

    #[test]
    fn words_are_those_of_the_regular_expressions() {
        let signs = [
            "'",
            "s",
            "S",
            "ſ",
            "t",
            "re",
            "rE",
            "ve",
            "m",
            "ll",
            "Ll",
            "d",
            " ",
            "  ",
            "\t",
            "\n",
            "\r",
            "\r\n",
            "\u{a0}",
            "\u{85}",
            "\u{2028}",
            "\u{3000}",
            "\u{feff}",
            "\u{200b}",
            "1",
            "23",
            "٣",
            "½",
            "Ⅷ",
            "a",
            "é",
            "e\u{301}",
            "ß",
            "中",
            "ー",
            "한",
            "ꙮ",
            "नि",
            "\u{0345}",
            "ͅ",
            "ʰ",
            "ª",
            "Ⓐ",
            ".",
            "!?",
            "_",
            "-",
            "🦅",
            "👩‍👩‍👧",
            "€",
            "\0",
            "word",
        ];
        // The same numbers every time.
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as usize % below
        };
        compare("");
        for _ in 0..20_000 {
            let length = 1 + next(12);
            compare(&(0..length).map(|_| signs[next(signs.len())]).collect::<String>());
        }
    }

    #[test]
    fn every_character_is_what_unicode_says() {
        let all: Vec<char> = ('\0'..=char::MAX).collect();
        for some in all.chunks(4096) {
            // Each after a letter, so that letters run on, and before a sign.
            compare(&some.iter().flat_map(|c| ['a', *c, '.']).collect::<String>());
        }
    }
}
