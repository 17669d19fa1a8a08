//! Conversations to token ids, through the checkpoint's own Jinja template, as
//! `apply_chat_template` does it.
//!
//! **Who may write control tokens.** A template writes `<|im_start|>`, `<|im_end|>` and the like,
//! and they must become control tokens; a message that contains the same characters must not, or
//! its author could end his turn and speak as the assistant. Where no message contains such a text,
//! the rendering is encoded as a whole, which is exactly what Hugging Face does. Where one does,
//! the control texts in the messages are broken by a character that occurs nowhere else before the
//! template sees them; what still matches in the rendering was written by the template. The broken
//! pieces are mended and encoded with control tokens switched off.

mod calls;
mod habits;
mod jinja;
mod message;
mod rendering;

use std::sync::OnceLock;

use serde_json::{Value, json};

pub use self::calls::{CALL_TAGS, CallFormat};
use self::habits::Habits;
pub use self::message::Message;
pub use self::rendering::{Rendering, Transcript};
use self::rendering::{Segment, firsts, next_control};
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

/// A chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    jinja: jinja::Template,
    /// Texts of the special tokens by their names in a template.
    named: Vec<(String, String)>,
    /// What the file has, before it is prepared.
    source: String,
    /// What it does without tools and with them, as soon as that is asked.
    habits: [OnceLock<Habits>; 2],
}

impl ChatTemplate {
    /// Compiles a Jinja template. `bos` and `eos` are the texts of those tokens
    /// ([`Tokenizer::bos_text`], [`Tokenizer::eos_text`]).
    ///
    /// # Errors
    /// [`Error::Template`] with the line.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self> {
        let named = [("bos_token", bos), ("eos_token", eos)].into_iter().filter(|(_, text)| !text.is_empty());
        let named = named.map(|(name, text)| (name.into(), text.into())).collect();
        Ok(Self { jinja: jinja::Template::new(source)?, named, source: source.into(), habits: Default::default() })
    }

    /// With all special tokens that have a name
    /// ([`Checkpoint::named_tokens`](crate::checkpoint::Checkpoint::named_tokens)), which a
    /// template may use too.
    #[must_use]
    pub fn with_tokens(mut self, tokens: &[(String, String)]) -> Self {
        for (name, text) in tokens {
            if !self.named.iter().any(|(known, _)| known == name) {
                self.named.push((name.clone(), text.clone()));
            }
        }
        self
    }

    /// The Jinja source, as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The conversation as the model was trained to see it; with `add_generation_prompt` it ends
    /// where the assistant's answer begins.
    ///
    /// # Errors
    /// [`Error::Template`]: the template refused the messages, failed, or did not end.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        self.render_values(&json!(messages), &Value::Null, add_generation_prompt)
    }

    /// [`render`](Self::render) for messages with more fields (tool calls) and for `tools`, a list
    /// of JSON schemas or null. As in transformers, a field that is null is not there, and
    /// reasoning goes by all of its names.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn render_values(&self, messages: &Value, tools: &Value, add_generation_prompt: bool) -> Result<String> {
        let mut context = serde_json::Map::new();
        context.extend(self.named.iter().map(|(name, text)| (name.clone(), json!(text))));
        context.insert("messages".into(), normalized(messages));
        context.insert("tools".into(), tools.clone());
        context.insert("documents".into(), Value::Null);
        context.insert("add_generation_prompt".into(), json!(add_generation_prompt));
        self.render_context(&Value::Object(context))
    }

    /// The template as a program, over variables of any name. Conversations go through
    /// [`render_values`](Self::render_values).
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn render_context(&self, context: &Value) -> Result<String> {
        self.jinja.render(context)
    }

    /// How the model writes calls of tools, as its template tells it.
    pub fn call_format(&self) -> CallFormat {
        self.habits(true).format()
    }

    /// Whether an answer begins inside of a thought, which the generation prompt has opened.
    pub fn opens_thought(&self) -> bool {
        let prompt = self.render(&[Message::new("user", "x")], true).unwrap_or_default();
        prompt.trim_end().ends_with("<think>")
    }

    fn habits(&self, tools: bool) -> &Habits {
        self.habits[usize::from(tools)].get_or_init(|| Habits::of(self, tools))
    }

    /// As [`render`](Self::render), but nothing is lost that the template would lose: see
    /// docs/tools.md.
    fn write(&self, messages: &[Message], generation: bool) -> Result<String> {
        let has_more = |message: &Message| !message.fields.is_empty() || message.role == "tool";
        let later = messages.iter().skip(1).any(|message| message.role == "system");
        if !later && !messages.iter().any(has_more) {
            return self.render(messages, generation);
        }
        let tools: Vec<Value> = messages.iter().filter_map(Message::declared).flatten().cloned().collect();
        let turns: Vec<Message> = messages.iter().filter(|message| message.declared().is_none()).cloned().collect();
        let format = messages.iter().find_map(Message::call_format);
        let (turns, tools) = self.habits(!tools.is_empty()).mend(self, &turns, &tools, format)?;
        self.render_values(&json!(turns), &tools, generation)
    }

    /// The conversation with the generation prompt, ready to be tokenized: texts of control tokens
    /// in the messages stay text.
    ///
    /// # Errors
    /// [`Error::Template`].
    pub fn rendering(&self, tokenizer: &Tokenizer, messages: &[Message]) -> Result<Rendering> {
        self.rendering_of(tokenizer, messages, true)
    }

    /// The same without the generation prompt: what all conversations share that begin with these
    /// messages.
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
        // First of all: what JSON spells with escapes could be a control token, too.
        let messages: Vec<Message> = messages.iter().map(Message::decoded).collect();
        let texts = || messages.iter().flat_map(Message::texts);
        let plain = !texts().any(|text| has_control(text, controls));
        let firsts = firsts(controls);
        let begins = |message: &Message| message.texts()[1..].iter().any(|text| text.contains(&firsts[..]));
        if plain && !messages.iter().any(begins) {
            return Ok(vec![Segment { text: self.write(&messages, generation)?, trusted: true }]);
        }
        let mark = unused_char(texts().chain([self.jinja.source()]))?;
        let broken = |message: &Message| Message {
            role: break_controls(&message.role, controls, mark),
            ..message.map(&|text| break_controls(text, controls, mark))
        };
        let broken: Vec<Message> = messages.iter().map(broken).collect();
        let rendering = self.write(&broken, generation)?;
        // A template that deletes characters may put a control token together from what is left of
        // a message. Where none can begin in a message there must be as many.
        let apart = broken.iter().map(|message| message.map(&|text| break_firsts(text, &firsts, mark)));
        let apart: Vec<Message> = apart.collect();
        let apart = cut(&self.write(&apart, generation)?, controls, mark);
        let found = cut(&rendering, controls, mark);
        let trusted = |segments: &[Segment]| segments.iter().filter(|segment| segment.trusted).count();
        Ok(match trusted(&apart) < trusted(&found) {
            true => apart,
            false if plain => vec![Segment { text: rendering, trusted: true }],
            false => found,
        })
    }
}

/// A rendering of broken messages in segments: the control tokens that still match, and what is
/// between them without marks.
fn cut(mut rest: &str, controls: &[&str], mark: char) -> Vec<Segment> {
    let mut segments = Vec::new();
    while !rest.is_empty() {
        let (at, len) = next_control(rest, controls).unwrap_or((rest.len(), 0));
        let (before, from) = rest.split_at(at);
        let (control, after) = from.split_at(len);
        segments.push(Segment { text: before.replace(mark, ""), trusted: false });
        segments.push(Segment { text: control.into(), trusted: true });
        rest = after;
    }
    segments.retain(|s| !s.text.is_empty());
    segments
}

/// Messages without their null fields, and with reasoning under every name that templates read it
/// by.
fn normalized(messages: &Value) -> Value {
    let Some(messages) = messages.as_array() else {
        return messages.clone();
    };
    let one = |message: &Value| {
        let Some(fields) = message.as_object() else {
            return message.clone();
        };
        let there = fields.iter().filter(|(_, value)| !value.is_null());
        let mut fields: serde_json::Map<_, _> = there.map(|(name, value)| (name.clone(), value.clone())).collect();
        let names = ["reasoning_content", "thinking", "reasoning"];
        if let Some(reasoning) = names.iter().find_map(|name| fields.get(*name)).cloned() {
            if !fields.contains_key("thinking") {
                // In front, as there.
                fields.shift_insert(0, "thinking".into(), reasoning.clone());
            }
            fields.insert("reasoning_content".into(), reasoning);
        }
        Value::Object(fields)
    };
    Value::Array(messages.iter().map(one).collect())
}

/// Whether a text contains a control token, or could complete one together with its neighbors in
/// the rendering.
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

/// Puts the mark behind the first character of every control token in the text, and at an end that
/// could complete one.
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

/// Puts the mark behind every character with which a control token could begin.
fn break_firsts(text: &str, firsts: &[char], mark: char) -> String {
    text.chars().flat_map(|c| [Some(c), firsts.contains(&c).then_some(mark)]).flatten().collect()
}

/// A private-use character that occurs in none of the texts.
fn unused_char<'a>(texts: impl Iterator<Item = &'a str> + Clone) -> Result<char> {
    ('\u{F0000}'..='\u{FFFFD}')
        .find(|c| !texts.clone().any(|text| text.contains(*c)))
        .ok_or_else(|| Error::Template { detail: "the messages use every private-use character".into() })
}
