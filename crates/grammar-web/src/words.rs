//! A vocabulary that came through JavaScript.

use std::cell::RefCell;
use std::collections::HashSet;

use js_sys::{Function, Uint32Array};
use peregrine_grammar::Words;
use wasm_bindgen::prelude::*;

thread_local! {
    // llguidance wants what threads may share, and a function of JavaScript belongs to its own:
    // here it is found again.
    static ENCODERS: RefCell<Vec<Option<Function>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes, and who encodes.
pub struct JsWords {
    bytes: Vec<u8>,
    /// Where each token's bytes end.
    ends_at: Vec<usize>,
    controls: HashSet<u32>,
    ends: Vec<u32>,
    encoder: usize,
}

impl JsWords {
    pub fn new(bytes: Vec<u8>, lengths: &[u32], controls: &[u32], ends: Vec<u32>, encode: Function) -> Self {
        let mut end = 0;
        let ends_at = lengths.iter().map(|length| {
            end = bytes.len().min(end + *length as usize);
            end
        });
        let ends_at = ends_at.collect();
        let encoder = ENCODERS.with_borrow_mut(|encoders| {
            encoders.push(Some(encode));
            encoders.len() - 1
        });
        Self { bytes, ends_at, controls: controls.iter().copied().collect(), ends, encoder }
    }
}

impl Drop for JsWords {
    fn drop(&mut self) {
        ENCODERS.with_borrow_mut(|encoders| encoders[self.encoder] = None);
    }
}

impl Words for JsWords {
    fn vocab_size(&self) -> u32 {
        self.ends_at.len() as u32
    }

    fn end_tokens(&self) -> &[u32] {
        &self.ends
    }

    fn bytes(&self, id: u32) -> Vec<u8> {
        let at = id as usize;
        let begin = at.checked_sub(1).map_or(0, |before| self.ends_at[before]);
        self.bytes[begin..self.ends_at[at]].to_vec()
    }

    fn is_control(&self, id: u32) -> bool {
        self.controls.contains(&id)
    }

    fn encode(&self, text: &str) -> Option<Vec<u32>> {
        let encoder = ENCODERS.with_borrow(|encoders| encoders.get(self.encoder).cloned().flatten())?;
        let ids = encoder.call1(&JsValue::NULL, &text.into()).ok()?;
        Some(ids.dyn_into::<Uint32Array>().ok()?.to_vec())
    }
}
