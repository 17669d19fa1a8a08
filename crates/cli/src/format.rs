//! What an answer must look like, from the command line.

use std::rc::Rc;

use peregrine::Error;
use peregrine::constraint::{Compiler, Grammar, Spec};
use peregrine::session::Engine;
use peregrine_grammar::Grammars;

use crate::common::read_text;
use crate::failure::{Failure, Outcome};
use crate::terminal::note;

/// At most one of them.
#[derive(clap::Args)]
#[group(multiple = false)]
pub struct FormatArgs {
    /// Answer with JSON that the schema in this file validates; - for standard input
    #[arg(long, value_name = "FILE")]
    json_schema: Option<String>,
    /// Answer with a text that this regular expression matches as a whole
    #[arg(long, value_name = "RE", allow_hyphen_values = true)]
    regex: Option<String>,
    /// Answer with a text of the grammar in this file, in Lark's syntax; - for standard input
    #[arg(long, value_name = "FILE")]
    grammar: Option<String>,
}

/// What was asked for, and the name of where it stands.
pub struct Format {
    spec: Spec,
    name: String,
}

impl FormatArgs {
    /// Reads the file, if there is one: before a model is loaded.
    pub fn read(&self) -> Outcome<Option<Format>> {
        Ok(match (&self.json_schema, &self.regex, &self.grammar) {
            (Some(path), ..) => Some(json_schema(path)?),
            (_, Some(regex), _) => Some(Format { spec: Spec::Regex(regex.clone()), name: "--regex".into() }),
            (_, _, Some(path)) => Some(Format { spec: Spec::Lark(read_text(path)?), name: path.clone() }),
            _ => None,
        })
    }
}

/// A schema in a file.
pub fn json_schema(path: &str) -> Outcome<Format> {
    let schema = serde_json::from_str(&read_text(path)?);
    let schema = schema.map_err(|error| Failure::input(format!("{path}: not JSON: {error}")))?;
    Ok(Format { spec: Spec::JsonSchema { schema, strict: true }, name: path.into() })
}

impl Format {
    /// The grammar, for this engine's tokens.
    pub fn compile(&self, engine: &Engine) -> Outcome<Rc<dyn Grammar>> {
        let Self { spec, name } = self;
        let compiled = Grammars::new(engine.shared_tokenizer()).compile(spec).map_err(|error| match error {
            Error::Grammar { place, detail } => {
                let inside = place.find('#').map_or("", |at| &place[at..]);
                let of = if matches!(spec, Spec::Lark(_)) { ":" } else { ": " };
                Failure::input(format!("{name}{inside}{of}{detail}"))
            }
            other => other.into(),
        })?;
        compiled.warnings().iter().for_each(|warning| note(&format!("warning: {name}: {warning}")));
        Ok(compiled)
    }
}
