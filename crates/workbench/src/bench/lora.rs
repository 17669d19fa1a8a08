//! What adapters cost: the same prompt and answer with them and without, by turns in the same run.

use peregrine::Result;
use peregrine::adapter::AdapterId;
use peregrine::session::Session;
use serde_json::{Value, json};

use super::{BenchOptions, Run, median};

/// Prefill and decode with the session's adapters and without: medians over the runs. Afterwards it
/// has them again.
///
/// # Errors
/// What the device says.
pub async fn adapted(session: &mut Session, options: &BenchOptions) -> Result<Value> {
    let chosen: Vec<(AdapterId, f32)> = session.adapters().iter().map(|chosen| (chosen.id, chosen.scale)).collect();
    let choices = [&[][..], &chosen];
    let mut runs: [Vec<Run>; 2] = Default::default();
    for run in 0..=options.repeat {
        for (choice, runs) in choices.into_iter().zip(&mut runs) {
            session.set_adapters(choice).await?;
            let measured = Run::measure(session, options).await?;
            // The first warms up.
            if run > 0 {
                runs.push(measured);
            }
        }
    }
    let tokens = f64::from(options.gen_tokens - 1);
    let [plain, with] = runs.map(|runs| {
        let of = |value: fn(&Run) -> f64| median(runs.iter().map(value).collect());
        (f64::from(options.prompt_tokens) / of(|run| run.prefill), of(Run::decode) / tokens * 1e3)
    });
    Ok(json!({
        "plain_prefill_tokens_per_second": plain.0,
        "prefill_tokens_per_second": with.0,
        "prefill_ratio": plain.0 / with.0,
        "plain_decode_milliseconds_per_token": plain.1,
        "decode_milliseconds_per_token": with.1,
        "decode_ratio": with.1 / plain.1,
    }))
}
