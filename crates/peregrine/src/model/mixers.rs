//! The mixers of a layer: what lies between `project_in` and `project_out` on the page in `model.rs`. One token is one dispatch on a
//! GPU; many tokens are `prepare`, `attention` and the SSM heads, chunk by chunk on a GPU and token by token where the CPU computes.

use super::{Layer, Model};
use crate::config::Config;
use crate::gpu::Reduction;
use crate::plan::{Grid, Input, Needed, Norm, Pieces, Recorder, Step, lanes};
use crate::state::{KvType, State};

/// Tokens of a chunk: `CHUNK` in `shaders/ssm/ssd.wgsl`.
pub const SSD_CHUNK: u32 = 64;
/// Queries of a workgroup: `QUERIES` in `shaders/attention/attention_tile.wgsl`.
pub const QUERIES: u32 = 32;
/// The same in `shaders/attention/attention_cooperative.wgsl`.
pub const COOPERATIVE_QUERIES: u32 = 64;

impl Model {
    pub(super) fn prepare(&self, r: &mut Recorder<'_>, state: &State, layer: usize) {
        if r.target().fused() {
            return; // part of the mixers
        }
        let (c, s, l) = (&self.config, &self.scratch, &state.layers[layer]);
        let threads = r.target().elements();
        let elements = c.q_dim() / 2 + c.kv_dim() / 2 + c.conv_dim() + c.mamba_n_heads + 1;
        let groups = elements.div_ceil(threads);
        let mut constants = self.kv_sizes();
        constants.extend(ssm_sizes(c));
        constants.extend([
            ("THREADS", threads.into()),
            ("PROJ_STRIDE", self.strides.proj.into()),
            ("READY_STRIDE", self.strides.ready.into()),
            ("HEAD_DIM", c.head_dim.into()),
            ("D_CONV", c.mamba_d_conv.into()),
        ]);
        let (mamba, pages, control) = (&self.layers[layer].mamba, state.pages.table(), &state.next.control);
        let buffers = [r.step(), &s.proj, &s.rope, &l.conv, mamba, &s.ready, pages, control];
        let grid = Box::new(move |step: &Step| [groups, step.tokens, 1]);
        r.kernel("prepare", "prepare", Reduction::Workgroup, &constants, &buffers, Needed::Always, grid);
        r.with_kv(layer);
    }

    pub(super) fn mixers(&self, r: &mut Recorder<'_>, state: &State, layer: usize) {
        if r.target().fused() {
            return self.step(r, state, layer);
        }
        self.attention(r, state, layer);
        self.ssm(r, state, layer);
    }

    /// One token.
    fn step(&self, r: &mut Recorder<'_>, state: &State, layer: usize) {
        let (c, s, l) = (&self.config, &self.scratch, &state.layers[layer]);
        let shape = r.target().step(c.mamba_d_state);
        let attention = c.num_attention_heads;
        let ssm = c.mamba_n_heads * c.mamba_d_head.div_ceil(shape.threads / shape.lanes);
        let pieces = ("PIECES", self.strides.mixed.into());
        let mut constants = self.kv_sizes();
        constants.extend(ssm_sizes(c));
        constants.extend(state_sizes(c));
        constants.extend(lanes(shape));
        constants.extend([
            ("SSM_OFFSET", self.strides.ssm.into()),
            ("HEAD_DIM", c.head_dim.into()),
            ("Q_PER_KV", (c.num_attention_heads / c.num_key_value_heads).into()),
            ("D_CONV", c.mamba_d_conv.into()),
            pieces,
        ]);
        let (mamba, pages, control) = (&self.layers[layer].mamba, state.pages.table(), &state.next.control);
        let buffers = [r.step(), &s.proj, &s.turns, &l.conv, mamba, pages, &l.ssm, &s.mixed, control];
        let grid = Box::new(move |step: &Step| [attention * step.splits + ssm, 1, 1]);
        r.kernel("mixer", "mixer_step", self.target.reduction, &constants, &buffers, Needed::Always, grid);
        r.with_kv(layer);
        let constants = [("THREADS", 256.0), pieces, ("HEAD_DIM", c.head_dim.into())];
        let grid = Box::new(move |_: &Step| [attention, 1, 1]);
        r.kernel("mixer", "merge", Reduction::Workgroup, &constants, &[r.step(), &s.mixed], Needed::Splits, grid);
    }

    fn attention(&self, r: &mut Recorder<'_>, state: &State, layer: usize) {
        let (c, s) = (&self.config, &self.scratch);
        let mut constants = self.kv_sizes();
        constants.extend([
            ("READY_STRIDE", self.strides.ready.into()),
            ("MIXED_STRIDE", self.strides.mixed.into()),
            ("HEADS", c.num_attention_heads.into()),
            ("HEAD_DIM", c.head_dim.into()),
            ("Q_PER_KV", (c.num_attention_heads / c.num_key_value_heads).into()),
        ]);
        let (heads, slices) = (c.num_attention_heads, c.head_dim.div_ceil(128));
        let fits = c.head_dim <= 128 && c.head_dim.is_multiple_of(16);
        let (kernel, queries, slices) = match (s.ssd.is_some(), self.target.cooperative && fits) {
            (true, true) => ("attention_cooperative", COOPERATIVE_QUERIES, 1),
            (true, false) => ("attention_tile", QUERIES, slices),
            (false, _) => ("attention", 1, 1),
        };
        let grid = Box::new(move |step: &Step| [heads * step.tokens.div_ceil(queries), slices, 1]);
        let buffers = [r.step(), &s.ready, state.pages.table(), &s.mixed];
        r.kernel("attention", kernel, Reduction::Workgroup, &constants, &buffers, Needed::Always, grid);
        r.with_kv(layer);
    }

    fn ssm(&self, r: &mut Recorder<'_>, state: &State, layer: usize) {
        let (c, s, l) = (&self.config, &self.scratch, &state.layers[layer]);
        let mamba = &self.layers[layer].mamba;
        let proj = ("PROJ_STRIDE", self.strides.proj.into());
        let ready = ("READY_STRIDE", self.strides.ready.into());
        let columns = ("COLUMNS", (c.q_dim() + 2 * c.kv_dim() + c.mamba_d_ssm).into());
        let mixed = [("MIXED_STRIDE", self.strides.mixed.into()), ("SSM_OFFSET", self.strides.ssm.into())];
        let conv = ("D_CONV", c.mamba_d_conv.into());
        let sizes = || ssm_sizes(c).into_iter().chain(state_sizes(c));
        let mut run = |kernel, constants: &[(&'static str, f64)], buffers: &[&wgpu::Buffer], grid: Grid| {
            r.kernel("ssm", kernel, Reduction::Workgroup, constants, buffers, Needed::Always, grid);
        };
        let step = &self.step;
        let Some(ssd) = &s.ssd else {
            let threads = 32;
            let groups = c.mamba_d_ssm.div_ceil(threads);
            let constants: Vec<_> =
                sizes().chain([proj, ready, columns, conv, ("THREADS", threads.into())]).chain(mixed).collect();
            let buffers = [step, &s.proj, &s.ready, mamba, &l.conv, &l.ssm, &s.mixed];
            return run("selective_scan", &constants, &buffers, Box::new(move |_| [groups, 1, 1]));
        };
        let (heads, p_tiles) = (c.mamba_n_heads, c.mamba_d_head.div_ceil(64));
        // Whole tiles, in rows that begin at fours.
        let whole = [c.mamba_d_head % 64, c.mamba_d_state % 64, c.q_dim() % 4] == [0; 3];
        let cooperative = self.target.cooperative && whole;
        let (states, output) = match cooperative {
            true => ("ssd_states_cooperative", "ssd_output_cooperative"),
            false => ("ssd_states", "ssd_output"),
        };
        let n_tiles = c.mamba_d_state.div_ceil(if cooperative && c.mamba_d_state % 128 == 0 { 128 } else { 64 });
        let chunks = |step: &Step| step.tokens.div_ceil(SSD_CHUNK);
        let constants: Vec<_> = sizes().chain([ready, conv]).collect();
        let groups = heads * p_tiles * n_tiles + c.mamba_n_groups;
        let buffers = [step, &s.ready, mamba, &ssd.states, &ssd.products, &ssd.decays];
        run(states, &constants, &buffers, Box::new(move |step| [groups, chunks(step), 1]));
        let constants: Vec<_> =
            sizes().filter(|(name, _)| !["G", "D_SSM"].contains(name)).chain([proj, columns, conv]).collect();
        let groups = (c.mamba_d_ssm * c.mamba_d_state / 4).div_ceil(64);
        let buffers = [step, &s.ready, &ssd.decays, &ssd.states, &l.ssm, &s.proj, &l.conv];
        run("ssd_pass", &constants, &buffers, Box::new(move |_| [groups, 1, 1]));
        let constants: Vec<_> = sizes().chain([proj, ready, columns, conv]).chain(mixed).collect();
        let groups = heads * p_tiles;
        let buffers = [step, &s.ready, mamba, &ssd.states, &ssd.products, &ssd.decays, &s.proj, &s.mixed];
        run(output, &constants, &buffers, Box::new(move |step| [groups, chunks(step), 1]));
    }

    pub(super) fn gated_norm<'a>(&'a self, r: &mut Recorder<'_>, layer: &'a Layer) -> Input<'a> {
        let (c, s) = (&self.config, &self.scratch);
        let (first, q_dim, head_dim) = (self.strides.mixed, c.q_dim(), c.head_dim);
        let pieces = r.target().fused().then_some(Pieces { first, q_dim, head_dim });
        let mixed = Input { pieces, ..Input::of(&s.mixed) };
        let Some(weight) = &layer.mamba_norm else {
            return mixed;
        };
        let (groups, width, offset) = (c.mamba_n_groups, c.mamba_d_ssm / c.mamba_n_groups, self.strides.ssm);
        let norm = Norm { weight, offset, width, stride: self.strides.mixed, eps: c.rms_norm_eps };
        if r.target().fused() && groups == 1 {
            return Input { norm: Some(norm), ..mixed };
        }
        let mut constants = lanes(r.target().norm(width));
        constants.extend([
            ("WIDTH", width.into()),
            ("STRIDE", norm.stride.into()),
            ("OFFSET", offset.into()),
            ("EPS", norm.eps.into()),
        ]);
        let grid = Box::new(move |step: &Step| [step.tokens, groups, 1]);
        let buffers = [weight, &s.mixed];
        r.kernel("gated_norm", "gated_norm", Reduction::Workgroup, &constants, &buffers, Needed::Always, grid);
        mixed
    }

    fn kv_sizes(&self) -> Vec<(&'static str, f64)> {
        let mut sizes = vec![("KV_DIM", self.config.kv_dim().into())];
        if self.target.kv == KvType::Q8 {
            sizes.push(("KV_FOURS", (KvType::block(self.config.head_dim) / 4).into()));
        }
        sizes
    }
}

/// Of a row of `ready`.
fn ssm_sizes(c: &Config) -> [(&'static str, f64); 4] {
    [
        ("Q_DIM", c.q_dim().into()),
        ("D_SSM", c.mamba_d_ssm.into()),
        ("CONV_DIM", c.conv_dim().into()),
        ("SSM_HEADS", c.mamba_n_heads.into()),
    ]
}

/// Of the SSM states.
fn state_sizes(c: &Config) -> [(&'static str, f64); 3] {
    [("P", c.mamba_d_head.into()), ("N", c.mamba_d_state.into()), ("G", c.mamba_n_groups.into())]
}
