//! What a file can be quantized to, and which format each tensor then gets.

use std::str::FromStr;

use peregrine::checkpoint::names::{Bake, Expected};
use peregrine::config::Config;
use peregrine::format::Format;
use peregrine::{Error, Result};

/// What a file is quantized to. The names are those of llama.cpp; matrices get the format, small
/// tensors stay F32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum QuantType {
    /// Everything in F32.
    F32,
    /// Matrices in F16.
    F16,
    /// Matrices in BF16.
    BF16,
    /// Matrices in Q8_0.
    Q8_0,
    /// Matrices in Q4_0, the LM head in Q6_K.
    Q4_0,
    /// Matrices in Q4_1, the LM head in Q6_K.
    Q4_1,
    /// Matrices in Q5_0, the LM head in Q6_K.
    Q5_0,
    /// Matrices in Q5_1, the LM head in Q6_K.
    Q5_1,
    /// Matrices in Q4_K; the LM head, and in half of the layers V and down, in Q6_K.
    Q4_K_M,
    /// As Q4_K_M, with Q5_K.
    Q5_K_M,
    /// Matrices in Q6_K.
    Q6_K,
    /// Matrices in Q2_K; down and attention's output in Q3_K, V in Q4_K or Q3_K, the LM head in
    /// Q6_K.
    Q2_K,
    /// Matrices in Q3_K; attention's output in Q4_K, V and down in Q4_K or Q5_K, the LM head in
    /// Q6_K.
    Q3_K_M,
    /// Matrices in IQ4_NL; V, and down in the first layers, in Q5_K, the LM head in Q6_K.
    IQ4_NL,
    /// As IQ4_NL, with IQ4_XS.
    IQ4_XS,
}

impl QuantType {
    /// All of them, for a help text.
    pub const ALL: &[Self] = &[
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q8_0,
        Self::Q6_K,
        Self::Q5_K_M,
        Self::Q4_K_M,
        Self::Q5_1,
        Self::Q5_0,
        Self::Q4_1,
        Self::Q4_0,
        Self::IQ4_NL,
        Self::IQ4_XS,
        Self::Q3_K_M,
        Self::Q2_K,
    ];

    /// llama.cpp's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q4_K_M => "Q4_K_M",
            Self::Q5_K_M => "Q5_K_M",
            Self::Q3_K_M => "Q3_K_M",
            other => other.base().spec().name,
        }
    }

    /// The format of most matrices.
    pub(crate) fn base(self) -> Format {
        match self {
            Self::F32 => Format::F32,
            Self::F16 => Format::F16,
            Self::BF16 => Format::BF16,
            Self::Q8_0 => Format::Q8_0,
            Self::Q4_0 => Format::Q4_0,
            Self::Q4_1 => Format::Q4_1,
            Self::Q5_0 => Format::Q5_0,
            Self::Q5_1 => Format::Q5_1,
            Self::Q4_K_M => Format::Q4_K,
            Self::Q5_K_M => Format::Q5_K,
            Self::Q6_K => Format::Q6_K,
            Self::Q2_K => Format::Q2_K,
            Self::Q3_K_M => Format::Q3_K,
            Self::IQ4_NL => Format::IQ4_NL,
            Self::IQ4_XS => Format::IQ4_XS,
        }
    }

    /// llama.cpp's number, for `general.file_type`.
    pub(super) fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q8_0 => 7,
            Self::Q4_1 => 3,
            Self::Q5_0 => 8,
            Self::Q5_1 => 9,
            Self::Q4_K_M => 15,
            Self::Q5_K_M => 17,
            Self::Q6_K => 18,
            Self::Q2_K => 10,
            Self::Q3_K_M => 12,
            Self::IQ4_NL => 25,
            Self::IQ4_XS => 30,
            Self::BF16 => 32,
        }
    }
}

impl FromStr for QuantType {
    type Err = Error;

    /// Case does not matter; `Q4_K` means `Q4_K_M`, and so do `Q5_K` and `Q3_K`.
    fn from_str(text: &str) -> Result<Self> {
        let upper = match text.to_ascii_uppercase().as_str() {
            short @ ("Q3_K" | "Q4_K" | "Q5_K") => format!("{short}_M"),
            other => other.to_string(),
        };
        Self::ALL.iter().copied().find(|ty| ty.name() == upper).ok_or_else(|| Error::Argument {
            field: "type".into(),
            expected: format!("one of {}", Self::ALL.iter().map(|ty| ty.name()).collect::<Vec<_>>().join(", ")),
            found: text.into(),
        })
    }
}

/// The format of one tensor, by the rules of llama.cpp's quantizer (without an importance matrix).
pub(crate) fn choose(tensor: &Expected, config: &Config, target: QuantType) -> Format {
    use QuantType::{BF16, F16, F32, IQ4_NL, IQ4_XS, Q2_K, Q3_K_M, Q4_K_M, Q5_K_M, Q8_0};
    let base = target.base();
    let (layer, layers) = (layer_of(&tensor.hf), config.num_hidden_layers);
    let more = layer < layers / 8 || layer >= 7 * layers / 8 || layer.wrapping_sub(layers / 8) % 3 == 2;
    let head = tensor.bake == Bake::LmHead
        || tensor.bake == Bake::Embedding
            && config.tie_word_embeddings
            && config.embedding_multiplier == config.lm_head_multiplier;
    let (v, down, out) =
        (tensor.hf.ends_with("v_proj.weight"), tensor.bake == Bake::Down, tensor.bake == Bake::AttentionOut);
    // One V serves several heads.
    let shared = config.num_attention_heads / config.num_key_value_heads.max(1) >= 4;
    let either = |first: bool, then: Format, other: Format| if first { then } else { other };
    let format = match target {
        _ if matches!(tensor.bake, Bake::Small | Bake::A) => return Format::F32,
        F32 | F16 | BF16 | Q8_0 => base,
        _ if head => Format::Q6_K,
        Q4_K_M | Q5_K_M if (v || down) && more => Format::Q6_K,
        Q3_K_M if v => either(layer < 2, Format::Q5_K, Format::Q4_K),
        Q3_K_M if down => either(layer < layers / 16, Format::Q5_K, Format::Q4_K),
        Q3_K_M if out => Format::Q4_K,
        Q2_K if v => either(shared, Format::Q4_K, Format::Q3_K),
        Q2_K if down || out => Format::Q3_K,
        IQ4_NL | IQ4_XS if v && shared || down && layer < layers / 8 => Format::Q5_K,
        _ => base,
    };
    // Rows that are not whole blocks of 256 fall back to blocks of 32.
    let smaller = match format {
        Format::Q2_K | Format::Q3_K => Format::Q4_0,
        Format::Q4_K => Format::Q5_0,
        Format::Q5_K => Format::Q5_1,
        Format::IQ4_XS => Format::IQ4_NL,
        _ => Format::Q8_0,
    };
    let cols = tensor.shape.last().copied().unwrap_or(1);
    let fits = |format: &Format| format.row_bytes(cols).is_some();
    [format, smaller].into_iter().find(fits).unwrap_or(Format::F16)
}

/// The layer in "model.layers.7.…"; 0 elsewhere.
fn layer_of(hf: &str) -> u32 {
    hf.split('.').nth(2).and_then(|layer| layer.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::QuantType;

    /// The npm package's list is made from this one.
    #[test]
    fn the_npm_package_has_these_types() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/package/src/quantize-types.ts");
        let names: String = QuantType::ALL.iter().map(|ty| format!("  {:?},\n", ty.name())).collect();
        let expected = format!(
            "/** What a model can be quantized to. Made from the crate peregrine-workbench by `make types`. */\n\n\
             /** The types of `peregrine quantize`, which are llama.cpp's. */\n\
             export const QUANTIZE_TYPES = [\n{names}] as const;\n\n/** One of them. */\n\
             export type QuantizeType = (typeof QUANTIZE_TYPES)[number];\n"
        );
        if std::env::var_os("TYPES").is_some() {
            std::fs::write(path, &expected).expect("the package's folder");
        }
        let found = std::fs::read_to_string(path).expect("quantize-types.ts");
        assert!(found == expected, "web/package/src/quantize-types.ts is not what QuantType says: make types");
    }
}
