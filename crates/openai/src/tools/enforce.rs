//! Calls that are enforced: between the tags stands what a grammar says.
//!
//! A grammar knows the JSON of a call. What is around it is written here: free text until a tag,
//! the tags themselves, and how often there may be a call.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use peregrine::chat::{CALL_TAGS, CallFormat, ChatTemplate};
use peregrine::constraint::{Constraint, Grammar, allow, allows, mask_words};
use peregrine::tokenizer::Tokenizer;
use peregrine::{Error, Result};

use super::Parser;
use crate::request::ChatRequest;

/// What an answer with calls must be.
#[derive(Clone)]
pub(crate) struct Enforced {
    /// What stands between the tags.
    pub calls: Rc<dyn Grammar>,
    pub tokenizer: Arc<Tokenizer>,
    /// What an answer is that has no call: free where this says nothing.
    pub format: Option<Rc<dyn Grammar>>,
    /// It begins with a call.
    pub required: bool,
    /// It ends behind the first tags.
    pub once: bool,
    /// It begins inside of a thought.
    pub thinks: bool,
}

impl Enforced {
    /// Of the answers to a request: with these calls, and of this format without any.
    pub fn of(
        request: &ChatRequest,
        template: &ChatTemplate,
        tokenizer: Arc<Tokenizer>,
        calls: Rc<dyn Grammar>,
        format: Option<Rc<dyn Grammar>>,
    ) -> Rc<dyn Grammar> {
        let required = request.must_call();
        // An array has all calls of an answer.
        let once = !request.parallel_tool_calls || request.call_format(template) == CallFormat::Array;
        // Where there must be a call, there is nothing else.
        let format = format.filter(|_| !required);
        Rc::new(Self { calls, tokenizer, format, required, once, thinks: template.opens_thought() })
    }
}

impl Grammar for Enforced {
    fn begin(&self) -> Result<Box<dyn Constraint>> {
        let (open, close) = CALL_TAGS;
        let tokens = |text: &str| self.tokenizer.encode(text, false);
        let mut running = Running {
            open: tokens(&format!("{open}\n"))?,
            next: tokens(&format!("\n{open}\n"))?,
            close: tokens(&format!("\n{close}"))?,
            line: tokens("\n")?,
            parser: Parser::new(usize::MAX, self.thinks),
            state: State::Free,
            astride: BTreeMap::new(),
            of: self.clone(),
        };
        if !self.thinks {
            running.state = match (self.required, &self.format) {
                (true, _) => State::Written(running.open.iter().copied().collect(), After::Open),
                (false, Some(_)) => running.either()?,
                (false, None) => State::Free,
            };
        }
        Ok(Box::new(running))
    }

    fn warnings(&self) -> &[String] {
        self.calls.warnings()
    }
}

enum State {
    /// Any text.
    Free,
    /// These tokens, and then that.
    Written(VecDeque<u32>, After),
    Call(Box<dyn Constraint>),
    /// A call, or what the format says.
    Either(Box<dyn Constraint>),
    /// What the format says.
    Formatted(Box<dyn Constraint>),
    /// The end, or one more call.
    Between,
    Over,
}

#[derive(Clone, Copy, PartialEq)]
enum After {
    Open,
    Close,
    /// The line end behind a thought.
    Thought,
}

/// One answer.
struct Running {
    of: Enforced,
    state: State,
    /// What was written, up to here.
    parser: Parser,
    open: Vec<u32>,
    next: Vec<u32>,
    close: Vec<u32>,
    line: Vec<u32>,
    /// By the tag and how much of it there is: see [`astride`].
    astride: BTreeMap<(&'static str, usize), Vec<u32>>,
}

impl Running {
    /// A token's text, as far as tags go: what is no ASCII is none.
    fn text(&self, token: u32) -> String {
        let tokenizer = &self.of.tokenizer;
        match tokenizer.special_text(token) {
            Some(tag) if [CALL_TAGS.0, CALL_TAGS.1].contains(&tag) => tag.into(),
            Some(_) => String::new(),
            None => {
                let bytes = tokenizer.token_bytes(token).unwrap_or_default();
                bytes.iter().map(|b| if b.is_ascii() { char::from(*b) } else { char::REPLACEMENT_CHARACTER }).collect()
            }
        }
    }

    fn call(&self) -> Result<State> {
        Ok(State::Call(self.of.calls.begin()?))
    }

    /// A format whose answers may begin as calls do would never be one: it is an error.
    fn either(&self) -> Result<State> {
        let Some(format) = &self.of.format else { return Ok(State::Free) };
        let mut format = format.begin()?;
        let mut mask = vec![0; mask_words(self.of.tokenizer.vocab_size())];
        format.mask(&mut mask)?;
        if self.open.first().is_some_and(|token| allows(&mask, *token)) {
            let detail =
                format!("an answer of this format may begin as {} does: leave out the tools, or it", CALL_TAGS.0);
            return Err(Error::Grammar { place: "response_format".into(), detail });
        }
        Ok(State::Either(format))
    }

    /// With these tokens still to come.
    fn written(&self, tokens: VecDeque<u32>, after: After) -> Result<State> {
        Ok(match after {
            _ if !tokens.is_empty() => State::Written(tokens, after),
            After::Open => self.call()?,
            After::Close if self.of.once => State::Over,
            After::Close if self.of.required || self.of.format.is_some() => State::Between,
            After::Thought => self.either()?,
            After::Close => State::Free,
        })
    }

    fn must_call(&self) -> bool {
        self.of.required && self.parser.calls() == 0
    }
}

/// The tokens that end a tag of which so much is there, and go on with more than white space: they
/// would be half inside of what must be held.
fn astride(tokenizer: &Tokenizer, (tag, begun): (&str, usize), tokens: u32) -> Vec<u32> {
    let rest = &tag.as_bytes()[begun..];
    let is_astride = |token: &u32| {
        let bytes = tokenizer.token_bytes(*token).unwrap_or_default();
        bytes.strip_prefix(rest).is_some_and(|behind| !behind.iter().all(u8::is_ascii_whitespace))
    };
    (0..tokens).filter(is_astride).collect()
}

impl Constraint for Running {
    fn mask(&mut self, mask: &mut [u32]) -> Result<()> {
        match &mut self.state {
            State::Call(held) | State::Formatted(held) => return held.mask(mask),
            State::Either(format) => {
                format.mask(mask)?;
                self.open.iter().take(1).for_each(|token| allow(mask, *token, true));
            }
            State::Free => {
                mask.fill(u32::MAX);
                let begun = self.parser.tag();
                // A thought that only text follows may end as it likes.
                let is_followed = !self.parser.is_thinking() || self.must_call() || self.of.format.is_some();
                if begun.1 > 0 && is_followed {
                    let tokenizer = &self.of.tokenizer;
                    let astride =
                        self.astride.entry(begun).or_insert_with(|| astride(tokenizer, begun, mask.len() as u32 * 32));
                    astride.iter().for_each(|token| allow(mask, *token, false));
                }
            }
            State::Written(tokens, _) => tokens.iter().take(1).for_each(|token| allow(mask, *token, true)),
            State::Between => self.next.iter().take(1).for_each(|token| allow(mask, *token, true)),
            State::Over => {}
        }
        Ok(())
    }

    fn accept(&mut self, token: u32) -> Result<()> {
        let text = self.text(token);
        self.parser.push(&text);
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::Free if self.parser.is_open() => match text.ends_with(char::is_whitespace) {
                true => self.call()?,
                // As models are taught.
                false => State::Written(self.line.iter().copied().collect(), After::Open),
            },
            // The thought is over.
            State::Free if self.must_call() && !self.parser.is_thinking() => {
                State::Written(self.next.iter().copied().collect(), After::Open)
            }
            State::Free if self.of.format.is_some() && !self.parser.is_thinking() => {
                State::Written(self.line.iter().copied().collect(), After::Thought)
            }
            State::Free => State::Free,
            State::Either(_) if self.open.first() == Some(&token) => {
                self.written(self.open.iter().skip(1).copied().collect(), After::Open)?
            }
            State::Either(mut format) | State::Formatted(mut format) => {
                format.accept(token)?;
                State::Formatted(format)
            }
            State::Written(mut tokens, after) => {
                tokens.pop_front();
                self.written(tokens, after)?
            }
            State::Call(mut call) => {
                call.accept(token)?;
                match call.may_end() {
                    true => State::Written(self.close.iter().copied().collect(), After::Close),
                    false => State::Call(call),
                }
            }
            State::Between => self.written(self.next.iter().skip(1).copied().collect(), After::Open)?,
            State::Over => State::Over,
        };
        Ok(())
    }

    fn forced(&mut self) -> Result<Vec<u32>> {
        match &mut self.state {
            State::Written(tokens, _) => Ok(tokens.iter().copied().collect()),
            State::Call(held) | State::Formatted(held) => held.forced(),
            // There is a choice.
            State::Either(_) | State::Free | State::Between | State::Over => Ok(Vec::new()),
        }
    }

    fn may_end(&mut self) -> bool {
        let must_call = self.must_call();
        match &mut self.state {
            State::Either(format) | State::Formatted(format) => format.may_end(),
            State::Free => !must_call && self.of.format.is_none(),
            State::Between | State::Over => true,
            State::Written(..) | State::Call(_) => false,
        }
    }

    fn is_finished(&mut self) -> bool {
        match &mut self.state {
            State::Formatted(format) => format.is_finished(),
            State::Over => true,
            _ => false,
        }
    }
}
