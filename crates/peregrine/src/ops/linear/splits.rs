//! Tiles of many tokens, whose columns several workgroups share where a prompt has few of them.

use super::Linear;
use crate::kernels::{constants, kernels};
use crate::ops::{Op, Recorder, Rows};
use crate::plan::{Needed, Step};

constants! {
    /// `shaders/linear/splits.wgsl`
    Splits {
        /// Workgroups that are wanted.
        SPLIT_WORKGROUPS: u32,
        /// And no more than these for a tile.
        MOST_SPLITS: u32,
    }
}

kernels! {
    /// Puts together what the workgroups that shared a tile have summed.
    MatmulSum = MATMUL_SUM {
        EPILOGUE: u32, FINAL: bool, ROWS: u32, FIRST_ROW: u32, STRIDE: u32, ROW_TILES: u32, TILE_TOKENS: u32;
        splits: Splits,
    }
    (now: uniform Step, split_sums: read f32, y: write f32)
}

/// Most workgroups that share a tile.
const MOST_SPLITS: u32 = 8;
/// Fewest strips of a row that are a workgroup's share.
const FEWEST_STRIPS: u32 = 4;

/// What a workgroup computes.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// Rows of sums: in SwiGLU two make one of the output.
    rows: u32,
    tokens: u32,
    /// Workgroups that keep a large GPU busy.
    workgroups: u32,
}

impl Tile {
    /// Of [`MatmulTile`](super::MatmulTile).
    pub const PORTABLE: Self = Self { rows: 64, tokens: 64, workgroups: 256 };
    /// Of [`MatmulCooperative`](super::MatmulCooperative).
    pub const COOPERATIVE: Self = Self { rows: 128, tokens: 128, workgroups: 128 };

    /// No more workgroups than there is room for sums.
    fn within(self, bytes: u64) -> Self {
        let room = bytes / (4 * u64::from(self.rows) * u64::from(self.tokens));
        Self { workgroups: u64::from(self.workgroups).min(room) as u32, ..self }
    }
}

/// The tiles of a slab.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    tile: Tile,
    /// From the first row to the last.
    rows: u32,
    most: u32,
    op: Op,
}

impl Tiles {
    /// `None` where nothing is ever split.
    pub fn constants(self) -> Option<Splits> {
        let splits = Splits { SPLIT_WORKGROUPS: self.tile.workgroups, MOST_SPLITS: self.most };
        (self.most_tokens() > 0).then_some(splits)
    }

    /// Most tokens of a step whose tiles are shared; 0: none is.
    fn most_tokens(self) -> u32 {
        if self.most > 1 { self.tile.tokens * (self.tile.workgroups / (2 * self.rows)) } else { 0 }
    }

    /// Workgroups that share a tile.
    fn splits(self, token_tiles: u32) -> u32 {
        match self.constants() {
            Some(_) => (self.tile.workgroups / (self.rows * token_tiles).max(1)).clamp(1, self.most),
            None => 1,
        }
    }

    pub fn grid(self) -> impl Fn(&Step) -> [u32; 3] + 'static {
        move |step| {
            let token_tiles = self.op.rows().count(step).div_ceil(self.tile.tokens);
            [self.rows.min(32768), self.rows.div_ceil(32768), token_tiles * self.splits(token_tiles)]
        }
    }
}

impl<'a> Recorder<'a> {
    pub(super) fn tiles(&self, layer: &Linear<'_>, tile: Tile) -> (Tiles, &'a wgpu::Buffer) {
        let split_sums = self.split_sums_of(layer.op);
        let (rows, table) = (if layer.output.is_swiglu() { tile.rows / 2 } else { tile.rows }, &layer.slab.table);
        // The LM head has rows enough.
        let most = match layer.op.rows() {
            Rows::All => (table.row_strips() / FEWEST_STRIPS).clamp(1, MOST_SPLITS),
            Rows::Logits => 1,
        };
        let tile = tile.within(split_sums.size());
        (Tiles { tile, rows: table.rows.div_ceil(rows), most, op: layer.op }, split_sums)
    }

    /// Where the sums wait.
    fn split_sums_of(&self, op: Op) -> &'a wgpu::Buffer {
        let [elsewhere, in_project_in] = self.free.expect("a model's recorder has them");
        if op == Op::ProjectIn { in_project_in } else { elsewhere }
    }

    /// What is left to be done where tiles were shared.
    pub(super) fn split_sums(&mut self, layer: &Linear<'_>, tiles: Tiles) {
        let Some(splits) = tiles.constants() else { return };
        let split_sums = self.split_sums_of(layer.op);
        let table = &layer.slab.table;
        let kernel = MatmulSum {
            EPILOGUE: layer.output.epilogue(),
            FINAL: false,
            ROWS: table.rows,
            FIRST_ROW: table.first_row,
            STRIDE: table.y_stride,
            ROW_TILES: tiles.rows,
            TILE_TOKENS: tiles.tile.tokens,
            splits,
            now: self.step(),
            split_sums,
            y: layer.output.buffer(),
        };
        let groups = table.rows.div_ceil(64);
        self.call(layer.op, &kernel, Needed::Tokens(tiles.most_tokens()), move |step| [groups, step.tokens, 1]);
    }
}
