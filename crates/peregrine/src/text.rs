//! Tokens to text while they come, never breaking a character, and ending where a stop text begins.

use crate::tokenizer::Tokenizer;

/// Turns a stream of token ids into pieces of text. A token of a byte-level vocabulary can end in
/// the middle of a character; those bytes wait for the next token. All pieces and
/// [`finish`](Self::finish) together are exactly [`Tokenizer::decode`] of all ids with special
/// tokens skipped.
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

    /// The text that this token completes, often nothing. Control tokens and ids without a token
    /// have no text.
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

/// Ends a text before the stop text that is complete first, wherever the borders of its pieces are.
/// What may be the beginning of a stop text is held back until it is known. Control tokens have no
/// place in the text, but a stop text may be or contain one.
#[derive(Debug)]
pub struct StopScan<'a> {
    stops: &'a [String],
    held: String,
    /// First byte and end of each control token in `held`.
    hidden: Vec<(usize, usize)>,
    stopped: bool,
}

impl<'a> StopScan<'a> {
    /// A scan for `stops`; empty ones never match.
    pub fn new(stops: &'a [String]) -> Self {
        Self { stops, held: String::new(), hidden: Vec::new(), stopped: false }
    }

    /// What of the text so far is certainly before a stop text, and has not been given out.
    pub fn push(&mut self, text: &str) -> String {
        self.scan(text, false)
    }

    /// The same for the text of a control token, of which nothing is given out.
    pub fn push_control(&mut self, text: &str) -> String {
        self.scan(text, true)
    }

    fn scan(&mut self, text: &str, control: bool) -> String {
        if self.stopped {
            return String::new();
        }
        if control {
            self.hidden.push((self.held.len(), self.held.len() + text.len()));
        }
        self.held.push_str(text);
        // A stop text holds a control token as a whole or not at all.
        let cuts = |at: usize| self.hidden.iter().any(|(first, end)| *first < at && at < *end);
        let begins = || self.held.char_indices().filter(|(at, _)| !cuts(*at));
        let stops = || self.stops.iter().filter(|stop| !stop.is_empty());
        // The one that was complete first.
        let found = stops().filter_map(|stop| {
            let here = |(at, _): &(usize, char)| self.held[*at..].starts_with(stop.as_str()) && !cuts(at + stop.len());
            begins().find(here).map(|(at, _)| (at + stop.len(), at))
        });
        if let Some((_, at)) = found.min() {
            self.stopped = true;
            return self.take(at);
        }
        // From the first place on where a stop text may have begun.
        let may_begin = |(at, _): &(usize, char)| stops().any(|stop| stop.starts_with(&self.held[*at..]));
        let at = begins().find(may_begin).map_or(self.held.len(), |(at, _)| at);
        self.take(at)
    }

    /// Takes the first bytes out, without control tokens.
    fn take(&mut self, end: usize) -> String {
        let rest = self.held.split_off(end);
        let taken = std::mem::replace(&mut self.held, rest);
        let mut shown = String::with_capacity(taken.len());
        let mut from = 0;
        for (first, last) in self.hidden.iter().take_while(|(_, last)| *last <= end) {
            shown.push_str(&taken[from..*first]);
            from = *last;
        }
        shown.push_str(&taken[from..]);
        self.hidden.retain(|(_, last)| *last > end);
        for (first, last) in &mut self.hidden {
            (*first, *last) = (first.saturating_sub(end), *last - end);
        }
        if self.stopped {
            self.held.clear();
        }
        shown
    }

    /// Whether a stop text was found.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// The text has ended: what was held back.
    pub fn finish(&mut self) -> String {
        self.take(self.held.len())
    }
}
