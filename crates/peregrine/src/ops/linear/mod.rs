//! Linear layers: a matrix in parts of any block format, times one token or many; what is read may
//! still want its norm, and what is written is stored, added, or the SwiGLU of two sums.

pub mod reference;
pub(super) mod splits;
pub(super) mod team;

use super::lora::{Adapted, GpuLora, Site};
use super::norm::Norm;
use super::{Op, Recorder, Rows};
use crate::config::Config;
use crate::kernels::{constants, kernels};
use crate::plan::{Needed, Step};
use crate::weights::{GpuMatrix, Matrix, Slab};

use splits::Tile;
pub use splits::{MatmulSum, Splits};
pub use team::{AttentionSplits, Epsilon, MatvecTeam, MatvecTeamLora, Table, Team};

constants! {
    /// The block formats that a pipeline keeps of all.
    Formats {
        /// How many.
        FORMATS: u32,
        /// GGUF's number of the first.
        FORMAT_0: Option<u32>,
        /// Of the second.
        FORMAT_1: Option<u32>,
        /// Of the third.
        FORMAT_2: Option<u32>,
        /// Of the fourth.
        FORMAT_3: Option<u32>,
    }
}

impl Formats {
    /// Those of a matrix.
    pub fn of(matrix: &Matrix) -> Self {
        let id = |at: usize| matrix.formats.get(at).map(|format| format.spec().gguf_id);
        let count = matrix.formats.len() as u32;
        Self { FORMATS: count, FORMAT_0: id(0), FORMAT_1: id(1), FORMAT_2: id(2), FORMAT_3: id(3) }
    }
}

kernels! {
    /// Two rows an invocation, one token: where the CPU computes.
    Matvec = MATVEC { EPILOGUE: u32, FINAL: bool, THREADS: u32; formats: Formats }
    (now: uniform Step, matrix: uniform GpuMatrix, weights: weights [u32; 4], x: read [f32; 4], y: write f32)

    /// Two rows an invocation, eight tokens: where the CPU computes.
    Matmul = MATMUL { EPILOGUE: u32, FINAL: bool, THREADS: u32; formats: Formats }
    (now: uniform Step, matrix: uniform GpuMatrix, weights: weights [u32; 4], x: read [f32; 4], y: write f32)

    /// A tile of rows and tokens.
    MatmulTile = MATMUL_TILE { EPILOGUE: u32, FINAL: bool; formats: Formats, splits: Option<Splits> }
    (now: uniform Step, matrix: uniform GpuMatrix, weights: weights [u32; 4], x: read [f32; 4], y: write f32,
        split_sums: write f32)

    /// The same, and B t of adapters.
    MatmulTileLora = MATMUL_TILE_LORA { EPILOGUE: u32, FINAL: bool; formats: Formats, splits: Option<Splits> }
    (now: uniform Step, matrix: uniform GpuMatrix, weights: weights [u32; 4], x: read [f32; 4], y: write f32,
        split_sums: write f32, lora: uniform GpuLora, lora_b: weights [f32; 4], lora_t: read [f32; 4])

    /// A larger tile, with cooperative matrices.
    MatmulCooperative = MATMUL_COOPERATIVE { EPILOGUE: u32, FINAL: bool; formats: Formats, splits: Option<Splits> }
    (now: uniform Step, matrix: uniform GpuMatrix, weights: weights [u32; 4], x: read [f32; 4], y: write f32,
        split_sums: write f32)
}

/// Output rows of an invocation of [`Matvec`] and [`Matmul`].
const ROWS: u32 = 2;
/// Tokens of a workgroup of [`Matmul`].
const TOKENS: u32 = 8;

/// The kernel of a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// [`Matvec`]
    Rows,
    /// [`MatvecTeam`]
    Team,
    /// [`Matmul`]
    Tokens,
    /// [`MatmulTile`]
    Tile,
    /// [`MatmulCooperative`]
    Cooperative,
}

/// What a linear layer reads.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// \[T, stride\]
    pub x: &'a wgpu::Buffer,
    /// The norm that is still to be applied to it.
    pub norm: Option<Norm<'a>>,
    /// Splits of attention in decode that are still to be merged, where the context is cut into
    /// two.
    pub attention: Option<AttentionSplits>,
}

impl<'a> Input<'a> {
    /// As it is.
    pub fn of(x: &'a wgpu::Buffer) -> Self {
        Self { x, norm: None, attention: None }
    }
}

/// What a finished row becomes, and where: `shaders/linear/epilogue.wgsl`.
#[derive(Clone, Copy)]
pub enum Output<'a> {
    /// y = W x
    Store(&'a wgpu::Buffer),
    /// y += W x
    Add(&'a wgpu::Buffer),
    /// y = silu(W_gate x) (W_up x)
    SwiGlu(&'a wgpu::Buffer),
}

impl<'a> Output<'a> {
    pub(super) fn buffer(self) -> &'a wgpu::Buffer {
        match self {
            Self::Store(y) | Self::Add(y) | Self::SwiGlu(y) => y,
        }
    }

    pub(super) fn epilogue(self) -> u32 {
        match self {
            Self::Store(_) => 0,
            Self::Add(_) => 1,
            Self::SwiGlu(_) => 2,
        }
    }

    pub(super) fn is_swiglu(self) -> bool {
        matches!(self, Self::SwiGlu(_))
    }
}

/// The fields that all but [`MatvecTeam`] have.
macro_rules! plain {
    ($kernel:ident { $($more:ident: $value:expr),* }, $r:ident, $layer:ident) => {
        $kernel {
            EPILOGUE: $layer.output.epilogue(),
            FINAL: $layer.op.rows() == Rows::Logits,
            $($more: $value,)*
            formats: Formats::of($layer.matrix),
            now: $r.step(),
            matrix: &$layer.slab.uniform,
            weights: &$layer.slab.weights,
            x: $layer.input.x,
            y: $layer.output.buffer(),
        }
    };
}

/// A slab of a linear layer.
#[derive(Clone, Copy)]
struct Linear<'a> {
    op: Op,
    matrix: &'a Matrix,
    slab: &'a Slab,
    input: Input<'a>,
    output: Output<'a>,
}

impl Linear<'_> {
    /// Workgroups of `tile` rows and tokens.
    fn grid(&self, [rows, tokens]: [u32; 2]) -> impl Fn(&Step) -> [u32; 3] + 'static {
        let (groups, of) = (self.slab.table.rows.div_ceil(rows), self.op.rows());
        move |step| [groups.min(32768), groups.div_ceil(32768), of.count(step).div_ceil(tokens)]
    }
}

impl Recorder<'_> {
    /// y = W x, y += W x or y = silu(W_gate x) (W_up x): a dispatch for each slab of W; and what
    /// adapters add to it.
    pub fn linear(&mut self, op: Op, matrix: &Matrix, input: Input<'_>, output: Output<'_>) {
        let (variant, needed) = (self.target().linear(op), op.rows().needed());
        if variant == Variant::Team {
            return self.team(op, needed, matrix, input, output);
        }
        if variant == Variant::Tile && op.rows() == Rows::Logits {
            // An answer wants the logits of one token, which a tile would make for 64.
            self.team(op, Needed::OneLogits, matrix, input, output);
            return self.product(op, Needed::ManyLogits, matrix, input, output);
        }
        let Some(site) = self.site(op) else {
            return self.product(op, needed, matrix, input, output);
        };
        self.lora_down(op, site, input);
        if variant == Variant::Tile {
            return self.product_lora(op, site, matrix, input, output);
        }
        match &site.1.apart {
            Some(apart) => self.product(op, needed, apart, input, Output::Store(&site.0.gate_up)),
            None => self.product(op, needed, matrix, input, output),
        }
        self.lora_up(op, site, output);
    }

    fn product_lora(
        &mut self,
        op: Op,
        (adapted, site): (&Adapted, &Site),
        matrix: &Matrix,
        input: Input<'_>,
        output: Output<'_>,
    ) {
        for slab in &matrix.slabs {
            let layer = Linear { op, matrix, slab, input, output };
            let (tiles, split_sums) = self.tiles(&layer, Tile::PORTABLE);
            let kernel = plain!(
                MatmulTileLora {
                    splits: tiles.constants(),
                    split_sums: split_sums,
                    lora: &site.uniform,
                    lora_b: &site.b,
                    lora_t: &adapted.t
                },
                self,
                layer
            );
            self.call(op, &kernel, op.rows().needed(), tiles.grid());
            self.split_sums(&layer, tiles);
        }
    }

    fn product(&mut self, op: Op, needed: Needed, matrix: &Matrix, input: Input<'_>, output: Output<'_>) {
        let threads = self.target().linear_threads();
        for slab in &matrix.slabs {
            let layer = Linear { op, matrix, slab, input, output };
            match self.target().linear(op) {
                Variant::Rows => {
                    let kernel = plain!(Matvec { THREADS: threads }, self, layer);
                    self.call(op, &kernel, needed, layer.grid([ROWS * threads, 1]));
                }
                Variant::Tokens => {
                    let kernel = plain!(Matmul { THREADS: threads }, self, layer);
                    self.call(op, &kernel, needed, layer.grid([ROWS * threads, TOKENS]));
                }
                Variant::Tile => {
                    let (tiles, split_sums) = self.tiles(&layer, Tile::PORTABLE);
                    let kernel = plain!(MatmulTile { splits: tiles.constants(), split_sums: split_sums }, self, layer);
                    self.call(op, &kernel, needed, tiles.grid());
                    self.split_sums(&layer, tiles);
                }
                Variant::Cooperative => {
                    let (tiles, split_sums) = self.tiles(&layer, Tile::COOPERATIVE);
                    let kernel =
                        plain!(MatmulCooperative { splits: tiles.constants(), split_sums: split_sums }, self, layer);
                    self.call(op, &kernel, needed, tiles.grid());
                    self.split_sums(&layer, tiles);
                }
                // Adapters are a part of it: see `linear`.
                Variant::Team => {}
            }
        }
    }
}

impl AttentionSplits {
    /// In a model whose rows of `mixed` have `first` floats before them.
    pub fn of(first: u32, c: &Config) -> Self {
        Self { SPLITS_OFFSET: first / 4, ATTENTION: c.q_dim() / 4, HEAD: c.head_dim / 4 }
    }
}
