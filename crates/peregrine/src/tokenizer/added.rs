//! Tokens that are found in the text before it is cut into words.

use std::collections::HashSet;

use daachorse::{DoubleArrayAhoCorasick, DoubleArrayAhoCorasickBuilder, MatchKind};
use tokenizers::AddedToken;

use super::broken;
use crate::Result;

/// Finds the leftmost token, and of those the longest, as the `tokenizers` crate does.
pub(super) struct Added {
    /// The tokens that are taken from the text as it is, and after them those that would be taken
    /// from normalized text.
    passes: Vec<DoubleArrayAhoCorasick<u32>>,
}

impl Added {
    /// Whether a token is just its text: with no spaces around it, and not only as a whole word.
    pub fn is_plain(token: &AddedToken) -> bool {
        !(token.lstrip || token.rstrip || token.single_word)
    }

    /// Of tokens that are plain.
    pub fn new<'a>(tokens: impl Iterator<Item = &'a (u32, AddedToken)> + Clone) -> Result<Self> {
        let mut passes = Vec::new();
        for normalized in [false, true] {
            let of_pass = tokens.clone().filter(|(_, token)| token.normalized == normalized);
            // A file may list one twice.
            let mut seen = HashSet::new();
            let texts = of_pass.map(|(id, token)| (token.content.as_str(), *id));
            let pairs: Vec<_> = texts.filter(|(text, _)| !text.is_empty() && seen.insert(*text)).collect();
            if !pairs.is_empty() {
                let builder = DoubleArrayAhoCorasickBuilder::new().match_kind(MatchKind::LeftmostLongest);
                let made = builder.build_with_values(pairs);
                passes.push(made.map_err(|error| broken(format!("added tokens: {error}")))?);
            }
        }
        Ok(Self { passes })
    }

    /// Hears the tokens in `text`, and what is between them.
    pub fn each<'a>(&self, text: &'a str, hear: &mut dyn FnMut(Piece<'a>)) {
        find(&self.passes, text, hear);
    }
}

/// A part of a text.
pub(super) enum Piece<'a> {
    Token(u32),
    Text(&'a str),
}

fn find<'a>(passes: &[DoubleArrayAhoCorasick<u32>], text: &'a str, hear: &mut dyn FnMut(Piece<'a>)) {
    let Some((pass, later)) = passes.split_first() else {
        return hear(Piece::Text(text));
    };
    let mut from = 0;
    for found in pass.leftmost_find_iter(text) {
        find(later, &text[from..found.start()], hear);
        hear(Piece::Token(found.value()));
        from = found.end();
    }
    find(later, &text[from..], hear);
}
