//! Names, shapes and multipliers of the tensors: how a checkpoint becomes the matrices of the page.
//! What is uploaded, and what [`super::footprint`] counts, are these same lists.

use super::Strides;
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::Result;
use crate::weights::{MatrixSpec, PartSpec};

/// The matrices of one layer.
pub(super) struct LayerSpec<'a> {
    pub w_in: MatrixSpec<'a>,
    pub w_out: MatrixSpec<'a>,
    pub mlp_in: MatrixSpec<'a>,
    pub mlp_out: MatrixSpec<'a>,
}

impl<'a> LayerSpec<'a> {
    pub fn all(&self) -> [&MatrixSpec<'a>; 4] {
        [&self.w_in, &self.w_out, &self.mlp_in, &self.mlp_out]
    }
}

/// Makes the lists.
#[derive(Clone, Copy)]
pub(super) struct Recipe<'a> {
    pub checkpoint: &'a Checkpoint,
    pub strides: Strides,
}

impl<'a> Recipe<'a> {
    pub fn of(checkpoint: &'a Checkpoint) -> Self {
        Self { checkpoint, strides: Strides::of(&checkpoint.config) }
    }

    fn config(&self) -> &'a Config {
        &self.checkpoint.config
    }

    fn part(&self, tensor: &str, rows: u32, first_row: u32, x: u32, scale: f32) -> Result<PartSpec<'a>> {
        Ok(PartSpec { tensor: self.checkpoint.tensor(tensor)?, tensor_row: 0, rows, first_row, x, scale, sum: 0 })
    }

    pub fn embed_tokens(&self) -> Result<MatrixSpec<'a>> {
        let c = self.config();
        let part = self.part("model.embed_tokens.weight", c.vocab_size, 0, 0, c.embedding_multiplier)?;
        Ok(MatrixSpec { label: "embed_tokens", parts: vec![part], strides: (0, self.strides.hidden) })
    }

    /// `None` where the embedding is the LM head, too.
    pub fn lm_head(&self) -> Result<Option<MatrixSpec<'a>>> {
        let c = self.config();
        if c.tie_word_embeddings {
            return Ok(None);
        }
        let part = self.part("lm_head.weight", c.vocab_size, 0, 0, c.lm_head_multiplier)?;
        Ok(Some(MatrixSpec { label: "lm_head", parts: vec![part], strides: (self.strides.hidden, c.vocab_size) }))
    }

    pub fn layer(&self, i: u32) -> Result<LayerSpec<'a>> {
        let (c, s) = (self.config(), &self.strides);
        let name = |suffix: &str| format!("model.layers.{i}.{suffix}");
        let (q, kv, a) = (c.q_dim(), c.kv_dim(), c.attention_in_multiplier);
        let mut w_in = vec![
            self.part(&name("self_attn.q_proj.weight"), q, 0, 0, a)?,
            self.part(&name("self_attn.k_proj.weight"), kv, q, 0, a * c.key_multiplier)?,
            self.part(&name("self_attn.v_proj.weight"), kv, q + kv, 0, a)?,
        ];
        w_in.extend(self.in_proj(&name("mamba.in_proj.weight"), q + 2 * kv)?);
        let down = self.part(&name("feed_forward.down_proj.weight"), c.hidden_size, 0, 0, c.mlp_multipliers[1])?;
        let gate =
            self.part(&name("feed_forward.gate_proj.weight"), c.intermediate_size, 0, 0, c.mlp_multipliers[0])?;
        let mut up = self.part(&name("feed_forward.up_proj.weight"), c.intermediate_size, 0, 0, 1.0)?;
        up.sum = 1;
        let w_out = vec![
            self.part(&name("self_attn.o_proj.weight"), c.hidden_size, 0, 0, c.attention_out_multiplier)?,
            self.part(&name("mamba.out_proj.weight"), c.hidden_size, 0, s.ssm, c.ssm_out_multiplier)?,
        ];
        let spec = |label, parts, strides| MatrixSpec { label, parts, strides };
        Ok(LayerSpec {
            w_in: spec("w_in", w_in, (s.hidden, s.proj)),
            w_out: spec("w_out", w_out, (s.mixed, s.hidden)),
            mlp_in: spec("mlp_in", vec![gate, up], (s.hidden, s.ff)),
            mlp_out: spec("mlp_out", vec![down], (s.ff, s.hidden)),
        })
    }

    /// The sections z, x, B, C, dt of in_proj, each with its multiplier; neighbors with the same
    /// one are one part.
    fn in_proj(&self, tensor: &str, first_row: u32) -> Result<Vec<PartSpec<'a>>> {
        let c = self.config();
        let state = c.mamba_n_groups * c.mamba_d_state;
        let sections = [c.mamba_d_ssm, c.mamba_d_ssm, state, state, c.mamba_n_heads];
        let mut parts: Vec<PartSpec<'a>> = Vec::new();
        let mut row = 0;
        for (rows, multiplier) in sections.into_iter().zip(c.ssm_multipliers) {
            let scale = c.ssm_in_multiplier * multiplier;
            match parts.last_mut() {
                Some(last) if last.scale == scale => last.rows += rows,
                _ => {
                    let mut part = self.part(tensor, rows, first_row + row, 0, scale)?;
                    part.tensor_row = row;
                    parts.push(part);
                }
            }
            row += rows;
        }
        Ok(parts)
    }
}
