//! Ids on the Hugging Face hub: what `org/repo`, `org/repo:FILE` and `org/repo:Q4_K_M` mean, and
//! which files of a repository they stand for. No network here: who has the list of a repository's
//! files asks [`HubId::choose`].

use super::split;
use crate::{Error, Result};

/// The type that is taken of a repository with nothing but GGUF files.
const DEFAULT_TYPE: &str = "Q4_K_M";

/// Names that a message lists at most.
const LISTED: usize = 30;

/// An id as the user writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubId {
    /// `org/repo`
    pub repo: String,
    /// What follows the colon: a file of the repository, or a part of a GGUF file's name, such as
    /// `Q4_K_M`.
    pub file: Option<String>,
}

/// What to fetch of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HubFiles {
    /// A GGUF file, or all parts of a split one in order.
    Gguf(Vec<String>),
    /// A folder with safetensors: these files, whole. Where there is an index, it names the
    /// weights' files.
    Folder {
        /// Configuration, tokenizer, template; and `model.safetensors` unless there is an index.
        files: Vec<String>,
        /// `model.safetensors.index.json`
        index: Option<String>,
    },
}

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// What a folder's reader opens beside the weights; only the first two must be there.
const BESIDE: [&str; 9] = [
    CONFIG,
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/default.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
];

impl HubId {
    /// `org/repo`, with `:FILE` or without; `None` when the hub does not allow such a name, or it
    /// is clearly a file's.
    pub fn parse(model: &str) -> Option<Self> {
        let (id, file) = model.split_once(':').map_or((model, None), |(id, file)| (id, Some(file)));
        let (org, repo) = id.split_once('/')?;
        let word = |part: &str| {
            let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.len() <= 96 && part.chars().all(legal)
        };
        let is_file = [".gguf", ".safetensors", ".json"].iter().any(|end| repo.ends_with(end));
        let good = word(org) && word(repo) && !is_file && file.is_none_or(is_inside);
        good.then(|| Self { repo: id.into(), file: file.map(Into::into) })
    }

    /// Which of a repository's files the id means.
    ///
    /// # Errors
    /// [`Error::Argument`] when there is no such file or more than one, with a list of those there
    /// are; [`Error::Malformed`] for a name that reaches outside the repository.
    pub fn choose(&self, listed: &[String]) -> Result<HubFiles> {
        let has = |name: &str| listed.iter().any(|file| file == name);
        let Some(wanted) = &self.file else {
            if has(WEIGHTS) || has(INDEX) {
                return self.folder(&has);
            }
            return self.gguf(DEFAULT_TYPE, listed);
        };
        if !has(wanted) {
            return self.gguf(wanted, listed);
        }
        if !wanted.ends_with(".gguf") {
            return Err(self.refuse("a GGUF file, or the repository alone for its safetensors", wanted, listed));
        }
        self.whole(wanted, listed)
    }

    fn folder(&self, has: &dyn Fn(&str) -> bool) -> Result<HubFiles> {
        if let Some(missing) = BESIDE[..2].iter().find(|name| !has(name)) {
            return Err(Error::MissingField { name: self.repo.clone(), field: format!("(file) {missing}") });
        }
        let index = has(INDEX).then(|| INDEX.to_string());
        let mut files: Vec<String> = BESIDE.iter().filter(|name| has(name)).map(ToString::to_string).collect();
        if index.is_none() {
            files.push(WEIGHTS.into());
        }
        Ok(HubFiles::Folder { files, index })
    }

    /// The one GGUF file whose name has this type. `Q4_K` is not `Q4_K_M` where both are there, nor
    /// `F16` `BF16`.
    fn gguf(&self, wanted: &str, listed: &[String]) -> Result<HubFiles> {
        let lower = wanted.to_lowercase();
        // Parts of a split file count as one.
        let first = |name: &String| split::names(name).is_none_or(|parts| parts.first() == Some(name));
        let files = || listed.iter().filter(|name| name.ends_with(".gguf") && first(name));
        let having: Vec<&String> = files().filter(|name| name.to_lowercase().contains(&lower)).collect();
        let exact: Vec<&String> =
            having.iter().copied().filter(|name| has_word(&name.to_lowercase(), &lower)).collect();
        match (&exact[..], &having[..]) {
            ([one], _) | ([], [one]) => self.whole(one, listed),
            ([], []) => {
                let what = match &self.file {
                    Some(_) => format!("a file, or a part of a GGUF file's name, of {}", self.repo),
                    None => format!("safetensors or a {DEFAULT_TYPE} file in {}", self.repo),
                };
                Err(self.refuse(&what, self.file.as_deref().unwrap_or("neither"), listed))
            }
            _ => Err(self.refuse("a name that only one file has", wanted, listed)),
        }
    }

    /// A GGUF file with all its parts.
    fn whole(&self, name: &str, listed: &[String]) -> Result<HubFiles> {
        // What others of the repository's files are called is nobody's business: they are not
        // fetched.
        if !is_inside(name) {
            return Err(Error::Malformed {
                name: self.repo.clone(),
                field: "the list of files".into(),
                expected: "a name inside the repository".into(),
                found: format!("{name:?}"),
            });
        }
        let Some(parts) = split::names(name) else {
            return Ok(HubFiles::Gguf(vec![name.into()]));
        };
        match parts.iter().find(|part| !listed.contains(part)) {
            Some(missing) => Err(self.refuse(&format!("all parts of {name}"), &format!("no {missing}"), listed)),
            None => Ok(HubFiles::Gguf(parts)),
        }
    }

    fn refuse(&self, expected: &str, found: &str, listed: &[String]) -> Error {
        let mut models: Vec<&str> =
            listed.iter().map(String::as_str).filter(|n| n.ends_with(".gguf") || n.ends_with(".safetensors")).collect();
        models.sort_unstable();
        let more = models.len().saturating_sub(LISTED);
        models.truncate(LISTED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let there = if models.is_empty() { "no model file".to_string() } else { models.join(", ") + &more };
        Error::Argument {
            field: self.repo.clone(),
            expected: expected.into(),
            found: format!("{found}; there: {there}"),
        }
    }
}

/// The names of the files with weights that an index lists.
///
/// # Errors
/// [`Error::Malformed`] for an index that is none, or lists names outside its folder.
pub fn shards(name: &str, index: &[u8]) -> Result<Vec<String>> {
    let malformed = |expected: &str, found: String| Error::Malformed {
        name: name.into(),
        field: "weight_map".into(),
        expected: expected.into(),
        found,
    };
    let json: serde_json::Value = serde_json::from_slice(index).map_err(|e| malformed("JSON", e.to_string()))?;
    let map = json.get("weight_map").and_then(serde_json::Value::as_object);
    let map = map.ok_or_else(|| malformed("names of files by name of tensor", "none".into()))?;
    let mut files = std::collections::BTreeSet::new();
    for file in map.values() {
        match file.as_str().filter(|file| is_inside(file) && !file.contains('/')) {
            Some(file) => files.insert(file.to_string()),
            None => return Err(malformed("names of files in the folder", file.to_string())),
        };
    }
    Ok(files.into_iter().collect())
}

/// Whether a name stays inside the folder that it is joined to, on every system, and in an address.
fn is_inside(name: &str) -> bool {
    let odd = |c: char| c.is_control() || "\\:?#%\"<>|*".contains(c);
    !name.is_empty() && !name.contains(odd) && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// Whether `text` has `word` with no letter, digit or underscore beside it.
fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].chars().next_back().is_some_and(part) && !text[at + word.len()..].chars().next().is_some_and(part)
    })
}
