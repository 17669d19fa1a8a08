//! `tokenizer.json` to the fields that a GGUF file has for a tokenizer.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use peregrine::checkpoint::TokenizerData;
use peregrine::{Error, Result};

/// How Llama 3 splits text, as its `tokenizer.json` says it; GGUF's `falcon-h1` splits the same
/// way.
pub(crate) const LLAMA3_SPLIT: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| \
                            ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

fn malformed(field: &str, expected: impl ToString, found: impl ToString) -> Error {
    Error::Malformed {
        name: "tokenizer.json".into(),
        field: field.into(),
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

fn unsupported(field: &str, expected: &str, found: impl ToString) -> Error {
    Error::Unsupported {
        name: "tokenizer.json".into(),
        field: field.into(),
        expected: expected.into(),
        found: found.to_string(),
    }
}

/// The tokenizer as GGUF's fields, for `vocab_size` rows of embedding; what is GGUF's already stays
/// as it is.
///
/// # Errors
/// [`Error::Unsupported`] where GGUF has no words for what `tokenizer.json` does;
/// [`Error::Malformed`].
pub(crate) fn to_gguf(data: &TokenizerData, vocab_size: u32) -> Result<TokenizerData> {
    let TokenizerData::Json { bytes, bos, eos, pad, add_bos } = data else {
        return Ok(data.clone());
    };
    let root: Value = serde_json::from_slice(bytes).map_err(|e| malformed("the file", "JSON", e))?;
    let model = &root["model"];
    if model["type"] != "BPE" || model["byte_fallback"] == true {
        return Err(unsupported("model", "byte-level BPE", &model["type"]));
    }
    if !root["normalizer"].is_null() {
        return Err(unsupported("normalizer", "none, as GGUF has no field for one", &root["normalizer"]));
    }
    for field in ["unk_token", "continuing_subword_prefix", "end_of_word_suffix"] {
        if !matches!(&model[field], Value::Null) && model[field] != "" {
            return Err(unsupported(&format!("model.{field}"), "none", &model[field]));
        }
    }
    let pre = pre_tokenizer(&root["pre_tokenizer"])?;
    // The names say this too; it makes no difference where merges lead to every word.
    let whole_words = pre == "falcon-h1";
    if (model["ignore_merges"] == true) != whole_words && !merges_reach_all(&root) {
        return Err(unsupported(
            "model.ignore_merges",
            &format!("{whole_words} with this pre_tokenizer"),
            !whole_words,
        ));
    }
    for token in root["added_tokens"].as_array().into_iter().flatten() {
        if let Some(flag) = ["single_word", "lstrip", "rstrip"].into_iter().find(|flag| token[*flag] == true) {
            return Err(unsupported(&format!("{flag} of token {}", token["content"]), "false", true));
        }
    }
    let (tokens, token_types) = vocabulary(&root, vocab_size)?;
    Ok(TokenizerData::Gguf {
        pre: pre.into(),
        tokens,
        token_types,
        merges: merges(model)?,
        bos: *bos,
        eos: eos.clone(),
        pad: *pad,
        add_bos: *add_bos,
    })
}

/// Whether BPE makes every word of the vocabulary out of its characters.
fn merges_reach_all(root: &Value) -> bool {
    let Ok(merges) = merges(&root["model"]) else {
        return false;
    };
    let pairs = merges.iter().enumerate().filter_map(|(rank, merge)| Some((merge.split_once(' ')?, rank)));
    let ranks: HashMap<(&str, &str), usize> = pairs.collect();
    let added = root["added_tokens"].as_array().into_iter().flatten().filter_map(|token| token["content"].as_str());
    let added: HashSet<&str> = added.collect();
    let reached = |word: &str| {
        // Ends of the pieces that are left.
        let mut ends: Vec<usize> = word.char_indices().map(|(at, c)| at + c.len_utf8()).collect();
        while ends.len() > 1 {
            let rank = |at: usize| {
                let first = if at == 0 { 0 } else { ends[at - 1] };
                ranks.get(&(&word[first..ends[at]], &word[ends[at]..ends[at + 1]])).map(|rank| (*rank, at))
            };
            match (0..ends.len() - 1).filter_map(rank).min() {
                Some((_, at)) => ends.remove(at),
                None => return false,
            };
        }
        true
    };
    let words = root["model"]["vocab"].as_object().into_iter().flatten().map(|(word, _)| word.as_str());
    words.filter(|word| !added.contains(word)).all(reached)
}

/// GGUF's name for a `pre_tokenizer`.
fn pre_tokenizer(value: &Value) -> Result<&'static str> {
    let is_bytes = |step: &Value, regex: bool| {
        let splits = step["use_regex"].as_bool().unwrap_or(true);
        step["type"] == "ByteLevel" && splits == regex && step["add_prefix_space"] != true
    };
    let steps = match &value["pretokenizers"] {
        Value::Array(steps) if value["type"] == "Sequence" => steps.as_slice(),
        _ => std::slice::from_ref(value),
    };
    match steps {
        [bytes] if is_bytes(bytes, true) => Ok("gpt-2"),
        [digits, bytes]
            if digits["type"] == "Digits" && digits["individual_digits"] == true && is_bytes(bytes, true) =>
        {
            Ok("smollm")
        }
        [split, bytes]
            if split["type"] == "Split"
                && split["pattern"]["Regex"] == LLAMA3_SPLIT
                && split["behavior"] == "Isolated"
                && split["invert"] != true
                && is_bytes(bytes, false) =>
        {
            Ok("falcon-h1")
        }
        _ => Err(unsupported(
            "pre_tokenizer",
            "ByteLevel, Digits and ByteLevel, or the split of Llama 3 and ByteLevel",
            value,
        )),
    }
}

/// Token texts and types by id. Ids without a token become `[PADid]`, of type unused, as the
/// field's converter does.
fn vocabulary(root: &Value, vocab_size: u32) -> Result<(Vec<String>, Vec<i32>)> {
    let size = vocab_size as usize;
    let mut tokens: Vec<Option<(String, i32)>> = vec![None; size];
    let mut put = |text: &str, id: Option<u64>, ty: i32| {
        let place = id.and_then(|id| usize::try_from(id).ok()).filter(|&id| id < size);
        let Some(place) = place else {
            let field = format!("the id of token {text:?}");
            let found = id.map_or("none".into(), |id| id.to_string());
            return Err(malformed(&field, format!("an id below {vocab_size}"), found));
        };
        match &tokens[place] {
            Some((other, _)) if other != text => {
                Err(malformed(&format!("token {place}"), "one text", format!("{other:?} and {text:?}")))
            }
            _ => {
                tokens[place] = Some((text.into(), ty));
                Ok(())
            }
        }
    };
    let vocab = root["model"]["vocab"].as_object();
    for (text, id) in vocab.ok_or_else(|| malformed("model.vocab", "an object", "none"))? {
        put(text, id.as_u64(), 1)?;
    }
    for token in root["added_tokens"].as_array().into_iter().flatten() {
        let text = token["content"].as_str();
        let text = text.ok_or_else(|| malformed("added_tokens", "content in each", token))?;
        put(text, token["id"].as_u64(), if token["special"] == true { 3 } else { 4 })?;
    }
    let named = tokens.into_iter().enumerate();
    Ok(named.map(|(id, token)| token.unwrap_or_else(|| (format!("[PAD{id}]"), 5))).unzip())
}

/// Merges as "left right"; they are such strings already, or pairs of strings.
fn merges(model: &Value) -> Result<Vec<String>> {
    let merges = model["merges"].as_array();
    let merges = merges.ok_or_else(|| malformed("model.merges", "an array", "none"))?;
    let text = |merge: &Value| match merge {
        Value::String(merge) => Some(merge.clone()),
        Value::Array(pair) if pair.len() == 2 => {
            // A space inside a piece would split the pair elsewhere; byte-level BPE writes it as Ġ.
            let side = |at: usize| Some(pair[at].as_str()?.replace(' ', "Ġ"));
            Some(format!("{} {}", side(0)?, side(1)?))
        }
        _ => None,
    };
    let wrong = |merge| malformed("model.merges", "pairs of strings", merge);
    merges.iter().map(|merge| text(merge).ok_or_else(|| wrong(merge))).collect()
}
