//! What a layer leaves behind after a step.

use super::Runner;
use crate::error::Result;
use crate::gpu::{Gpu, Reading};
use crate::state::{KvType, columns};

/// The states of one layer.
pub struct LayerStates {
    /// \[T, nkv, hd\] of all positions, as they are kept.
    pub keys: Vec<f32>,
    /// The same of the values.
    pub values: Vec<f32>,
    /// The last K - 1 columns before the convolution, oldest first: \[conv_dim, K - 1\].
    pub conv: Vec<f32>,
    /// \[heads, P, N\], one head after the other.
    pub ssm: Vec<f32>,
}

/// The same on its way to the host.
pub struct CopiedStates {
    cache: [Reading; 2],
    conv: Reading,
    ssm: Reading,
    kv: KvType,
    head_dim: u32,
    taps: u32,
    end: u32,
}

impl Runner<'_> {
    /// Copies what a layer has left behind after this step, before what follows overwrites it; of
    /// the SSM heads only some, where `heads` names them.
    pub fn copied_states(&self, layer: u32, heads: Option<&[u32]>) -> CopiedStates {
        let (model, state) = (self.session().engine().model(), self.session().state());
        let (gpu, c, layer) = (model.gpu(), model.config(), layer as usize);
        let (end, ssm) = (self.step().position + self.step().tokens, &state.layers[layer].ssm);
        let per_head = 4 * u64::from(c.mamba_d_head * c.mamba_d_state);
        let places: Vec<_> = match heads {
            Some(heads) => heads.iter().map(|head| (ssm.clone(), u64::from(*head) * per_head, per_head)).collect(),
            None => vec![(ssm.clone(), 0, u64::from(c.mamba_n_heads) * per_head)],
        };
        CopiedStates {
            cache: state.copy_keys_and_values(gpu, layer, end),
            conv: state.copy_convolution(gpu, c, layer),
            ssm: gpu.reading_of(&places),
            kv: model.target().kv,
            head_dim: c.head_dim,
            taps: c.mamba_d_conv,
            end,
        }
    }
}

impl CopiedStates {
    /// All of it, once it is here.
    ///
    /// # Errors
    /// What the device says.
    pub async fn arrive(self, gpu: &Gpu) -> Result<LayerStates> {
        let [keys, values] = self.cache;
        let [keys, values] = [gpu.arrive_once::<u8>(keys).await?, gpu.arrive_once::<u8>(values).await?]
            .map(|bytes| self.kv.decode(&bytes, self.head_dim));
        let conv = columns(&gpu.arrive_once::<f32>(self.conv).await?, self.taps, self.end);
        Ok(LayerStates { keys, values, conv, ssm: gpu.arrive_once::<f32>(self.ssm).await? })
    }
}
