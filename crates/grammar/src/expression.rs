//! How large a regular expression is once its repetitions are written out: what its automaton may
//! cost.

use llguidance::regex_to_lark;
use regex_syntax::hir::{Hir, HirKind};

/// Places of an expression, each a byte or a class, with all repetitions written out.
pub const MOST_PLACES: u64 = 16_384;

/// Places of the expression.
///
/// # Errors
/// What is wrong with it.
pub fn places(regex: &str, ascii: &str) -> Result<u64, String> {
    let mut parser = regex_syntax::ParserBuilder::new().nest_limit(100).build();
    let parsed = parser.parse(&regex_to_lark(regex, ascii));
    parsed.map(|hir| count(&hir)).map_err(|error| match error {
        regex_syntax::Error::Parse(error) => error.kind().to_string(),
        regex_syntax::Error::Translate(error) => error.kind().to_string(),
        other => other.to_string(),
    })
}

fn count(hir: &Hir) -> u64 {
    let sum = |all: &[Hir]| all.iter().fold(0u64, |sum, hir| sum.saturating_add(count(hir)));
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 0,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Class(_) => 1,
        HirKind::Capture(capture) => count(&capture.sub),
        HirKind::Concat(all) | HirKind::Alternation(all) => sum(all),
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min.saturating_add(1));
            count(&repetition.sub).saturating_mul(times.into())
        }
    }
}
