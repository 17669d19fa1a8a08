//! Tokens to text while they come, never breaking a character.

use crate::tokenizer::Tokenizer;

/// Turns a stream of token ids into pieces of text. A token of a byte-level vocabulary can end in the middle of a
/// character; those bytes wait for the next token. All pieces and [`finish`](Self::finish) together are exactly
/// [`Tokenizer::decode`] of all ids with special tokens skipped.
#[derive(Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    /// The bytes of a character that has begun: at most three.
    waiting: Vec<u8>,
}

impl<'a> TextStream<'a> {
    /// An empty stream.
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, waiting: Vec::new() }
    }

    /// The text that this token completes, often nothing. Control tokens and ids without a token have no text.
    pub fn push(&mut self, id: u32) -> String {
        if !self.tokenizer.is_special(id) {
            self.waiting.extend_from_slice(self.tokenizer.bytes_of(id).unwrap_or_default());
        }
        let mut text = String::new();
        let mut rest = self.waiting.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(e) => {
                    let (valid, after) = rest.split_at(e.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    rest = after;
                    // Without a length the character only lacks bytes that may still come.
                    let Some(bad) = e.error_len() else { break };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &rest[bad..];
                }
            }
        }
        self.waiting = rest.to_vec();
        text
    }

    /// Ends the stream: an unfinished character becomes U+FFFD.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.waiting).into_owned()
    }
}
