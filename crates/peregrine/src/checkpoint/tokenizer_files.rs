//! The tokenizer of a Hugging Face folder: `tokenizer.json`, and what `tokenizer_config.json`,
//! `special_tokens_map.json` and `added_tokens.json` add to it, in the order in which transformers
//! reads them.

use serde_json::{Map, Value, json};

use super::TokenizerData;
use super::folder::{Folder, read_text};
use crate::{Error, Result};

/// The names that every tokenizer's special tokens may have; others end in `_token` too.
const NAMES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

fn malformed(name: &str, field: &str, expected: impl ToString, found: impl ToString) -> Error {
    Error::Malformed {
        name: name.into(),
        field: field.into(),
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

/// A folder's tokenizer, its chat template, and the texts of the tokens that have a name.
pub(super) struct TokenizerFiles {
    pub data: TokenizerData,
    pub chat_template: Option<String>,
    pub named: Vec<(String, String)>,
}

/// The text of a token: a string, or an object with one.
fn content(token: &Value) -> Option<&str> {
    token.get("content").unwrap_or(token).as_str()
}

/// An entry of `added_tokens` for a token that is a string or an object.
fn entry(token: &Value, id: Option<u64>, special: Option<bool>) -> Option<Value> {
    let text = content(token)?;
    let flag = |name: &str| token.get(name).and_then(Value::as_bool).unwrap_or(false);
    let special = special.unwrap_or_else(|| flag("special"));
    // What the library takes where nothing is said.
    let normalized = token.get("normalized").and_then(Value::as_bool).unwrap_or(!special);
    Some(json!({"id": id, "content": text, "single_word": flag("single_word"), "lstrip": flag("lstrip"),
        "rstrip": flag("rstrip"), "normalized": normalized, "special": special}))
}

/// Everything about the tokenizer in `folder`; the two values are those of `config.json` and
/// `generation_config.json`.
pub(super) async fn open(folder: &Folder<'_>, config: &Value, generation: &Value) -> Result<TokenizerFiles> {
    let mut bytes = read_text(&*folder.open("tokenizer.json")?).await?;
    let name = folder.path_of("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&bytes).map_err(|e| malformed(&name, "the file", "JSON", e))?;
    if !tokenizer.is_object() {
        let found: String = tokenizer.to_string().chars().take(40).collect();
        return Err(malformed(&name, "the file", "a JSON object", found));
    }
    let config_name = folder.path_of("tokenizer_config.json");
    let mut settings = folder.json("tokenizer_config.json").await?.unwrap_or_default();
    let chat_template = chat_template(folder, &settings).await?;
    refuse(&config_name, &settings, &tokenizer)?;
    // As in transformers, where the first is there the older two files are not read.
    let legacy = settings.get("added_tokens_decoder").is_none();
    if legacy && let Some(Value::Object(map)) = folder.json("special_tokens_map.json").await? {
        let fields = settings.as_object_mut();
        if let Some(fields) = fields {
            fields.extend(map);
        } else {
            settings = Value::Object(map);
        }
    }
    let named = named(&settings);
    let extra = extra(&settings);
    let mut wanted: Vec<Value> = Vec::new();
    if legacy {
        let added = folder.json("added_tokens.json").await?.unwrap_or_default();
        for (text, id) in added.as_object().into_iter().flatten() {
            let special = named.iter().any(|(_, token)| content(token) == Some(text))
                || extra.iter().any(|token| content(token) == Some(text));
            wanted.extend(entry(&json!(text), id.as_u64(), Some(special)));
        }
    } else {
        let mut list: Vec<(u64, &Value)> = Vec::new();
        for (id, token) in settings["added_tokens_decoder"].as_object().into_iter().flatten() {
            let number = id.parse().ok().filter(|_| content(token).is_some());
            let number = number.ok_or_else(|| {
                malformed(
                    &config_name,
                    "added_tokens_decoder",
                    "tokens with their text by id",
                    format!("{id}: {token}"),
                )
            })?;
            list.push((number, token));
        }
        list.sort_by_key(|(id, _)| *id);
        wanted.extend(list.into_iter().filter_map(|(id, token)| entry(token, Some(id), None)));
    }
    if merge(&name, &config_name, &mut tokenizer, wanted, &named, &extra)? {
        bytes = tokenizer.to_string().into_bytes();
    }
    let ids = Ids { tokenizer: &tokenizer, named: &named, config, generation };
    let mut eos: Vec<u32> = ids.of_name("eos_token").into_iter().collect();
    for id in ids.stated("eos_token_id") {
        if !eos.contains(&id) {
            eos.push(id);
        }
    }
    let bos = ids.one("bos");
    let add_bos = match settings.get("add_bos_token").and_then(Value::as_bool) {
        Some(add) => add,
        None => begins_with_special(tokenizer.get("post_processor")),
    };
    let data = TokenizerData::Json { bos, eos, pad: ids.one("pad"), add_bos: add_bos && bos.is_some(), bytes };
    let text = |(name, token): (String, Value)| content(&token).map(|text| (name, text.to_string()));
    Ok(TokenizerFiles { data, chat_template, named: named.into_iter().filter_map(text).collect() })
}

/// What transformers would honor and this runtime does not.
fn refuse(name: &str, settings: &Value, tokenizer: &Value) -> Result<()> {
    let unsupported = |field: &str, expected: &str| Error::Unsupported {
        name: name.into(),
        field: field.into(),
        expected: expected.into(),
        found: "true".into(),
    };
    if settings.get("split_special_tokens") == Some(&Value::Bool(true)) {
        return Err(unsupported("split_special_tokens", "false: a template's control tokens would be spelled out"));
    }
    let prefixed = tokenizer["pre_tokenizer"].to_string().contains("\"add_prefix_space\":true");
    if settings.get("add_prefix_space") == Some(&Value::Bool(true)) && !prefixed {
        return Err(unsupported("add_prefix_space", "what the pre_tokenizer of tokenizer.json says, false"));
    }
    Ok(())
}

/// Special tokens by their names, in a fixed order: the usual names, then the model's own.
fn named(settings: &Value) -> Vec<(String, Value)> {
    let mut named: Vec<(String, Value)> = Vec::new();
    let mut put = |name: &str, token: &Value| {
        if content(token).is_some() && !named.iter().any(|(known, _)| known == name) {
            named.push((name.into(), token.clone()));
        }
    };
    for name in NAMES {
        put(name, &settings[name]);
    }
    for field in ["extra_special_tokens", "model_specific_special_tokens"] {
        for (name, token) in settings[field].as_object().into_iter().flatten() {
            put(name, token);
        }
    }
    for (name, token) in settings.as_object().into_iter().flatten() {
        if name.ends_with("_token") {
            put(name, token);
        }
    }
    named
}

/// Special tokens without a name: `extra_special_tokens`, or `additional_special_tokens`, its old
/// name.
fn extra(settings: &Value) -> Vec<Value> {
    let list = |field: &str| settings.get(field).and_then(Value::as_array).filter(|list| !list.is_empty());
    let named = settings.get("extra_special_tokens").and_then(Value::as_object).is_some_and(|map| !map.is_empty());
    let old = || list("additional_special_tokens").filter(|_| !named);
    list("extra_special_tokens").or_else(old).cloned().unwrap_or_default()
}

/// Puts into `added_tokens` what is not there yet; whether there was something. New tokens get the
/// next ids.
fn merge(
    name: &str,
    config_name: &str,
    tokenizer: &mut Value,
    mut wanted: Vec<Value>,
    named: &[(String, Value)],
    extra: &[Value],
) -> Result<bool> {
    let (none, file) = (Map::new(), &*tokenizer);
    let vocab = file["model"]["vocab"].as_object().unwrap_or(&none);
    let mut added = file["added_tokens"].as_array().cloned().unwrap_or_default();
    let known = |added: &[Value], text: &str| added.iter().position(|token| content(token) == Some(text));
    for token in named.iter().map(|(_, token)| token).chain(extra) {
        let Some(text) = content(token) else { continue };
        match wanted.iter_mut().find(|token| content(token) == Some(text)) {
            // What has a name is special, whatever its entry says.
            Some(entry) if named.iter().any(|(_, token)| content(token) == Some(text)) => {
                entry["special"] = json!(true)
            }
            Some(_) => {}
            None if known(&added, text).is_some_and(|at| added[at]["special"] == true) => {}
            // As it is there, but special.
            None if let Some(at) = known(&added, text) => {
                wanted.extend(entry(&added[at], added[at]["id"].as_u64(), Some(true)))
            }
            None => wanted.extend(entry(token, None, Some(true))),
        }
    }
    let mut changed = false;
    for mut token in wanted {
        let Some(text) = content(&token).filter(|text| !text.is_empty()).map(String::from) else { continue };
        let stated = token["id"].as_u64();
        let at = known(&added, &text);
        let own = at.and_then(|at| added[at]["id"].as_u64()).or_else(|| vocab.get(&text).and_then(Value::as_u64));
        let id = own.unwrap_or_else(|| {
            let new = added.iter().filter(|token| content(token).is_some_and(|text| !vocab.contains_key(text)));
            (vocab.len() + new.count()) as u64
        });
        if let Some(stated) = stated.filter(|stated| *stated != id) {
            let field = format!("the id of token {text:?}");
            let expected = match own {
                Some(_) => format!("{id}, as in {name}"),
                None => format!("{id}, the next after those of {name}"),
            };
            return Err(malformed(config_name, &field, expected, stated));
        }
        token["id"] = json!(id);
        match at {
            Some(at) if added[at] == token => continue,
            Some(at) => added[at] = token,
            None => added.push(token),
        }
        changed = true;
    }
    if changed {
        tokenizer["added_tokens"] = Value::Array(added);
    }
    Ok(changed)
}

/// Ids of special tokens, from where Hugging Face's libraries take them.
struct Ids<'a> {
    tokenizer: &'a Value,
    named: &'a [(String, Value)],
    config: &'a Value,
    generation: &'a Value,
}

impl Ids<'_> {
    fn of_name(&self, name: &str) -> Option<u32> {
        let text = self.named.iter().find(|(known, _)| known == name).and_then(|(_, token)| content(token))?;
        let added = self.tokenizer["added_tokens"].as_array()?.iter().find(|token| content(token) == Some(text));
        narrow(added?.get("id")?)
    }

    fn stated(&self, field: &str) -> Vec<u32> {
        let value = self.generation.get(field).filter(|v| !v.is_null()).or_else(|| self.config.get(field));
        match value {
            Some(Value::Array(ids)) => ids.iter().filter_map(narrow).collect(),
            Some(id) => narrow(id).into_iter().collect(),
            None => Vec::new(),
        }
    }

    fn one(&self, kind: &str) -> Option<u32> {
        self.of_name(&format!("{kind}_token")).or_else(|| self.stated(&format!("{kind}_token_id")).first().copied())
    }
}

fn narrow(id: &Value) -> Option<u32> {
    id.as_u64().and_then(|id| u32::try_from(id).ok())
}

/// Whether the post-processor puts a special token before a single text.
fn begins_with_special(processor: Option<&Value>) -> bool {
    let Some(processor) = processor else {
        return false;
    };
    if let Some(several) = processor.get("processors").and_then(Value::as_array) {
        return several.iter().any(|processor| begins_with_special(Some(processor)));
    }
    let first = processor.get("single").and_then(|single| single.get(0));
    first.is_some_and(|first| first.get("SpecialToken").is_some())
}

/// The template named "default" among `additional_chat_templates`, `chat_template.jinja`, that of
/// `tokenizer_config.json` (of several the default), or that of `chat_template.json`, where
/// processors kept it.
async fn chat_template(folder: &Folder<'_>, tokenizer_config: &Value) -> Result<Option<String>> {
    for file in ["additional_chat_templates/default.jinja", "chat_template.jinja"] {
        if let Some(bytes) = folder.read(file).await? {
            let name = folder.path_of(file);
            let text = String::from_utf8(bytes);
            return text.map(Some).map_err(|e| malformed(&name, "the file", "UTF-8", e.utf8_error()));
        }
    }
    let of = |settings: &Value| match settings.get("chat_template") {
        Some(Value::Array(several)) => {
            let default = several.iter().find(|t| t.get("name").is_some_and(|n| n == "default"));
            default.and_then(|t| t.get("template")).and_then(Value::as_str).map(String::from)
        }
        other => other.and_then(Value::as_str).map(String::from),
    };
    match of(tokenizer_config) {
        Some(template) => Ok(Some(template)),
        None => Ok(folder.json("chat_template.json").await?.as_ref().and_then(of)),
    }
}
