//! How fast a device will write, before it has written anything.

use std::rc::Rc;

use super::{Engine, Session};
use crate::error::Result;
use crate::gpu::Instant;
use crate::ops::Op;
use crate::plan;

/// Seconds of a look, and how many there are: a browser makes a module's code fast only once it has
/// run for some time.
const LOOK: f64 = 0.01;
const LOOKS: u32 = 5;

/// Tokens a second of an answer, by the time that the first layer takes: a token's time is that of
/// the weights which it reads. For the processor, which has computed when a submission returns.
///
/// # Errors
/// What the device says.
pub async fn expected_speed(engine: &Rc<Engine>) -> Result<f64> {
    let mut session = Session::new(engine)?;
    let step = session.begin_step(&[0], 1)?;
    let dispatches = session.decoder.plan(false).dispatches();
    let layer = dispatches.iter().take_while(|d| d.stage.layer.is_none_or(|layer| layer == 0)).count();
    // The embedding is read for one row.
    let read = |d: &&plan::Dispatch| d.stage.op != Op::Embed;
    let bytes = |count: usize| dispatches[..count].iter().filter(read).map(|d| d.weight_bytes).sum::<u64>() as f64;
    let share = bytes(layer) / bytes(dispatches.len());
    let mut seconds = 0.0;
    // The last one counts.
    for _ in 0..LOOKS {
        let (begun, mut runs) = (Instant::now(), 0);
        while runs == 0 || Instant::now().since(begun) < LOOK {
            session.decoder.submit(&step, plan::SamplingMode::Host, 0..layer);
            runs += 1;
        }
        engine.model.gpu().sync().await?;
        seconds = Instant::now().since(begun) / f64::from(runs);
    }
    // A clock may stand still for that long.
    Ok(share / seconds.max(1e-6))
}
