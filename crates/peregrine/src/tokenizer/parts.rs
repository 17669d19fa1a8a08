//! What a byte-level BPE tokenizer consists of, read from GGUF metadata or from `tokenizer.json`
//! and checked.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use tokenizers::AddedToken;

use super::added::Added;
use super::broken;
use super::words::Words;
use crate::checkpoint::TokenizerData;
use crate::{Error, Result};

// Token types of `tokenizer.ggml.token_type`.
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

pub(super) struct Parts {
    /// (id, text in the byte alphabet); added tokens too, with their plain text.
    pub tokens: Vec<(u32, String)>,
    pub merges: Vec<(String, String)>,
    /// A word that is a token as a whole is taken as it is, without merging.
    pub ignore_merges: bool,
    /// Found in the text before anything else.
    pub added: Vec<(u32, AddedToken)>,
    pub cutting: Cutting,
}

/// How text becomes words.
pub(super) enum Cutting {
    /// In a way that this runtime knows itself.
    Known(Words),
    /// As a `tokenizer.json` describes it.
    #[cfg(not(target_arch = "wasm32"))]
    Described(Box<super::described::Described>),
}

impl Parts {
    pub fn from_data(data: &TokenizerData) -> Result<Self> {
        match data {
            TokenizerData::Json { bytes, bos, eos, pad, .. } => Self::from_json(bytes, &stated(*bos, eos, *pad)),
            TokenizerData::Gguf { pre, tokens, token_types, merges, bos, eos, pad, .. } => {
                Self::from_gguf(pre, tokens, token_types, merges, &stated(*bos, eos, *pad))
            }
        }
    }

    fn from_gguf(pre: &str, tokens: &[String], types: &[i32], merges: &[String], stated: &[u32]) -> Result<Self> {
        if !types.is_empty() && types.len() != tokens.len() {
            return Err(broken(format!("{} tokens, but {} token types", tokens.len(), types.len())));
        }
        let (words, ignore_merges) = named_words(pre)?;
        let mut parts = Self {
            tokens: Vec::with_capacity(tokens.len()),
            merges: Vec::with_capacity(merges.len()),
            ignore_merges,
            added: Vec::new(),
            cutting: Cutting::Known(words),
        };
        for (at, text) in tokens.iter().enumerate() {
            let id = u32::try_from(at).map_err(|_| broken("more than 2^32 tokens".into()))?;
            let kind = types.get(at).copied().unwrap_or(1);
            // Control and user-defined tokens are cut out of the text; fillers are never looked
            // for.
            let special = matches!(kind, CONTROL | UNKNOWN)
                || super::END_TOKENS.contains(&text.as_str())
                || (kind == USER_DEFINED && is_control(text, id, stated));
            if kind != UNUSED && (special || kind == USER_DEFINED) && !text.is_empty() {
                parts.added.push((id, AddedToken::from(text.clone(), special).normalized(false)));
            }
            parts.tokens.push((id, text.clone()));
        }
        for merge in merges {
            parts.merges.push(pair(merge)?);
        }
        Ok(parts)
    }

    fn from_json(bytes: &[u8], stated: &[u32]) -> Result<Self> {
        let mut json: Value = serde_json::from_slice(bytes).map_err(|e| broken(format!("tokenizer.json: {e}")))?;
        if !json.is_object() {
            return Err(broken("tokenizer.json is not an object".into()));
        }
        let model = json["model"].take();
        // Older files have no type; what else could have merges?
        let bpe = model["type"] == "BPE" || (model["type"].is_null() && model["merges"].is_array());
        if !bpe {
            return Err(unsupported("model.type", "BPE", &model["type"]));
        }
        for field in ["continuing_subword_prefix", "end_of_word_suffix", "dropout"] {
            if !matches!(&model[field], Value::Null) && model[field].as_str() != Some("") && model[field] != 0.0 {
                return Err(unsupported(&format!("model.{field}"), "none", &model[field]));
            }
        }
        if model["byte_fallback"] == true {
            return Err(unsupported("model.byte_fallback", "false (byte-level BPE)", &model["byte_fallback"]));
        }
        let byte_level = |v: &Value| v.to_string().contains("\"ByteLevel\"");
        if !byte_level(&json["decoder"]) || !(byte_level(&json["pre_tokenizer"]) || byte_level(&json["normalizer"])) {
            return Err(unsupported("decoder", "ByteLevel", &json["decoder"]));
        }
        let vocab =
            model["vocab"].as_object().ok_or_else(|| broken("tokenizer.json: model.vocab is missing".into()))?;
        let mut tokens = Vec::with_capacity(vocab.len());
        for (text, id) in vocab {
            tokens.push((token_id(id, text)?, text.clone()));
        }
        let mut added = Vec::new();
        for entry in json["added_tokens"].as_array().into_iter().flatten() {
            let mut token: AddedToken =
                serde_json::from_value(entry.clone()).map_err(|e| broken(format!("added_tokens: {e}")))?;
            let id = token_id(&entry["id"], &token.content)?;
            token.special |= is_control(&token.content, id, stated);
            match vocab.get(&token.content) {
                Some(known) if *known != id => {
                    return Err(broken(format!("added token {:?} has ids {known} and {id}", token.content)));
                }
                Some(_) => {}
                None => tokens.push((id, token.content.clone())),
            }
            if !token.content.is_empty() {
                added.push((id, token));
            }
        }
        let mut merges = Vec::new();
        for merge in model["merges"].as_array().into_iter().flatten() {
            merges.push(match (merge.as_str(), merge.as_array().map(Vec::as_slice)) {
                (Some(text), _) => pair(text)?,
                (_, Some([Value::String(a), Value::String(b)])) => (a.clone(), b.clone()),
                _ => return Err(broken(format!("tokenizer.json: {merge} is not a merge"))),
            });
        }
        super::pattern::check_all(&json["pre_tokenizer"], &json["normalizer"])?;
        let rewritten = !json["normalizer"].is_null();
        if let Some((_, token)) = added.iter().find(|(_, token)| rewritten && token.special && token.normalized) {
            // Text that is normalized to it would be that token: a person could type it.
            let field = format!("the control token {:?}", token.content);
            return Err(unsupported(&field, "normalized: false beside a normalizer", &Value::Bool(true)));
        }
        let plain = added.iter().all(|(_, token)| Added::is_plain(token));
        let cutting = match Words::described(&json["pre_tokenizer"]).filter(|_| plain && !rewritten) {
            Some(words) => Cutting::Known(words),
            None => described(json["normalizer"].take(), json["pre_tokenizer"].take())?,
        };
        Ok(Self { tokens, merges, ignore_merges: model["ignore_merges"] == true, added, cutting })
    }

    /// Ids and texts are unique and inside the vocabulary, and every merge is of known tokens into
    /// a known token.
    pub fn check(&self, vocab_size: u32) -> Result<()> {
        let mut texts: HashMap<&str, u32> = HashMap::with_capacity(self.tokens.len());
        let mut ids = vec![false; vocab_size as usize];
        for (id, text) in &self.tokens {
            match ids.get_mut(*id as usize) {
                None => {
                    return Err(broken(format!(
                        "token {text:?} has id {id}, but the model has {vocab_size} embeddings"
                    )));
                }
                Some(true) => {
                    return Err(broken(format!("two tokens have id {id}, one of them {text:?}")));
                }
                Some(seen) => *seen = true,
            }
            if let Some(other) = texts.insert(text, *id) {
                if text.is_empty() {
                    return Err(broken(format!("tokens {other} and {id} are holes: they have no text")));
                }
                return Err(broken(format!("tokens {other} and {id} have the same text {text:?}")));
            }
        }
        let mut joined = String::new();
        for (a, b) in &self.merges {
            joined.clear();
            joined.push_str(a);
            joined.push_str(b);
            if let Some(unknown) = [a, b, &joined].into_iter().find(|t| !texts.contains_key(t.as_str())) {
                return Err(broken(format!("merge {a:?} + {b:?}: {unknown:?} is not in the vocabulary")));
            }
        }
        Ok(())
    }

    pub fn has_all_bytes(&self) -> bool {
        let single = |text: &str| text.chars().nth(1).is_none().then(|| text.chars().next()).flatten();
        let found: HashSet<u8> = self.tokens.iter().filter_map(|(_, t)| single(t).and_then(char_to_byte)).collect();
        found.len() == 256
    }
}

/// The ids that begin, end and fill a text.
fn stated(bos: Option<u32>, eos: &[u32], pad: Option<u32>) -> Vec<u32> {
    bos.into_iter().chain(eos.iter().copied()).chain(pad).collect()
}

/// Whether an added token is a control token whatever its entry says: a person who types its text
/// would end his turn.
fn is_control(text: &str, id: u32, stated: &[u32]) -> bool {
    super::END_TOKENS.contains(&text) || stated.contains(&id)
}

/// The pre-tokenizer of a GGUF file by the name that it has there, and whether whole words skip
/// merging.
fn named_words(pre: &str) -> Result<(Words, bool)> {
    match pre {
        "falcon-h1" | "falcon3" | "llama-bpe" | "llama3" | "llama-v3" => Ok((Words::Llama3, true)),
        "smollm" => Ok((Words::DigitsThenGpt2, false)),
        "gpt-2" | "default" => Ok((Words::Gpt2, false)),
        _ => {
            let expected = "falcon-h1, llama-bpe, smollm or gpt-2";
            Err(unsupported("tokenizer.ggml.pre", expected, &Value::String(pre.into())))
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn described(normalizer: Value, pre_tokenizer: Value) -> Result<Cutting> {
    Ok(Cutting::Described(Box::new(super::described::Described::new(normalizer, pre_tokenizer)?)))
}

/// The engines for whatever a `tokenizer.json` may describe are a quarter of a megabyte after gzip.
#[cfg(target_arch = "wasm32")]
fn described(_: Value, pre_tokenizer: Value) -> Result<Cutting> {
    let expected =
        "in a browser no normalizer, plain added tokens, and Llama 3's, GPT-2's or SmolLM's way to cut words";
    Err(unsupported("pre_tokenizer", expected, &pre_tokenizer))
}

fn token_id(json: &Value, text: &str) -> Result<u32> {
    let id = json.as_u64().and_then(|id| u32::try_from(id).ok());
    id.ok_or_else(|| broken(format!("tokenizer.json: token {text:?} has id {json}")))
}

/// "a b" as stored in a merge list; the byte alphabet has no space.
fn pair(merge: &str) -> Result<(String, String)> {
    match merge.split_once(' ') {
        Some((a, b)) if !a.is_empty() && !b.is_empty() && !b.contains(' ') => Ok((a.into(), b.into())),
        _ => Err(broken(format!("{merge:?} is not a merge of two tokens"))),
    }
}

pub(super) fn unsupported(field: &str, expected: &str, found: &Value) -> Error {
    let mut found = found.to_string();
    if found.len() > 80 {
        found = found.chars().take(80).chain("...".chars()).collect();
    }
    Error::Unsupported { name: "tokenizer".into(), field: field.into(), expected: expected.into(), found }
}

/// The byte alphabet (GPT-2): printable Latin-1 characters stand for themselves, the other bytes
/// for U+0100 and up.
pub fn byte_to_char(byte: u8) -> char {
    match byte {
        0..=0x20 => char::from_u32(0x100 + u32::from(byte)),
        0x7f..=0xa0 => char::from_u32(0x121 + u32::from(byte) - 0x7f),
        0xad => Some('\u{143}'),
        _ => Some(char::from(byte)),
    }
    .unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Inverse of [`byte_to_char`].
pub(super) fn char_to_byte(c: char) -> Option<u8> {
    let code = u32::from(c);
    let byte = match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => code,
        0x100..=0x120 => code - 0x100,
        0x121..=0x142 => code - 0x121 + 0x7f,
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn byte_alphabet_is_a_bijection() {
        for byte in 0..=255 {
            assert_eq!(super::char_to_byte(super::byte_to_char(byte)), Some(byte));
        }
        let ours: std::collections::BTreeSet<char> = (0..=255).map(super::byte_to_char).collect();
        let theirs = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        assert_eq!(ours, theirs.into_iter().collect());
    }
}
