//! What an adapter adds to one projection.

/// A linear layer that an adapter may change, in the order of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Projection {
    /// `self_attn.q_proj`
    Q,
    /// `self_attn.k_proj`
    K,
    /// `self_attn.v_proj`
    V,
    /// `mamba.in_proj`
    In,
    /// `self_attn.o_proj`
    O,
    /// `mamba.out_proj`
    Out,
    /// `feed_forward.gate_proj`
    Gate,
    /// `feed_forward.up_proj`
    Up,
    /// `feed_forward.down_proj`
    Down,
}

impl Projection {
    /// All of them.
    pub const ALL: [Self; 9] =
        [Self::Q, Self::K, Self::V, Self::In, Self::O, Self::Out, Self::Gate, Self::Up, Self::Down];

    /// Hugging Face's name of the module in its layer.
    pub fn module(self) -> &'static str {
        match self {
            Self::Q => "self_attn.q_proj",
            Self::K => "self_attn.k_proj",
            Self::V => "self_attn.v_proj",
            Self::In => "mamba.in_proj",
            Self::O => "self_attn.o_proj",
            Self::Out => "mamba.out_proj",
            Self::Gate => "feed_forward.gate_proj",
            Self::Up => "feed_forward.up_proj",
            Self::Down => "feed_forward.down_proj",
        }
    }

    /// The last part of it, as people name targets.
    pub fn name(self) -> &'static str {
        self.module().split_once('.').map_or("", |(_, name)| name)
    }
}

/// y += B (A x), where y is the finished row of the projection: after every multiplier.
pub struct Delta {
    /// Of the model.
    pub layer: u32,
    /// Of the layer.
    pub projection: Projection,
    /// Rows of A.
    pub rank: u32,
    /// \[rank, in\]
    pub a: Vec<f32>,
    /// \[out, rank\], scaled.
    pub b: Vec<f32>,
}

impl Delta {
    /// Values of x.
    pub fn cols(&self) -> usize {
        self.a.len() / self.rank as usize
    }

    /// Values of y.
    pub fn rows(&self) -> usize {
        self.b.len() / self.rank as usize
    }
}
