//! The object of one call: `{"name": …, "arguments": {…}}` in any order, and what models make of
//! it.

use super::json::{Reader, Step};

#[derive(Debug)]
enum State {
    /// A key, or the end of the object.
    Key,
    KeyText(Reader),
    Colon(Field),
    Value(Field),
    Name(Reader),
    Arguments(Reader),
    Other(Reader),
    /// Behind a value.
    After,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Name,
    Arguments,
    /// An object with the two, as OpenAI's API has it.
    Function,
    Other,
}

/// What a character was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    More,
    /// The call's last.
    Last,
    /// Nothing of a call.
    Wrong,
}

/// Reads one call, behind its `{`.
#[derive(Debug)]
pub(super) struct CallReader {
    state: State,
    /// Inside of `function`.
    inner: bool,
    name: Option<String>,
    /// The arguments have begun.
    begun: bool,
    /// They are all there.
    whole: bool,
    /// Not told yet.
    arguments: String,
    /// Something of them was told.
    some: bool,
}

impl CallReader {
    pub fn new() -> Self {
        Self {
            state: State::Key,
            inner: false,
            name: None,
            begun: false,
            whole: false,
            arguments: String::new(),
            some: false,
        }
    }

    /// The name, as soon as this is certainly a call.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref().filter(|_| self.begun)
    }

    /// Whether its arguments are all there.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// What there is new of the arguments.
    pub fn take(&mut self) -> String {
        let mut taken = std::mem::take(&mut self.arguments);
        if let State::Arguments(reader) = &mut self.state {
            taken.push_str(&reader.take());
        }
        self.some |= !taken.is_empty();
        taken
    }

    /// After [`Read::Wrong`] inside of the arguments: what was held back of them.
    pub fn held(&mut self) -> String {
        match &mut self.state {
            State::Arguments(reader) => reader.held(),
            _ => String::new(),
        }
    }

    /// The text has ended: whether all there is left to write are brackets, which are then taken
    /// for written.
    pub fn close(&mut self) -> bool {
        match &mut self.state {
            State::Arguments(reader) => {
                let Some(rest) = reader.close() else { return false };
                let written = reader.take() + &rest;
                self.arguments.push_str(&written);
            }
            State::After => {}
            _ => return false,
        }
        self.state = State::After;
        self.end()
    }

    pub fn push(&mut self, c: char) -> Read {
        match &mut self.state {
            State::KeyText(reader) => match reader.push(c) {
                Step::More => Read::More,
                Step::Last => {
                    let field = match reader.take().as_str() {
                        "name" if self.name.is_none() => Field::Name,
                        "arguments" | "parameters" if !self.begun => Field::Arguments,
                        "function" if !self.inner && self.name.is_none() => Field::Function,
                        _ => Field::Other,
                    };
                    self.to(State::Colon(field))
                }
                _ => Read::Wrong,
            },
            State::Name(reader) => match reader.push(c) {
                Step::More => Read::More,
                Step::Last => {
                    let name = reader.take();
                    if name.is_empty() {
                        return Read::Wrong;
                    }
                    self.name = Some(name);
                    self.to(State::After)
                }
                _ => Read::Wrong,
            },
            State::Arguments(reader) => match reader.push(c) {
                Step::More => Read::More,
                step @ (Step::Last | Step::Behind) => {
                    let written = reader.take();
                    self.arguments.push_str(&written);
                    self.whole = true;
                    self.state = State::After;
                    // A number or the like, which is over where something else begins.
                    if step == Step::Behind {
                        if self.arguments.trim() != "null" {
                            return Read::Wrong;
                        }
                        self.arguments.clear();
                        self.begun = true;
                        return self.push(c);
                    }
                    Read::More
                }
                Step::Wrong => Read::Wrong,
            },
            State::Other(reader) => match reader.push(c) {
                Step::More => Read::More,
                Step::Last => self.to(State::After),
                Step::Behind => {
                    self.state = State::After;
                    self.push(c)
                }
                Step::Wrong => Read::Wrong,
            },
            _ if c.is_whitespace() => Read::More,
            State::Key | State::After if c == '}' => self.close_object(),
            State::Key if matches!(c, '"' | '\'') => {
                let mut reader = Reader::new(true);
                reader.push(c);
                self.to(State::KeyText(reader))
            }
            State::After if c == ',' => self.to(State::Key),
            State::Colon(field) if c == ':' => {
                let field = *field;
                self.to(State::Value(field))
            }
            State::Value(field) => {
                let field = *field;
                self.value(field, c)
            }
            _ => Read::Wrong,
        }
    }

    fn to(&mut self, state: State) -> Read {
        self.state = state;
        Read::More
    }

    fn value(&mut self, field: Field, c: char) -> Read {
        let is_text = matches!(c, '"' | '\'');
        let mut reader = Reader::new(field != Field::Other);
        match field {
            Field::Function if c == '{' => {
                self.inner = true;
                return self.to(State::Key);
            }
            // Its name alone.
            Field::Function if is_text => return self.value(Field::Name, c),
            Field::Name if !is_text => return Read::Wrong,
            // Nothing at all (`null`) is known later.
            Field::Arguments if !is_text && !matches!(c, '{' | 'n' | 'N') => return Read::Wrong,
            Field::Arguments => self.begun = is_text || c == '{',
            _ => {}
        }
        if reader.push(c) == Step::Wrong {
            return Read::Wrong;
        }
        self.to(match field {
            Field::Name => State::Name(reader),
            Field::Arguments => State::Arguments(reader),
            Field::Function | Field::Other => State::Other(reader),
        })
    }

    fn close_object(&mut self) -> Read {
        if std::mem::take(&mut self.inner) {
            return self.to(State::After);
        }
        match self.end() {
            true => Read::Last,
            false => Read::Wrong,
        }
    }

    /// A call has a name; arguments that are not there are none.
    fn end(&mut self) -> bool {
        if self.name.is_none() {
            return false;
        }
        (self.begun, self.whole) = (true, true);
        if !self.some && self.arguments.trim().is_empty() {
            self.arguments = "{}".into();
        }
        true
    }
}
