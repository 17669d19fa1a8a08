//! Calls that are enforced: between the tags stands what a grammar says.
//!
//! A grammar knows the JSON of a call. What is around it is written here: free text until a tag, the tags themselves, and how often
//! there may be a call.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use peregrine::Result;
use peregrine::chat::{CALL_TAGS, CallFormat, ChatTemplate};
use peregrine::constraint::{Constraint, Grammar, allow};
use peregrine::tokenizer::Tokenizer;

use super::Parser;
use crate::request::{ChatRequest, ToolChoice};

/// What an answer with calls must be.
#[derive(Clone)]
pub(crate) struct Enforced {
    /// What stands between the tags.
    pub calls: Rc<dyn Grammar>,
    pub tokenizer: Arc<Tokenizer>,
    /// It begins with a call; otherwise it is free until one begins.
    pub required: bool,
    /// It ends behind the first tags.
    pub once: bool,
    /// It begins inside of a thought.
    pub thinks: bool,
}

impl Enforced {
    /// Of the answers to a request.
    pub fn of(
        request: &ChatRequest,
        template: &ChatTemplate,
        tokenizer: Arc<Tokenizer>,
        calls: Rc<dyn Grammar>,
    ) -> Rc<dyn Grammar> {
        let required = matches!(request.tool_choice, ToolChoice::Required | ToolChoice::Function(_));
        // An array has all calls of an answer.
        let once = !request.parallel_tool_calls || template.call_format() == CallFormat::Array;
        Rc::new(Self { calls, tokenizer, required, once, thinks: template.opens_thought() })
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
        if self.required && !self.thinks {
            running.state = State::Written(running.open.iter().copied().collect(), After::Open);
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
    /// The end, or one more call.
    Between,
    Over,
}

#[derive(Clone, Copy, PartialEq)]
enum After {
    Open,
    Close,
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
    /// By how much of a tag there is: see [`astride`].
    astride: BTreeMap<usize, Vec<u32>>,
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

    /// With these tokens still to come.
    fn written(&self, tokens: VecDeque<u32>, after: After) -> Result<State> {
        Ok(match after {
            _ if !tokens.is_empty() => State::Written(tokens, after),
            After::Open => self.call()?,
            After::Close if self.of.once => State::Over,
            After::Close if self.of.required => State::Between,
            After::Close => State::Free,
        })
    }

    fn must_call(&self) -> bool {
        self.of.required && self.parser.calls() == 0
    }
}

/// The tokens that end a tag of which so much is there, and go on with more than white space: they would be half inside of a call.
fn astride(tokenizer: &Tokenizer, begun: usize, tokens: u32) -> Vec<u32> {
    let rest = &CALL_TAGS.0.as_bytes()[begun..];
    let is_astride = |token: &u32| {
        let bytes = tokenizer.token_bytes(*token).unwrap_or_default();
        bytes.strip_prefix(rest).is_some_and(|behind| !behind.iter().all(u8::is_ascii_whitespace))
    };
    (0..tokens).filter(is_astride).collect()
}

impl Constraint for Running {
    fn mask(&mut self, mask: &mut [u32]) -> Result<()> {
        match &mut self.state {
            State::Call(call) => return call.mask(mask),
            State::Free => {
                mask.fill(u32::MAX);
                let begun = self.parser.tag();
                if begun > 0 {
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
            State::Free => State::Free,
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
            State::Call(call) => call.forced(),
            State::Free | State::Between | State::Over => Ok(Vec::new()),
        }
    }

    fn may_end(&mut self) -> bool {
        match &self.state {
            State::Free => !self.must_call(),
            State::Between | State::Over => true,
            State::Written(..) | State::Call(_) => false,
        }
    }

    fn is_finished(&mut self) -> bool {
        matches!(self.state, State::Over)
    }
}
