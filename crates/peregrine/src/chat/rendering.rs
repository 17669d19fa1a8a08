//! A conversation as text, with the places where that text is control tokens.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::tokenizer::Tokenizer;

/// What a model has read and written of a conversation: its text, and which of its characters are
/// control tokens.
///
/// The text alone would not do: a message may spell out what looks like the end of its turn and the
/// beginning of another, and must never be taken for the turns that it imitates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transcript {
    text: String,
    /// First byte and end of each control token in `text`, in order.
    controls: Vec<(usize, usize)>,
}

impl Transcript {
    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Appends what the model has written: text, whatever it spells.
    pub fn push(&mut self, answer: &str) {
        self.text.push_str(answer);
    }

    /// Whether this one begins with all of `earlier`, the same characters being control tokens in
    /// both.
    pub fn continues(&self, earlier: &Self) -> bool {
        let before = self.controls.partition_point(|(first, _)| *first < earlier.text.len());
        self.text.starts_with(&earlier.text) && self.controls[..before] == earlier.controls
    }
}

/// A piece of a rendering. Pieces that touch are one text to BPE only inside a segment; segments
/// meet at control tokens, which BPE never crosses.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub text: String,
    /// Texts of control tokens in it are control tokens.
    pub trusted: bool,
}

/// A conversation that a template has written out.
#[derive(Debug, Clone)]
pub struct Rendering {
    segments: Vec<Segment>,
    transcript: Transcript,
}

impl Rendering {
    pub(super) fn new(segments: Vec<Segment>, controls: &[&str]) -> Self {
        let mut transcript = Transcript::default();
        for Segment { text, trusted } in &segments {
            let mut from = 0;
            while let Some((at, len)) = next_control(&text[from..], controls).filter(|_| *trusted) {
                let first = transcript.text.len() + from + at;
                transcript.controls.push((first, first + len));
                from += at + len;
            }
            transcript.text.push_str(text);
        }
        Self { segments, transcript }
    }

    /// All of it; with the answer appended ([`Transcript::push`]) it is what the next turn
    /// continues.
    pub fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    /// Its token ids. The beginning-of-text token comes from the template; if it writes none and
    /// the tokenizer wants one, it is added. It is never doubled.
    ///
    /// # Errors
    /// [`Error::Tokenizer`](crate::Error::Tokenizer).
    pub fn ids(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        encode(tokenizer, &self.segments, tokenizer.add_bos())
    }

    /// Token ids of what comes after `consumed`, where it continues that. The rest usually begins
    /// with a control token, where the cut changes nothing; elsewhere the ids may differ from those
    /// of the whole rendering, as the ids that a model writes itself do.
    ///
    /// # Errors
    /// [`Error::Tokenizer`](crate::Error::Tokenizer).
    pub fn ids_after(&self, tokenizer: &Tokenizer, consumed: &Transcript) -> Result<Option<Vec<u32>>> {
        if !self.transcript.continues(consumed) {
            return Ok(None);
        }
        after(&self.segments, consumed.text.len()).map(|rest| encode(tokenizer, &rest, false)).transpose()
    }
}

/// The characters with which control tokens begin.
pub(super) fn firsts(controls: &[&str]) -> Vec<char> {
    let mut firsts: Vec<char> = controls.iter().filter_map(|control| control.chars().next()).collect();
    firsts.sort_unstable();
    firsts.dedup();
    firsts
}

/// The leftmost control token, the longest of those that begin there: where, and its length. None
/// of `controls` is empty.
pub(super) fn next_control(text: &str, controls: &[&str]) -> Option<(usize, usize)> {
    text.match_indices(&firsts(controls)[..]).find_map(|(at, _)| {
        let here = controls.iter().filter(|control| text[at..].starts_with(**control));
        here.map(|control| control.len()).max().map(|len| (at, len))
    })
}

/// What comes after the first `offset` bytes; `None` if a character or a control token would be cut
/// in two.
fn after(segments: &[Segment], mut offset: usize) -> Option<Vec<Segment>> {
    let mut rest = Vec::new();
    for segment in segments {
        let skipped = offset.min(segment.text.len());
        offset -= skipped;
        let text = segment.text.get(skipped..)?;
        if !text.is_empty() {
            rest.push(Segment { text: text.into(), trusted: segment.trusted });
        }
    }
    Some(rest)
}

fn encode(tokenizer: &Tokenizer, segments: &[Segment], add_bos: bool) -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    for segment in segments {
        ids.extend(match segment.trusted {
            true => tokenizer.encode(&segment.text, false)?,
            false => tokenizer.encode_plain(&segment.text)?,
        });
    }
    if let (true, Some(bos)) = (add_bos, tokenizer.bos())
        && ids.first() != Some(&bos)
    {
        ids.insert(0, bos);
    }
    Ok(ids)
}
