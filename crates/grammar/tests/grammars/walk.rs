//! Random walks under the mask: what an answer may be, without a model.

use std::sync::{Arc, OnceLock};

use peregrine::checkpoint::Checkpoint;
use peregrine::constraint::{Compiler, Constraint, Spec, allows, mask_words};
use peregrine::tokenizer::Tokenizer;
use peregrine_grammar::Grammars;
use pollster::block_on;

/// The tokenizer of the embedded model.
pub fn tokenizer() -> Arc<Tokenizer> {
    static MADE: OnceLock<Arc<Tokenizer>> = OnceLock::new();
    let made = || {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/tiny/peregrine-tiny-chat-Q4_0.gguf");
        let checkpoint = block_on(Checkpoint::open(path)).unwrap();
        Arc::new(Tokenizer::new(&checkpoint.tokenizer, checkpoint.config.vocab_size).unwrap())
    };
    MADE.get_or_init(made).clone()
}

/// Grammars for it.
pub fn grammars() -> &'static Grammars {
    static MADE: OnceLock<Grammars> = OnceLock::new();
    MADE.get_or_init(|| Grammars::new(tokenizer()))
}

pub fn begin(spec: &Spec) -> Box<dyn Constraint> {
    grammars().compile(spec).unwrap_or_else(|error| panic!("{error}")).begin().unwrap()
}

/// What the answer may be next: forced tokens, or a mask.
pub fn mask(constraint: &mut dyn Constraint) -> Vec<u32> {
    let mut mask = vec![0; mask_words(tokenizer().vocab_size())];
    constraint.mask(&mut mask).unwrap();
    mask
}

/// Whether the constraint takes this text, and may end after it; token by token as the tokenizer cuts it.
pub fn takes(spec: &Spec, text: &str) -> bool {
    let mut constraint = begin(spec);
    for token in tokenizer().encode_plain(text).unwrap() {
        if constraint.is_finished() || constraint.accept(token).is_err() {
            return false;
        }
    }
    constraint.may_end()
}

/// The tokens that may come.
pub fn mask_or_error(constraint: &mut dyn Constraint) -> peregrine::Result<Vec<u32>> {
    let mut mask = vec![0; mask_words(tokenizer().vocab_size())];
    constraint.mask(&mut mask)?;
    Ok((0..tokenizer().vocab_size()).filter(|id| allows(&mask, *id)).collect())
}

pub struct Noise(pub u64);

impl Noise {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (((self.0 >> 32) * n as u64) >> 32) as usize
    }
}

/// A text that the constraint lets come: random tokens, and rather those that end something the longer it is. `None` where it does not
/// come to an end.
pub fn walk(spec: &Spec, noise: &mut Noise) -> Option<String> {
    let tokenizer = tokenizer();
    let mut constraint = begin(spec);
    let mut ids = Vec::new();
    let closes = |id: &u32| tokenizer.token_bytes(*id).is_some_and(|b| b.iter().any(|b| b"\"}]".contains(b)));
    let is_short = |id: &u32| tokenizer.token_bytes(*id).is_some_and(|b| b.iter().all(|b| b.is_ascii_graphic()));
    while ids.len() < 1500 {
        if constraint.is_finished() || (constraint.may_end() && noise.below(3) == 0) {
            return Some(tokenizer.decode(&ids, true).unwrap());
        }
        let forced = constraint.forced().unwrap();
        if !forced.is_empty() {
            forced.iter().for_each(|token| constraint.accept(*token).unwrap());
            ids.extend(forced);
            continue;
        }
        let mask = mask(&mut *constraint);
        let allowed: Vec<u32> = (0..tokenizer.vocab_size()).filter(|id| allows(&mask, *id)).collect();
        let allowed: Vec<u32> = allowed.into_iter().filter(|id| !tokenizer.is_end(*id)).collect();
        let closing: Vec<u32> = allowed.iter().copied().filter(closes).collect();
        let plain: Vec<u32> = allowed.iter().copied().filter(is_short).collect();
        let from = match noise.below(100 + ids.len()) {
            at if at > 60 && !closing.is_empty() => &closing,
            at if at > 20 && !plain.is_empty() => &plain,
            _ => &allowed,
        };
        let token = from[noise.below(from.len())];
        constraint.accept(token).unwrap();
        ids.push(token);
    }
    None
}
