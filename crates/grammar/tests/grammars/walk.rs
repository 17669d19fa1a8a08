//! Random walks under the mask: what an answer may be, without a model.

use std::sync::{Arc, OnceLock};

use peregrine::checkpoint::Checkpoint;
use peregrine::constraint::{Compiler, Constraint, Grammar, Spec, allow, allows, mask_words};
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

/// Whether the constraint takes this text, and may end after it; token by token as the tokenizer
/// cuts it.
pub fn takes(spec: &Spec, text: &str) -> bool {
    takes_of(&*grammars().compile(spec).unwrap_or_else(|error| panic!("{error}")), text)
}

/// The same, of a compiled grammar.
pub fn takes_of(grammar: &dyn Grammar, text: &str) -> bool {
    let mut constraint = grammar.begin().unwrap();
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

/// Tokens of one kind, as a mask.
struct Kinds {
    /// Any but those that end an answer.
    going_on: Vec<u32>,
    /// With a quote or a bracket that closes something.
    closing: Vec<u32>,
    /// Letters of ASCII alone.
    plain: Vec<u32>,
}

fn kinds() -> &'static Kinds {
    static MADE: OnceLock<Kinds> = OnceLock::new();
    MADE.get_or_init(|| {
        let tokenizer = tokenizer();
        let of = |is: &dyn Fn(u32, &[u8]) -> bool| {
            let mut mask = vec![0; mask_words(tokenizer.vocab_size())];
            for id in 0..tokenizer.vocab_size() {
                let bytes = tokenizer.token_bytes(id).unwrap_or_default();
                allow(&mut mask, id, !tokenizer.is_end(id) && is(id, &bytes));
            }
            mask
        };
        Kinds {
            going_on: of(&|_, _| true),
            closing: of(&|_, bytes| bytes.iter().any(|b| b"\"}]".contains(b))),
            plain: of(&|_, bytes| bytes.iter().all(u8::is_ascii_graphic)),
        }
    })
}

/// One of the tokens that both masks have.
fn one_of(mask: &[u32], kind: &[u32], noise: &mut Noise) -> Option<u32> {
    let both = || mask.iter().zip(kind).map(|(a, b)| a & b);
    let count = both().map(u32::count_ones).sum::<u32>() as usize;
    let mut left = if count == 0 { return None } else { noise.below(count) as u32 };
    for (at, mut word) in both().enumerate() {
        let here = word.count_ones();
        if left < here {
            (0..left).for_each(|_| word &= word - 1);
            return Some(at as u32 * 32 + word.trailing_zeros());
        }
        left -= here;
    }
    None
}

/// A text that the constraint lets come: random tokens, and rather those that end something the
/// longer it is. `None` where it does not come to an end.
pub fn walk(grammar: &dyn Grammar, noise: &mut Noise) -> Option<String> {
    let (tokenizer, kinds) = (tokenizer(), kinds());
    let mut constraint = grammar.begin().unwrap();
    let mut ids = Vec::new();
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
        let first = match noise.below(100 + ids.len()) {
            at if at > 60 => &kinds.closing,
            at if at > 20 => &kinds.plain,
            _ => &kinds.going_on,
        };
        let token = [first, &kinds.plain, &kinds.going_on].iter().find_map(|kind| one_of(&mask, kind, noise));
        let token = token.expect("a token that may come");
        constraint.accept(token).unwrap();
        ids.push(token);
    }
    None
}
