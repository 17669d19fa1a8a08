//! Conversations to token ids, through the checkpoint's own Jinja template, as `apply_chat_template` does it.
//!
//! **Who may write control tokens.** A template writes `<|im_start|>`, `<|im_end|>` and the like, and they must become
//! control tokens; a message that contains the same characters must not, or its author could end his turn and speak
//! as the assistant. Where no message contains such a text, the rendering is encoded as a whole, which is exactly what
//! Hugging Face does. Where one does, the control texts in the messages are broken by a character that occurs nowhere
//! else before the template sees them; what still matches in the rendering was written by the template. The broken
//! pieces are mended and encoded with control tokens switched off.

mod jinja;
mod rendering;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use self::rendering::{Rendering, Transcript};
use self::rendering::{Segment, next_control};
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, or what else the template knows.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A message of `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// A chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    jinja: jinja::Template,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// Compiles a Jinja template. `bos` and `eos` are the texts of those tokens
    /// ([`Tokenizer::bos_text`], [`Tokenizer::eos_text`]).
    ///
    /// # Errors
    /// [`Error::Template`] with the line.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self> {
        Ok(Self { jinja: jinja::Template::new(source)?, bos: bos.into(), eos: eos.into() })
    }

    /// The conversation as the model was trained to see it; with `add_generation_prompt` it ends where the
    /// assistant's answer begins.
    ///
    /// # Errors
    /// [`Error::Template`]: the template refused the messages, failed, or did not end.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        self.render_values(&json!(messages), &Value::Null, add_generation_prompt)
    }

    /// [`render`](Self::render) for messages with more fields (tool calls) and for `tools`, a list of JSON schemas or
    /// null.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn render_values(&self, messages: &Value, tools: &Value, add_generation_prompt: bool) -> Result<String> {
        self.jinja.render(&json!({
            "messages": messages,
            "tools": tools,
            "documents": null,
            "add_generation_prompt": add_generation_prompt,
            "bos_token": self.bos,
            "eos_token": self.eos,
        }))
    }

    /// The conversation with the generation prompt, ready to be tokenized: texts of control tokens in the messages stay text.
    ///
    /// # Errors
    /// [`Error::Template`].
    pub fn rendering(&self, tokenizer: &Tokenizer, messages: &[Message]) -> Result<Rendering> {
        self.rendering_of(tokenizer, messages, true)
    }

    /// The same without the generation prompt: what all conversations share that begin with these messages.
    ///
    /// # Errors
    /// [`Error::Template`].
    pub fn beginning(&self, tokenizer: &Tokenizer, messages: &[Message]) -> Result<Rendering> {
        self.rendering_of(tokenizer, messages, false)
    }

    fn rendering_of(&self, tokenizer: &Tokenizer, messages: &[Message], generation: bool) -> Result<Rendering> {
        let controls: Vec<&str> =
            tokenizer.special_tokens().map(|(_, text)| text).filter(|text| !text.is_empty()).collect();
        Ok(Rendering::new(self.segments(&controls, messages, generation)?, &controls))
    }

    /// The rendering cut where trust changes: mostly one segment.
    fn segments(&self, controls: &[&str], messages: &[Message], generation: bool) -> Result<Vec<Segment>> {
        let texts = || messages.iter().flat_map(|m| [m.role.as_str(), m.content.as_str()]);
        if !texts().any(|text| has_control(text, controls)) {
            return Ok(vec![Segment { text: self.render(messages, generation)?, trusted: true }]);
        }
        let mark = unused_char(texts().chain([self.jinja.source()]))?;
        let broken: Vec<Message> = messages
            .iter()
            .map(|m| Message::new(break_controls(&m.role, controls, mark), break_controls(&m.content, controls, mark)))
            .collect();
        let mut segments = Vec::new();
        let rendering = self.render(&broken, generation)?;
        let mut rest = rendering.as_str();
        while !rest.is_empty() {
            let (at, len) = next_control(rest, controls).unwrap_or((rest.len(), 0));
            let (before, from) = rest.split_at(at);
            let (control, after) = from.split_at(len);
            segments.push(Segment { text: before.replace(mark, ""), trusted: false });
            segments.push(Segment { text: control.into(), trusted: true });
            rest = after;
        }
        segments.retain(|s| !s.text.is_empty());
        Ok(segments)
    }
}

/// Whether a text contains a control token, or could complete one together with its neighbours in the rendering.
fn has_control(text: &str, controls: &[&str]) -> bool {
    controls.iter().any(|c| text.contains(c) || ends_with_begin_of(text, c) || begins_with_end_of(text, c))
}

/// The text ends with two or more characters with which the token begins.
fn ends_with_begin_of(text: &str, control: &str) -> bool {
    control.char_indices().skip(2).any(|(at, _)| text.ends_with(&control[..at]))
}

/// The text begins with two or more characters with which the token ends.
fn begins_with_end_of(text: &str, control: &str) -> bool {
    control.char_indices().rev().skip(1).any(|(at, _)| at > 0 && text.starts_with(&control[at..]))
}

/// Puts the mark behind the first character of every control token in the text, and at an end that could complete one.
fn break_controls(text: &str, controls: &[&str], mark: char) -> String {
    let mut marked = String::with_capacity(text.len());
    if controls.iter().any(|c| begins_with_end_of(text, c)) {
        marked.push(mark);
    }
    for (at, c) in text.char_indices() {
        marked.push(c);
        // A mark too many is harmless: marks are taken out again before encoding.
        if controls.iter().any(|control| text[at..].starts_with(control)) {
            marked.push(mark);
        }
    }
    if controls.iter().any(|c| ends_with_begin_of(text, c)) {
        marked.push(mark);
    }
    marked
}

/// A private-use character that occurs in none of the texts.
fn unused_char<'a>(texts: impl Iterator<Item = &'a str> + Clone) -> Result<char> {
    ('\u{F0000}'..='\u{FFFFD}')
        .find(|c| !texts.clone().any(|text| text.contains(*c)))
        .ok_or_else(|| Error::Template { detail: "the messages use every private-use character".into() })
}
