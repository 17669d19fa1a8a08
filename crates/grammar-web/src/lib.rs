//! Grammars in a wasm module of their own, since few answers need them and they are half as large
//! as the runtime. What crosses to the runtime's module are texts, ids and words of masks, through
//! JavaScript.
#![cfg(target_arch = "wasm32")]

mod words;

use js_sys::{Error as JsError, Function, Reflect};
use peregrine::Error;
use peregrine::constraint::{Compiler, Constraint, Grammar, Spec, mask_words};
use peregrine_grammar::Grammars;
use std::rc::Rc;
use wasm_bindgen::prelude::*;

use words::JsWords;

/// Panics are bugs; this makes the console say where.
#[wasm_bindgen(start)]
pub fn start() {
    console_error_panic_hook::set_once();
}

/// An `Error`; one of a grammar has its `place`.
fn to_js(error: Error) -> JsValue {
    match error {
        Error::Grammar { place, detail } => {
            let object = JsError::new(&detail);
            // Setting a property of a fresh object cannot fail.
            let _ = Reflect::set(&object, &"place".into(), &place.into());
            object.into()
        }
        other => JsError::new(&other.to_string()).into(),
    }
}

/// Makes grammars for one model's vocabulary.
#[wasm_bindgen]
pub struct WebGrammars {
    grammars: Grammars,
    words: usize,
}

#[wasm_bindgen]
impl WebGrammars {
    /// `bytes`: those of all tokens, one after the other; `lengths`: how many each has; `controls`:
    /// ids of control tokens, whose bytes are names; `ends`: ids that end an answer;
    /// `encode(text)`: its tokens, as the model learned to write it.
    #[wasm_bindgen(constructor)]
    pub fn new(bytes: Vec<u8>, lengths: &[u32], controls: &[u32], ends: Vec<u32>, encode: Function) -> Self {
        let words = mask_words(lengths.len() as u32);
        Self { grammars: Grammars::new(JsWords::new(bytes, lengths, controls, ends, encode)), words }
    }

    /// `spec`: JSON of what an answer must be. An error says the `place` in it.
    pub fn compile(&self, spec: &str) -> Result<WebGrammar, JsValue> {
        let spec: Spec = serde_json::from_str(spec).map_err(|error| JsError::new(&error.to_string()))?;
        Ok(WebGrammar { grammar: self.grammars.compile(&spec).map_err(to_js)?, words: self.words })
    }
}

/// A compiled grammar.
#[wasm_bindgen]
pub struct WebGrammar {
    grammar: Rc<dyn Grammar>,
    words: usize,
}

#[wasm_bindgen]
impl WebGrammar {
    /// What is not enforced, a line each.
    pub fn warnings(&self) -> Vec<String> {
        self.grammar.warnings().to_vec()
    }

    /// Before the first token of an answer.
    pub fn begin(&self) -> Result<WebConstraint, JsValue> {
        Ok(WebConstraint { constraint: self.grammar.begin().map_err(to_js)?, words: self.words })
    }
}

/// How far an answer has come.
#[wasm_bindgen]
pub struct WebConstraint {
    constraint: Box<dyn Constraint>,
    words: usize,
}

#[wasm_bindgen]
impl WebConstraint {
    /// Bit `t % 32` of word `t / 32` for every token `t` that may come next.
    pub fn mask(&mut self) -> Result<Vec<u32>, JsValue> {
        let mut mask = vec![0; self.words];
        self.constraint.mask(&mut mask).map_err(to_js)?;
        Ok(mask)
    }

    /// The answer goes on with this token.
    pub fn accept(&mut self, token: u32) -> Result<(), JsValue> {
        self.constraint.accept(token).map_err(to_js)
    }

    /// Tokens that must come next.
    pub fn forced(&mut self) -> Result<Vec<u32>, JsValue> {
        self.constraint.forced().map_err(to_js)
    }

    /// Whether the answer may end here.
    #[wasm_bindgen(js_name = mayEnd)]
    pub fn may_end(&mut self) -> bool {
        self.constraint.may_end()
    }

    /// Whether it must.
    #[wasm_bindgen(js_name = isFinished)]
    pub fn is_finished(&mut self) -> bool {
        self.constraint.is_finished()
    }
}
