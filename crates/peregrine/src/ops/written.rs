//! What each operation writes: where, and which sections of a row mean something.

use super::Op;
use crate::model::Model;

/// An operation's output.
pub struct Written<'a> {
    /// Its buffer.
    pub buffer: &'a wgpu::Buffer,
    /// Rows.
    pub rows: u32,
    /// Floats from row to row.
    pub stride: u32,
    /// In the order of a row.
    pub sections: Vec<Section>,
    /// Whether it adds to what is there.
    pub adds: bool,
}

/// Values of one kind in a row: compared by themselves, since a small thing beside a large one
/// could hide.
pub struct Section {
    /// What they are; empty where a row has only these.
    pub name: &'static str,
    /// The first float.
    pub first: u32,
    /// Where it begins in the twin's row, which has no gaps.
    pub twin: u32,
    /// Floats.
    pub len: u32,
}

/// Sections, laid one after the other.
fn row(sections: &[(&'static str, u32)]) -> Vec<Section> {
    let mut first = 0;
    let section = |(name, len): &(&'static str, u32)| {
        first += len;
        Section { name, first: first - len, twin: first - len, len: *len }
    };
    sections.iter().map(section).collect()
}

impl Model {
    /// What `op` writes in a step of so many tokens with one row of logits; `None` where the next
    /// token is sampled, which is no row of floats.
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn written(&self, op: Op, tokens: u32) -> Option<Written<'_>> {
        let (c, s, b) = (&self.config, &self.strides, &self.scratch);
        let (q, kv, ssm) = (c.q_dim(), c.kv_dim(), c.mamba_d_ssm);
        let (state, heads) = (c.mamba_n_groups * c.mamba_d_state, c.mamba_n_heads);
        let attention = || Section { name: "attention", first: 0, twin: 0, len: q };
        let ssm_heads = || Section { name: "SSM", first: s.ssm, twin: q, len: ssm };
        let hidden = || row(&[("", c.hidden_size)]);
        let (buffer, stride, sections) = match op {
            Op::Embed | Op::ProjectOut | Op::MlpOut => (&b.h, s.hidden, hidden()),
            Op::InputNorm | Op::MlpNorm | Op::FinalNorm => (&b.u, s.hidden, hidden()),
            Op::ProjectIn => {
                let kinds = [("q", q), ("k", kv), ("v", kv), ("z", ssm), ("x", ssm)];
                (&b.proj, s.proj, row(&[&kinds[..], &[("B", state), ("C", state), ("dt", heads)]].concat()))
            }
            Op::Prepare => {
                let kinds = [("q", q), ("x", ssm), ("B", state), ("C", state), ("delta", heads)];
                (&b.ready, s.ready, row(&[&kinds[..], &[("exp(delta A)", heads)]].concat()))
            }
            Op::Mixer | Op::GatedNorm => (&b.mixed, s.mixed, vec![attention(), ssm_heads()]),
            Op::Attention => (&b.mixed, s.mixed, vec![attention()]),
            Op::Ssm => (&b.mixed, s.mixed, vec![ssm_heads()]),
            Op::MlpIn => (&b.ff, s.ff, row(&[("", c.intermediate_size)])),
            Op::LmHead => (&b.logits, c.vocab_size, row(&[("", c.vocab_size)])),
            Op::Sample => return None,
        };
        let rows = match op.rows() {
            super::Rows::All => tokens,
            super::Rows::Logits => 1,
        };
        Some(Written { buffer, rows, stride, sections, adds: op.adds() })
    }
}
