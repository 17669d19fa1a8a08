//! Grammars of the other wasm module, through JavaScript: texts, ids and words of masks.

use std::rc::Rc;

use js_sys::{Array, Reflect, Uint32Array};
use peregrine::constraint::{Compiler, Constraint, Grammar, Spec};
use peregrine::{Error, Result};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// `Grammars` of the package's worker/grammars.ts, and below what it makes.
    pub type JsGrammars;
    #[wasm_bindgen(method, catch)]
    fn compile(this: &JsGrammars, spec: &str) -> std::result::Result<JsGrammar, JsValue>;

    type JsGrammar;
    #[wasm_bindgen(method)]
    fn warnings(this: &JsGrammar) -> Array;
    #[wasm_bindgen(method, catch)]
    fn begin(this: &JsGrammar) -> std::result::Result<JsConstraint, JsValue>;

    type JsConstraint;
    #[wasm_bindgen(method, catch)]
    fn mask(this: &JsConstraint) -> std::result::Result<Uint32Array, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn accept(this: &JsConstraint, token: u32) -> std::result::Result<(), JsValue>;
    #[wasm_bindgen(method, catch)]
    fn forced(this: &JsConstraint) -> std::result::Result<Uint32Array, JsValue>;
    #[wasm_bindgen(method, catch, js_name = mayEnd)]
    fn may_end(this: &JsConstraint) -> std::result::Result<bool, JsValue>;
    #[wasm_bindgen(method, catch, js_name = isFinished)]
    fn is_finished(this: &JsConstraint) -> std::result::Result<bool, JsValue>;
}

/// The error that was thrown: one of a grammar has a `place`, and so has what stands for a fault of
/// the module.
fn failed(thrown: &JsValue) -> Error {
    let text = |name: &str| Reflect::get(thrown, &name.into()).ok().and_then(|value| value.as_string());
    let place = text("place").unwrap_or_else(|| "the module of grammars".into());
    Error::Grammar { place, detail: text("message").unwrap_or_default() }
}

impl Compiler for JsGrammars {
    fn compile(&self, spec: &Spec) -> Result<Rc<dyn Grammar>> {
        let spec = serde_json::to_string(spec).map_err(|error| failed(&error.to_string().into()))?;
        let grammar = self.compile(&spec).map_err(|thrown| failed(&thrown))?;
        let warnings = grammar.warnings().iter().filter_map(|line| line.as_string()).collect();
        Ok(Rc::new(Compiled { grammar, warnings }))
    }
}

struct Compiled {
    grammar: JsGrammar,
    warnings: Vec<String>,
}

impl Grammar for Compiled {
    fn begin(&self) -> Result<Box<dyn Constraint>> {
        Ok(Box::new(self.grammar.begin().map_err(|thrown| failed(&thrown))?))
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl Constraint for JsConstraint {
    fn mask(&mut self, mask: &mut [u32]) -> Result<()> {
        let words = JsConstraint::mask(self).map_err(|thrown| failed(&thrown))?;
        let length = words.length().min(mask.len() as u32);
        words.subarray(0, length).copy_to(&mut mask[..length as usize]);
        Ok(())
    }

    fn accept(&mut self, token: u32) -> Result<()> {
        JsConstraint::accept(self, token).map_err(|thrown| failed(&thrown))
    }

    fn forced(&mut self) -> Result<Vec<u32>> {
        Ok(JsConstraint::forced(self).map_err(|thrown| failed(&thrown))?.to_vec())
    }

    fn may_end(&mut self) -> bool {
        // Where this fails so does the mask, which says why.
        JsConstraint::may_end(self).unwrap_or(false)
    }

    fn is_finished(&mut self) -> bool {
        JsConstraint::is_finished(self).unwrap_or(false)
    }
}

/// What the other module needs of a tokenizer.
#[wasm_bindgen(getter_with_clone)]
pub struct WebVocabulary {
    /// The bytes of all tokens, one after the other.
    pub bytes: Vec<u8>,
    /// How many each has.
    pub lengths: Vec<u32>,
    /// Ids of control tokens, whose bytes are names.
    pub controls: Vec<u32>,
    /// Ids that end an answer.
    pub ends: Vec<u32>,
}

impl WebVocabulary {
    /// Of a model.
    pub fn of(tokenizer: &peregrine::tokenizer::Tokenizer) -> Self {
        let (mut bytes, mut lengths, mut controls) = (Vec::new(), Vec::new(), Vec::new());
        for id in 0..tokenizer.vocab_size() {
            let before = bytes.len();
            match tokenizer.special_text(id) {
                Some(name) => {
                    controls.push(id);
                    bytes.extend_from_slice(name.as_bytes());
                }
                None => bytes.extend(tokenizer.token_bytes(id).unwrap_or_default()),
            }
            lengths.push((bytes.len() - before) as u32);
        }
        Self { bytes, lengths, controls, ends: tokenizer.end_tokens().to_vec() }
    }
}
