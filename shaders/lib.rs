//! The WGSL of Peregrine: the pieces that its kernels share, and the kernels that they are put
//! together to.
//!
//! A kernel's source is its pieces, one file after the other, and then its own file, whose first
//! line names them. Numbers in them are `override`s; how lanes are summed is one of two pieces with
//! the same function, how keys
//! and values are kept one of three; a kernel that reads weights has the block formats that the
//! matrix has, since each of them costs compile time. The rules for the files stand in README.md
//! beside them.

#[cfg(test)]
mod expand;
mod formats;

use std::hash::{Hash, Hasher};

pub use formats::Formats;

macro_rules! shader {
    ($path:expr) => {
        include_str!(concat!(env!("OUT_DIR"), "/", $path, ".wgsl"))
    };
}

/// How a sum over neighboring invocations is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// Through workgroup memory: every device can.
    Workgroup,
    /// By subgroup shuffles: needs the feature, and lanes that fit the smallest subgroup.
    Subgroup,
}

/// Which piece keeps keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cache {
    /// `kv/f16.wgsl`
    F16,
    /// `kv/f32.wgsl`
    F32,
    /// `kv/q8.wgsl`
    Q8,
}

/// Files that come before a kernel's own.
#[derive(Debug)]
enum Piece {
    /// The same ones always.
    Same(&'static [&'static str]),
    /// Those of each [`Cache`].
    Cache([&'static [&'static str]; 3]),
    /// A matrix of weights in some [`Formats`].
    Matrix,
}

/// A kernel: a name and the pieces of its source, in order.
#[derive(Debug)]
pub struct Kernel {
    /// The name of its WGSL file.
    pub name: &'static str,
    /// Whether it sums over lanes, and so has a reduction piece in front.
    pub reduces: bool,
    /// The kernel's own file.
    pub body: &'static str,
    pieces: &'static [Piece],
}

/// By name: there is one of each.
impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Kernel {}

impl Hash for Kernel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Kernel {
    /// Whether it reads a matrix of weights: then there is a source for each set of [`Formats`].
    pub fn has_matrix(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Matrix))
    }

    /// Whether it reads keys and values: then there is a source for each [`Cache`].
    pub fn has_cache(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Cache(_)))
    }

    /// The whole source; `formats`, of which there is at least one, are those of the matrix that it
    /// reads. `web`: for Tint, which wants `enable subgroups;` in front where naga rejects the
    /// line.
    pub fn source(&self, reduction: Reduction, cache: impl Into<Cache>, formats: Formats, web: bool) -> String {
        let cache = cache.into();
        let mut source = String::new();
        if self.reduces && reduction == Reduction::Subgroup && web {
            source.push_str("enable subgroups;\n");
        }
        if self.reduces {
            source.push_str(match reduction {
                Reduction::Workgroup => shader!("common/reduce_workgroup"),
                Reduction::Subgroup => shader!("common/reduce_subgroup"),
            });
        }
        for piece in self.pieces {
            match piece {
                Piece::Same(files) => source.extend(files.iter().copied()),
                Piece::Cache(files) => source.extend(files[cache as usize].iter().copied()),
                Piece::Matrix => formats.matrix(&mut source),
            }
        }
        source.push_str(self.body);
        source
    }
}

const STEP: Piece = Piece::Same(&[shader!("common/step")]);
const TOKENS: Piece = Piece::Same(&[shader!("common/tokens")]);
/// Natively only: the kernels that need more than the baseline.
const COOPERATIVE: Piece = Piece::Same(&[shader!("common/cooperative")]);
const MATRIX: Piece = Piece::Matrix;
const EPILOGUE: Piece = Piece::Same(&[shader!("linear/epilogue")]);
const SPLITS: Piece = Piece::Same(&[shader!("linear/splits")]);
const EPILOGUE_LORA: Piece = Piece::Same(&[shader!("linear/epilogue_lora")]);
/// Linear layers where the CPU computes.
const TWO_ROWS: Piece = Piece::Same(&[shader!("linear/two_rows")]);
/// Adapters beside linear layers.
const LORA: Piece = Piece::Same(&[shader!("lora/lora")]);
/// The same fused into what makes their input and into the linear layers themselves.
const PUBLISH: Piece = Piece::Same(&[shader!("lora/publish")]);
const PUBLISHED: Piece = Piece::Same(&[shader!("lora/published")]);
/// The KV cache: read, and also written.
const KV: Piece = Piece::Cache([
    &[shader!("kv/kv"), shader!("kv/f16")],
    &[shader!("kv/kv"), shader!("kv/f32")],
    &[shader!("kv/kv"), shader!("kv/q8")],
]);
const KV_APPEND: Piece = Piece::Cache([
    &[shader!("kv/kv"), shader!("kv/f16"), shader!("kv/f16_append")],
    &[shader!("kv/kv"), shader!("kv/f32"), shader!("kv/f32_append")],
    &[shader!("kv/kv"), shader!("kv/q8"), shader!("kv/q8_append")],
]);
const COLUMNS: Piece = Piece::Same(&[shader!("ssm/columns")]);
const SSD: Piece = Piece::Same(&[shader!("ssm/ssd")]);
const SSD_COOPERATIVE: Piece = Piece::Same(&[shader!("ssm/ssd_cooperative")]);
const CANDIDATE: Piece = Piece::Same(&[shader!("sample/candidate")]);
const WEIGHTS: Piece = Piece::Same(&[shader!("sample/weights")]);
const SCAN: Piece = Piece::Same(&[shader!("sample/scan")]);
const NEXT_TOKEN: Piece = Piece::Same(&[shader!("sample/next_token")]);

/// A line each: its constant, folder / name, `sums` where it sums over lanes, and the pieces before
/// it. build.rs writes them from the files' own first lines.
macro_rules! kernels {
    ($($id:ident = $folder:literal / $name:literal $($sums:ident)?: $($piece:ident)*;)*) => {
        $(
            #[doc = concat!("`", $folder, "/", $name, ".wgsl`")]
            pub static $id: Kernel = Kernel {
                name: $name,
                reduces: kernels!(@reduces $($sums)?),
                body: shader!(concat!($folder, "/", $name)),
                pieces: &[$($piece),*],
            };
        )*
        /// Every kernel there is.
        pub static KERNELS: &[&Kernel] = &[$(&$id),*];
    };
    (@reduces sums) => { true };
    (@reduces) => { false };
}

// A line for each file of the folders that begins with `//: kernel`: see build.rs.
include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
