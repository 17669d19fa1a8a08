//! How well a model predicts a text.

use peregrine::session::Session;
use peregrine::{Error, Result};

/// What a text costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Perplexity {
    /// Tokens that were predicted: all but the first.
    pub tokens: u32,
    /// Sum of -ln p over them.
    pub nats: f64,
}

impl Perplexity {
    /// e to the mean of -ln p: among so many equally likely tokens the model chose, on average.
    pub fn perplexity(&self) -> f64 {
        (self.nats / f64::from(self.tokens.max(1))).exp()
    }
}

/// -ln of the probability that `logits` \[V\] give to `token`.
fn surprise(logits: &[f32], token: u32) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|v| f64::from(v - largest).exp()).sum();
    logits.get(token as usize).map_or(f64::INFINITY, |v| total.ln() - f64::from(v - largest))
}

/// The perplexity of `ids`. At most `window` tokens are read in one go; each further window begins
/// half a window earlier, so that all its tokens have at least that much before them. `progress`
/// hears how many tokens are done.
///
/// # Errors
/// [`Error::Argument`] for fewer than two tokens, or a window below 2 or above the context;
/// [`Error::Sampling`] where a logit is not a number; what the device says.
pub async fn perplexity(
    session: &mut Session,
    ids: &[u32],
    window: u32,
    progress: &mut dyn FnMut(u32),
) -> Result<Perplexity> {
    let (context, chunk) = (session.engine().model().context_length(), session.engine().model().chunk());
    let argument =
        |field: &str, expected: String, found: String| Error::Argument { field: field.into(), expected, found };
    if ids.len() < 2 {
        return Err(argument("text", "at least two tokens".into(), ids.len().to_string()));
    }
    if !(2..=context).contains(&window) {
        return Err(argument("window", format!("2 to {context} tokens"), window.to_string()));
    }
    let (window, mut sum, mut predicted) = (window as usize, Perplexity::default(), 1);
    while predicted < ids.len() {
        let from = if predicted == 1 { 0 } else { predicted - (window / 2).max(1) };
        let to = (from + window).min(ids.len());
        // The logits after a token are about the next.
        let wanted = &ids[predicted..to];
        let mut next = wanted.iter();
        session.reset();
        let mut on_row = |row: &[f32]| {
            sum.nats += next.next().map_or(0.0, |token| surprise(row, *token));
            sum.tokens += 1;
        };
        session.forward(&ids[from..to - 1], chunk, wanted.len() as u32, &mut on_row).await?;
        predicted = to;
        progress(sum.tokens);
    }
    match sum.nats.is_finite() {
        true => Ok(sum),
        false => Err(Error::Sampling {
            field: "logits".into(),
            expected: "numbers".into(),
            found: "NaN or an infinity".into(),
        }),
    }
}
