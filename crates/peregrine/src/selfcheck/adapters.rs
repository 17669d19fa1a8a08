//! Adapters have kernels and pipelines of their own, which the model's self-check has not seen:
//! before a choice of them answers for the first time on a device, a few tokens are read in every
//! way that it can be computed, and the logits compared. Where who makes an input also multiplies
//! it with A (`shaders/lora/publish.wgsl`) and that is wrong, dispatches of their own do it from
//! then on.

use std::rc::Rc;

use super::{AllLayers, FEW};
use crate::error::{Error, Result};
use crate::gpu::Reading;
use crate::inspect::{Comparison, spread_ids};
use crate::model::Model;
use crate::ops::lora::Adapted;
use crate::session::{Engine, Session};
use crate::state::PAGE;

/// Splits of a context: as many as the linear layers put together, and one more. The last ones are
/// empty.
const SPLITS: [u32; 2] = [2, 3];

/// Looks at a choice of adapters, unless one of the same layout has been looked at.
///
/// # Errors
/// [`Error::SelfCheck`] where no way to compute it is right; what the device says.
pub(crate) async fn check(engine: &Rc<Engine>, adapted: &Rc<Adapted>) -> Result<()> {
    let model = engine.model();
    if !model.target().needs_self_check() {
        return Ok(());
    }
    let _turn = engine.turn_to_check().await;
    if let Some(publishes) = engine.known_layout(adapted.layout()) {
        adapted.allow_publishing(publishes);
        return Ok(());
    }
    let mut session = Session::new(engine)?;
    let few = FEW.min(model.chunk() as usize).min(model.context_length() as usize);
    let ids = spread_ids(model.config().vocab_size, few as u32 + 1);
    let (last, ids) = (ids[few], &ids[..few]);

    adapted.allow_publishing(false);
    session.adapt(Some(adapted.clone())).await?;
    model.turns.free().await;
    let all = AllLayers::submit(&mut session, ids)?;
    let plain = Decoded::submit(&mut session, ids, last)?;
    adapted.allow_publishing(true);
    let published = match adapted.publishes() {
        true => {
            session.adapt(Some(adapted.clone())).await?;
            model.turns.free().await;
            Some(Decoded::submit(&mut session, ids, last)?)
        }
        false => None,
    };

    let both = all.compare(&session).await?;
    if !both.found.is_finite() && !both.expected.is_finite() {
        // They add what f32 does not hold. The answer says so, and there is nothing to compare.
        adapted.allow_publishing(false);
        return Ok(());
    }
    if !both.is_close() {
        let Comparison { stage, found, expected, .. } = both;
        return Err(Error::SelfCheck { detail: format!("with adapters, {stage}: {found:e} and {expected:e}") });
    }
    let publishes = match published {
        Some(published) => plain.is(published, model).await?,
        None => true,
    };
    adapted.allow_publishing(publishes);
    engine.know_layout(adapted.layout(), publishes);
    Ok(())
}

/// Logits of tokens that are read one by one, and of others whose context is cut into splits.
struct Decoded(Vec<Reading>);

impl Decoded {
    fn submit(session: &mut Session, ids: &[u32], last: u32) -> Result<Self> {
        session.reset();
        for id in ids {
            session.step(&[*id], 1)?;
        }
        let mut logits = vec![session.decoder().reading_of_logits(1)];
        let longest = session.engine().model().context_length();
        for splits in SPLITS.into_iter().filter(|splits| longest > (splits - 1) * PAGE) {
            session.step_in_splits(last, splits)?;
            logits.push(session.decoder().reading_of_logits(1));
        }
        session.reset();
        Ok(Self(logits))
    }

    /// Whether another way has the same logits. All of its kernels are the same but those that make
    /// A x.
    async fn is(self, other: Self, model: &Model) -> Result<bool> {
        let tolerance = model.target().tolerance_between_kernels() / 10.0;
        let mut same = true;
        for (expected, found) in self.0.into_iter().zip(other.0) {
            let expected = model.gpu().arrive_once::<f32>(expected).await?;
            let found = model.gpu().arrive_once::<f32>(found).await?;
            same &= Comparison { tolerance, ..Comparison::of("adapters", 1, &found, &expected) }.is_close();
        }
        Ok(same)
    }
}
