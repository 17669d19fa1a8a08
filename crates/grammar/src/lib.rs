//! Answers by a grammar: JSON schemas, regular expressions, choices and Lark grammars, as
//! constraints that a session of Peregrine obeys. llguidance does the parsing; what is here is the
//! model's vocabulary in its form, the options that are decided once for all
//! (docs/structured-output.md says them), limits for what comes from outside, and errors that name
//! the place.

mod compiled;
mod expression;
mod limits;
mod place;
mod source;
mod vocabulary;

use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{InferenceCapabilities, TokEnv};
use llguidance::{Matcher, ParserFactory};
use peregrine::constraint::{Compiler, Grammar, Spec};
use peregrine::{Error, Result};

use self::compiled::Compiled;
use self::vocabulary::Vocabulary;
pub use self::vocabulary::Words;

/// Grammars that are kept, since requests often come with the same.
const KEPT: usize = 16;

/// Does the work with a large stack: schemas refer to each other, and the depth of that is the
/// depth of calls.
#[cfg(not(target_arch = "wasm32"))]
fn with_stack(spec: &Spec, work: impl FnOnce() -> Result<Compiled> + Send) -> Result<Compiled> {
    const STACK: usize = 64 << 20;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        let thread = thread.map_err(|error| place::error(spec, &format!("no thread to compile it: {error}")))?;
        thread.join().unwrap_or_else(|_| Err(place::error(spec, "it cannot be compiled: internal error")))
    })
}

/// In a browser the module's own stack is the large one: web/scripts/wasm.sh.
#[cfg(target_arch = "wasm32")]
fn with_stack(_spec: &Spec, work: impl FnOnce() -> Result<Compiled>) -> Result<Compiled> {
    work()
}

/// Makes grammars for one model's vocabulary; any thread may. What all of them share takes up to a
/// second or so to make and is made for the first of them.
pub struct Grammars {
    words: Arc<dyn Words>,
    factory: OnceLock<Result<ParserFactory, String>>,
    kept: Mutex<Vec<(Spec, Compiled)>>,
}

impl Grammars {
    /// For the model with this tokenizer:
    /// [`Engine::shared_tokenizer`](peregrine::session::Engine::shared_tokenizer).
    pub fn new(words: impl Words + 'static) -> Self {
        Self { words: Arc::new(words), factory: OnceLock::new(), kept: Mutex::default() }
    }

    fn factory(&self) -> Result<&ParserFactory> {
        let made = self.factory.get_or_init(|| {
            let vocabulary: TokEnv = Arc::new(Vocabulary::new(self.words.clone()));
            let can = InferenceCapabilities { ff_tokens: true, ..InferenceCapabilities::default() };
            let slices = SlicedBiasComputer::general_slices();
            let mut factory = ParserFactory::new(&vocabulary, can, &slices).map_err(|error| error.to_string())?;
            factory.quiet();
            *factory.limits_mut() = limits::parser();
            Ok(factory)
        });
        made.as_ref().map_err(|detail| Error::Tokenizer { detail: detail.clone() })
    }

    /// As [`Compiler::compile`], and with what is said of it.
    ///
    /// # Errors
    /// As [`Compiler::compile`].
    pub fn compiled(&self, spec: &Spec) -> Result<Compiled> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|(of, _)| of == spec) {
            let found = kept.remove(at);
            let compiled = found.1.clone();
            kept.push(found);
            return Ok(compiled);
        }
        limits::check(spec)?;
        let made = with_stack(spec, || {
            let parser = self.factory()?.create_parser(source::grammar(spec)?);
            let mut matcher = Matcher::new(parser);
            // Whether anything can come at all.
            let begun = matcher.consume_tokens(&[]);
            begun.map_err(|error| place::error(spec, &error.to_string()))?;
            Ok(Compiled::new(matcher))
        })?;
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push((spec.clone(), made.clone()));
        Ok(made)
    }
}

impl Compiler for Grammars {
    fn compile(&self, spec: &Spec) -> Result<Rc<dyn Grammar>> {
        Ok(Rc::new(self.compiled(spec)?))
    }
}
