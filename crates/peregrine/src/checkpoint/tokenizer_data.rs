//! What a checkpoint says about its tokenizer, in the form in which it says it.

use super::gguf_value::Metadata;
use crate::{Error, Result};

/// The values of `tokenizer.ggml.pre` that this runtime can split text for. The `llama` and
/// `falcon` ones are the same splitting.
pub const PRE_TOKENIZERS: &[&str] = &["falcon-h1", "falcon3", "llama3", "llama-v3", "llama-bpe", "smollm", "gpt-2"];

/// Vocabulary, merges, special tokens.
#[derive(Clone, Debug)]
pub enum TokenizerData {
    /// `tokenizer.json` of a Hugging Face folder.
    Json {
        /// The file.
        bytes: Vec<u8>,
        /// Begin of text.
        bos: Option<u32>,
        /// Tokens that end an answer; the first is the one that a template calls `eos_token`.
        eos: Vec<u32>,
        /// Padding.
        pad: Option<u32>,
        /// Whether encoding a text puts BOS before it.
        add_bos: bool,
    },
    /// The `tokenizer.ggml` fields of a GGUF file.
    Gguf {
        /// How text is split before merging: one of [`PRE_TOKENIZERS`].
        pre: String,
        /// Token texts by id, V of them, in the byte-to-Unicode alphabet of GPT-2.
        tokens: Vec<String>,
        /// By id: 1 normal, 3 control, 4 user-defined, 5 unused, 6 byte.
        token_types: Vec<i32>,
        /// Pairs "left right", best first.
        merges: Vec<String>,
        /// Begin of text.
        bos: Option<u32>,
        /// Tokens that end an answer (`eos`, `eot`, `eom`), without repeats.
        eos: Vec<u32>,
        /// Padding.
        pad: Option<u32>,
        /// Whether encoding a text puts BOS before it.
        add_bos: bool,
    },
}

/// The tokenizer of a GGUF file with `vocab_size` rows of embedding.
pub(super) fn from_gguf(metadata: &Metadata, vocab_size: u32) -> Result<TokenizerData> {
    let unsupported = |field: &str, expected: String, found: &str| Error::Unsupported {
        name: metadata.file().into(),
        field: field.into(),
        expected,
        found: format!("\"{found}\""),
    };
    let malformed = |field: &str, expected: String, found: String| Error::Malformed {
        name: metadata.file().into(),
        field: field.into(),
        expected,
        found,
    };
    let model = metadata.str("tokenizer.ggml.model")?;
    if model != "gpt2" {
        return Err(unsupported("tokenizer.ggml.model", "gpt2, byte-level BPE".into(), model));
    }
    let pre = metadata.str("tokenizer.ggml.pre")?;
    if !PRE_TOKENIZERS.contains(&pre) {
        let expected = format!("one of {}", PRE_TOKENIZERS.join(", "));
        return Err(unsupported("tokenizer.ggml.pre", expected, pre));
    }
    let tokens = metadata.strings("tokenizer.ggml.tokens")?;
    if tokens.len() as u64 != u64::from(vocab_size) {
        let expected = format!("{vocab_size} tokens, one for each row of token_embd.weight");
        return Err(malformed("tokenizer.ggml.tokens", expected, tokens.len().to_string()));
    }
    let types = "tokenizer.ggml.token_type";
    let token_types = match metadata.ints_opt(types)? {
        None => vec![1; tokens.len()],
        Some(found) if found.len() != tokens.len() => {
            let expected = format!("{} of them, one for each token", tokens.len());
            return Err(malformed(types, expected, found.len().to_string()));
        }
        Some(found) => {
            let narrow = |&ty: &i64| {
                let small = i32::try_from(ty).ok().filter(|ty| (0..=6).contains(ty));
                small.ok_or_else(|| malformed(types, "types from 0 to 6".into(), ty.to_string()))
            };
            found.iter().map(narrow).collect::<Result<_>>()?
        }
    };
    let id = |kind: &str| {
        let field = format!("tokenizer.ggml.{kind}_token_id");
        match metadata.u32_opt(&field)? {
            // Converters write -1 for "none".
            Some(u32::MAX) => Ok(None),
            Some(id) if id >= vocab_size => Err(malformed(&field, format!("an id below {vocab_size}"), id.to_string())),
            other => Ok(other),
        }
    };
    let mut eos = Vec::new();
    for kind in ["eos", "eot", "eom"] {
        eos.extend(id(kind)?.filter(|id| !eos.contains(id)));
    }
    let bos = id("bos")?;
    // llama.cpp adds BOS for this splitting unless the file says otherwise.
    let by_default = bos.is_some() && !matches!(pre, "smollm" | "gpt-2");
    Ok(TokenizerData::Gguf {
        pre: pre.into(),
        tokens: tokens.to_vec(),
        token_types,
        merges: metadata.strings("tokenizer.ggml.merges")?.to_vec(),
        bos,
        eos,
        pad: id("padding")?,
        add_bos: metadata.bool_opt("tokenizer.ggml.add_bos_token")?.unwrap_or(by_default),
    })
}

/// The texts of the special tokens that the file names, under the names that templates know.
pub(super) fn named(metadata: &Metadata) -> Result<Vec<(String, String)>> {
    let tokens = metadata.strings("tokenizer.ggml.tokens")?;
    let names = [
        ("bos", "bos_token"),
        ("eos", "eos_token"),
        ("unknown", "unk_token"),
        // The field's own spelling, and the right one.
        ("seperator", "sep_token"),
        ("separator", "sep_token"),
        ("padding", "pad_token"),
        ("cls", "cls_token"),
        ("mask", "mask_token"),
    ];
    let mut named: Vec<(String, String)> = Vec::new();
    for (kind, name) in names {
        let id = metadata.u32_opt(&format!("tokenizer.ggml.{kind}_token_id"))?;
        if let Some(text) = id.and_then(|id| tokens.get(id as usize)) {
            named.push((name.into(), text.clone()));
        }
    }
    Ok(named)
}
