//! Calls in the text of an answer, while it comes.

use peregrine::chat::CALL_TAGS;

use super::call::{CallReader, Read};
use super::news::{CallNews, News};
use super::tags::{Tag, match_tag};

const THOUGHT: (&str, &str) = ("<think>", "</think>");

#[derive(Debug)]
enum State {
    Text,
    /// Whether `</think>` may have begun: so many of its letters were there.
    Thought(usize),
    /// Between the tags, where no call is open.
    Between,
    Call(CallReader),
    /// In arguments that are no JSON: all there is until the tag.
    Broken,
    /// Text to the end, whatever it spells.
    Plain,
    /// Nothing more is of interest.
    Over,
}

/// Finds calls in text that comes in pieces. What is no call comes out as it was, and where it was;
/// how the text is cut changes nothing.
#[derive(Debug)]
pub struct Parser {
    state: State,
    /// What was read and neither told nor dropped: white space, a tag that may have begun; behind a
    /// tag everything since it, or since the last call.
    held: String,
    /// Letters of a tag that may have begun, at the end of `held`.
    tag: usize,
    /// Calls between these tags.
    here: usize,
    /// The last thing was a call: white space behind it is a part of its frame.
    framed: bool,
    count: usize,
    most: usize,
    /// Calls are at the beginning or nowhere.
    first: bool,
    /// There was text that is not white space.
    said: bool,
    news: News,
}

impl Parser {
    /// `most`: so many calls, of which the last ends the answer. `thinks`: the answer begins inside
    /// of a thought.
    pub fn new(most: usize, thinks: bool) -> Self {
        Self {
            state: if thinks { State::Thought(0) } else { State::Text },
            held: String::new(),
            tag: 0,
            here: 0,
            framed: false,
            count: 0,
            most,
            first: false,
            said: false,
            news: News::default(),
        }
    }

    /// For an answer that is text of some format where it begins with no call: what looks like one
    /// inside of that is a part of it.
    #[must_use]
    pub fn at_the_beginning(self) -> Self {
        Self { first: true, ..self }
    }

    /// Calls so far.
    pub fn calls(&self) -> usize {
        self.count
    }

    /// There are as many calls as may be: what comes now is dropped.
    pub fn is_full(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Inside of a thought.
    pub(super) fn is_thinking(&self) -> bool {
        matches!(self.state, State::Thought(_))
    }

    /// Behind a tag, before its first call.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Between) && self.here == 0 && self.held.trim_end().ends_with(CALL_TAGS.0)
    }

    /// The tag that may have begun, and how many letters of it there are: the one that opens a
    /// call, or in a thought the one that ends it.
    pub(super) fn tag(&self) -> (&'static str, usize) {
        match &self.state {
            State::Text => (CALL_TAGS.0, self.tag),
            State::Thought(matched) => (THOUGHT.1, *matched),
            _ => ("", 0),
        }
    }

    /// Goes on with some text.
    pub fn push(&mut self, text: &str) -> News {
        text.chars().for_each(|c| self.read(c));
        std::mem::take(&mut self.news)
    }

    /// The text has ended. `whole`: not because it grew too long, so that brackets which are
    /// missing were forgotten.
    pub fn finish(&mut self, whole: bool) -> News {
        match std::mem::replace(&mut self.state, State::Over) {
            // Behind a call white space is nothing.
            State::Text if self.framed && self.held.trim().is_empty() => {}
            State::Text => self.give_back(),
            State::Between if self.here == 0 => self.give_back(),
            State::Call(mut call) => {
                let told = call.name().is_some();
                if (whole && call.close()) || told {
                    self.emit(&mut call, told);
                    self.count += 1;
                } else {
                    self.give_back();
                }
            }
            State::Broken => self.count += 1,
            _ => {}
        }
        std::mem::take(&mut self.news)
    }

    fn read(&mut self, c: char) {
        self.read_any(c);
        if self.first && self.said && self.count == 0 && matches!(self.state, State::Text) {
            self.give_back();
            self.state = State::Plain;
        }
    }

    fn read_any(&mut self, c: char) {
        match &mut self.state {
            State::Over => {}
            State::Plain => self.news.text.push(c),
            State::Text => self.text(c),
            State::Thought(matched) => {
                let end = THOUGHT.1.as_bytes();
                *matched = match () {
                    () if c == char::from(end[*matched]) => *matched + 1,
                    () if c == '<' => 1,
                    () => 0,
                };
                if *matched == end.len() {
                    self.state = State::Text;
                }
                self.news.text.push(c);
            }
            State::Between => self.between(c),
            State::Call(_) => self.call(c),
            State::Broken => match self.match_tag(c, &[CALL_TAGS.1]) {
                Some(Tag::More) => {}
                Some(Tag::Whole(_)) => self.end_call(State::Text),
                None => {
                    let mut text = std::mem::take(&mut self.held);
                    // It may begin one itself.
                    if c == '<' {
                        self.match_tag(c, &[CALL_TAGS.1]);
                    } else {
                        text.push(c);
                    }
                    self.add(self.count, None, &text);
                }
            },
        }
    }

    fn text(&mut self, c: char) {
        match self.match_tag(c, &[CALL_TAGS.0, THOUGHT.0]) {
            Some(Tag::More) => {}
            Some(Tag::Whole(tag)) if tag == CALL_TAGS.0 => {
                (self.state, self.here) = (State::Between, 0);
            }
            Some(Tag::Whole(_)) => {
                self.give_back();
                self.state = State::Thought(0);
            }
            None if c == '<' => {
                self.give_back();
                self.read(c);
            }
            // White space before a call is a part of its frame.
            None if c.is_whitespace() => {
                let is_space = self.held.trim().is_empty();
                if !is_space {
                    self.give_back();
                }
                self.held.push(c);
            }
            None => {
                self.give_back();
                self.framed = false;
                self.said = true;
                self.news.text.push(c);
            }
        }
    }

    fn between(&mut self, c: char) {
        let is_open = self.tag > 0;
        match self.match_tag(c, &[CALL_TAGS.0, CALL_TAGS.1]) {
            Some(Tag::More) => {}
            Some(Tag::Whole(tag)) if tag == CALL_TAGS.0 => {
                if self.here == 0 {
                    let rest = self.held.split_off(self.held.len() - tag.len());
                    self.give_back();
                    self.held = rest;
                } else {
                    self.held = tag.into();
                }
                self.here = 0;
            }
            Some(Tag::Whole(_)) => {
                if self.here == 0 {
                    self.give_back();
                }
                self.held.clear();
                self.state = State::Text;
            }
            None if !is_open && c == '{' => {
                self.held.push(c);
                self.state = State::Call(CallReader::new());
            }
            None if !is_open && (c.is_whitespace() || matches!(c, ',' | ';' | '[' | ']' | '}')) => self.held.push(c),
            None => self.leave(c),
        }
    }

    fn call(&mut self, c: char) {
        let State::Call(call) = &mut self.state else { return };
        let told = call.name().is_some();
        let read = call.push(c);
        if !told {
            self.held.push(c);
        }
        let State::Call(mut call) = std::mem::replace(&mut self.state, State::Text) else { return };
        match read {
            Read::More => {
                self.emit(&mut call, told);
                self.state = State::Call(call);
            }
            Read::Last => {
                self.emit(&mut call, told);
                self.end_call(State::Between);
            }
            // Behind its arguments, or where brackets were forgotten: what comes is something else.
            Read::Wrong if (told && call.is_whole()) || (c == '<' && call.close()) => {
                self.emit(&mut call, told);
                self.end_call(State::Between);
                self.read(c);
            }
            // It was none.
            Read::Wrong if !told => {
                self.held.pop();
                self.leave(c);
            }
            Read::Wrong => {
                let mut rest = call.take();
                rest.push_str(&call.held());
                self.add(self.count, None, &rest);
                self.held.clear();
                self.state = State::Broken;
                self.read(c);
            }
        }
    }

    /// A call is over.
    fn end_call(&mut self, next: State) {
        self.held.clear();
        self.tag = 0;
        self.count += 1;
        self.here += 1;
        self.framed = true;
        self.state = if self.count >= self.most { State::Over } else { next };
    }

    fn emit(&mut self, call: &mut CallReader, told: bool) {
        let Some(name) = call.name().map(str::to_string) else { return };
        let arguments = call.take();
        self.add(self.count, (!told).then_some(name), &arguments);
    }

    fn add(&mut self, index: usize, name: Option<String>, arguments: &str) {
        match self.news.calls.last_mut().filter(|news| news.index == index && name.is_none()) {
            Some(news) => news.arguments.push_str(arguments),
            None if name.is_none() && arguments.is_empty() => {}
            None => self.news.calls.push(CallNews { index, name, arguments: arguments.into() }),
        }
    }

    /// What is between the tags is no call: text again.
    fn leave(&mut self, c: char) {
        self.give_back();
        self.state = State::Text;
        self.read(c);
    }

    fn give_back(&mut self) {
        self.tag = 0;
        if !self.held.is_empty() {
            self.framed = false;
        }
        self.said |= !self.held.trim().is_empty();
        self.news.text.push_str(&std::mem::take(&mut self.held));
    }

    fn match_tag(&mut self, c: char, tags: &[&'static str]) -> Option<Tag> {
        match_tag(&mut self.held, &mut self.tag, c, tags)
    }
}
