//! Logits that are no numbers: an error that says where, never a token.

use super::Session;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::state::State;

impl Session {
    /// Looks at the logits of the last token, as the model gave them: before biases, penalties and
    /// masks. Where one is NaN or infinite, everything that was read is forgotten, snapshots too,
    /// since what they hold may be as wrong.
    ///
    /// # Errors
    /// [`Error::NotFinite`], with the first stage that is wrong as far as the states tell.
    pub(super) async fn expect_numbers(&mut self) -> Result<()> {
        let Some(token) = self.logits.iter().position(|logit| !logit.is_finite()) else {
            return Ok(());
        };
        let found = self.logits[token];
        let stage = first_not_finite(self.engine.model.gpu(), &self.decoder.state).await?;
        self.reset();
        Err(Error::NotFinite { stage, token: token as u32, found })
    }
}

/// The first place of the model, layer by layer, whose state holds something that is no number;
/// else what comes after the layers.
async fn first_not_finite(gpu: &Gpu, state: &State) -> Result<String> {
    let wrong = |values: &[f32]| values.iter().any(|v| !v.is_finite());
    // Positions that there are keys and values for.
    let covered = state.position.min(state.capacity());
    for (i, layer) in state.layers.iter().enumerate() {
        // What the convolution keeps is what project_in made of the layer's input.
        let conv = gpu.read(&layer.conv, 0, layer.conv.size() / 4).await?;
        let [keys, values] = state.keys_and_values(gpu, i, 0, covered).await?;
        if [conv, keys, values].iter().any(|v| wrong(v)) {
            return Ok(format!("layer {i}, project_in, or what comes before it"));
        }
        if wrong(&gpu.read(&layer.ssm, 0, layer.ssm.size() / 4).await?) {
            return Ok(format!("layer {i}, SSM state"));
        }
    }
    Ok("what follows the last layer's states: its output, the final norm or lm_head".into())
}
