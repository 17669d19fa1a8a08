//! Jinja as Hugging Face sets it up for chat templates, bounded: templates are programs from
//! strangers.
//!
//! minijinja reads and runs them. What it prints, names or formats differently from Jinja under
//! Python is brought in line here, against `tests/text/jinja.json`; what is missing is refused by
//! its name.

mod arguments;
mod braces;
mod cuts;
mod date;
mod filters;
mod json;
mod lexer;
mod methods;
mod numbers;
mod objects;
mod percent;
mod print;
mod source;
mod spec;
mod strings;
mod web;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Rest, Serde, ValueKind};
use minijinja::{AutoEscape, Environment, Error as JinjaError, ErrorKind, Output, State, Value};

use crate::{Error, Result};

/// Work a rendering may do: about as many instructions, or 64 bytes of data each. A conversation of
/// a thousand turns takes a hundredth of it; a template that loops for ever ends with an error
/// within a second.
const FUEL: u64 = 4_000_000;
/// Nesting; a macro in a macro counts for about ten.
const DEPTH: usize = 250;

const NAME: &str = "chat template";

pub(super) struct Template {
    environment: Environment<'static>,
    source: String,
}

impl Template {
    pub fn new(source: &str) -> Result<Self> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(failed)?;
        environment.set_syntax(syntax);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(DEPTH);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_formatter(python_output);
        environment.set_unknown_method_callback(methods::call);
        filters::add(&mut environment);
        environment.remove_global("debug");
        environment.add_global("dict", Value::from_object(objects::Dict));
        environment.add_function("range", |args: Rest<Value>| objects::Range::of(&args));
        environment.add_function("cycler", |items: Rest<Value>| objects::cycler(items.to_vec()));
        environment.add_function("joiner", |args: arguments::Given| objects::joiner(&arguments::values(args)));
        environment.add_function("raise_exception", |message: Value| -> Result<Value, JinjaError> {
            Err(JinjaError::new(ErrorKind::InvalidOperation, print::text(&message)?))
        });
        environment.add_function("strftime_now", |format: String| date::strftime(&format, &date::Moment::now()));
        let template = Self { environment, source: source::prepare(source) };
        template.environment.template_from_named_str(NAME, &template.source).map_err(failed)?;
        Ok(template)
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    pub fn render(&self, context: &serde_json::Value) -> Result<String> {
        let template = self.environment.template_from_named_str(NAME, &self.source).map_err(failed)?;
        template.render(Value::from(Serde(context))).map_err(failed)
    }
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Template({:?})", self.source)
    }
}

fn failed(error: JinjaError) -> Error {
    let line = error.line().map(|line| format!("line {line}: ")).unwrap_or_default();
    let reason = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "it does not come to an end".to_string(),
        (ErrorKind::InvalidOperation, Some(detail)) => detail.to_string(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    Error::Template { detail: format!("{line}{reason}") }
}

/// `{{ value }}` as Python prints it: `None`, `True`, and lists and dictionaries by `repr`.
fn python_output(out: &mut Output, state: &mut State, value: &Value) -> Result<(), JinjaError> {
    let text = match value.kind() {
        ValueKind::Invalid => return minijinja::escape_formatter(out, state, value),
        _ => print::text(value)?,
    };
    match state.auto_escape() {
        AutoEscape::Html if !value.is_safe() => out.write_str(&web::escaped(&text)),
        _ => out.write_str(&text),
    }
    .map_err(JinjaError::from)
}
