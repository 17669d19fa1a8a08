//! Where a step's time goes: the GPU's own clock around each stage of the page.
//!
//! A stage is timed with the dispatches of all layers one after the other in one pass. Each writes what the next one of its kind
//! writes too, so they wait for each other as they do in a token, and the time of one includes what a barrier costs. The sum
//! over the stages is therefore close to the time of the whole step, which is measured as well.

use crate::error::{Error, Result};
use crate::plan::Dispatch;
use crate::session::Session;

/// One stage of the page, all layers together.
#[derive(Clone, Debug)]
pub struct StageTime {
    /// The line of the page; "step" for all of it.
    pub name: &'static str,
    /// Dispatches.
    pub dispatches: u32,
    /// Seconds on the GPU.
    pub seconds: f64,
    /// Bytes of weights that were read.
    pub weight_bytes: u64,
}

/// Runs a step of `tokens` tokens at the session's position stage by stage, `repeat` times, and gives each stage's median. The
/// session is reset afterwards: its states have become meaningless.
///
/// # Errors
/// [`Error::Unsupported`] on a device without timestamps; what the device says.
pub async fn profile(session: &mut Session, tokens: u32, repeat: u32) -> Result<Vec<StageTime>> {
    let ids = vec![0; tokens as usize];
    let step = session.begin_step(&ids, 1)?;
    let gpu = session.engine().model().gpu().clone();
    let plan = session.plan(tokens > 1);
    let kv = session.engine().model().kv();
    let is_needed = |d: &&Dispatch| d.is_needed(&step, true);
    let mut names: Vec<&'static str> = Vec::new();
    for dispatch in plan.dispatches().iter().filter(is_needed) {
        if !names.contains(&dispatch.stage.name) {
            names.push(dispatch.stage.name);
        }
    }
    let mut times = Vec::new();
    for name in std::iter::once("step").chain(names) {
        let of_stage = |d: &&Dispatch| name == "step" || d.stage.name == name;
        let stage: Vec<&Dispatch> = plan.dispatches().iter().filter(is_needed).filter(of_stage).collect();
        let mut seconds = Vec::new();
        for _ in 0..=repeat {
            let timed = gpu.timed(|pass| stage.iter().for_each(|dispatch| dispatch.encode(pass, &step, kv))).await?;
            seconds.push(timed.ok_or_else(|| Error::Unsupported {
                name: gpu.name().into(),
                field: "timestamp-query".into(),
                expected: "a device with timestamps".into(),
                found: "none".into(),
            })?);
        }
        // The first run may have found the clocks low.
        let mut seconds = seconds.split_off(1);
        seconds.sort_by(f64::total_cmp);
        let weight_bytes = stage.iter().map(|d| d.weight_bytes).sum();
        times.push(StageTime {
            name,
            dispatches: stage.len() as u32,
            seconds: seconds[seconds.len() / 2],
            weight_bytes,
        });
    }
    session.reset();
    Ok(times)
}
