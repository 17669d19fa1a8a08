//! A step looked at from inside: run stage by stage, what each stage writes read back, and
//! compared.
//!
//! The self-check of the runtime and the workbench's `check` both look this way; neither reads a
//! buffer by itself.

mod comparison;
mod neighbors;
mod runner;
mod states;

pub use self::comparison::{Comparison, TOLERANCE, TOLERANCE_F16};
pub use self::neighbors::round_like_the_gpu;
pub use self::runner::{Copied, Runner, misplaced, missing};
pub use self::states::{CopiedStates, LayerStates};

/// `tokens` ids spread over the vocabulary, the same every time.
pub fn spread_ids(vocab_size: u32, tokens: u32) -> Vec<u32> {
    (1..=u64::from(tokens)).map(|i| (i * 2_654_435_761 % u64::from(vocab_size)) as u32).collect()
}
