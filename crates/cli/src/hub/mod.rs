//! Models from the Hugging Face hub: an id becomes files on this disk, in the cache that all of
//! Hugging Face's tools share; an address of the hub is read with the token that is for it.

mod cache;
mod transfer;

use std::path::PathBuf;
use std::rc::Rc;

use peregrine::Error;
use peregrine::checkpoint::hub::{HubFiles, HubId, shards};
use peregrine::checkpoint::{Checkpoint, HttpSource, Source, split};
use pollster::block_on;

use self::cache::Repository;
use self::transfer::Hub;
use crate::environment::Environment;
use crate::failure::{Failure, Outcome};

/// A file or folder on this disk, to be opened as a model, with the model's files fetched where
/// they were not there yet.
pub fn fetch(id: &HubId) -> Outcome<PathBuf> {
    let environment = Environment::here()?;
    let cache = environment.cache.clone();
    let cache =
        cache.ok_or_else(|| Failure::input("there is no home directory for the cache of downloads: set HF_HOME"))?;
    let cached = Repository::new(cache, &id.repo, environment.no_links);
    let hub = Hub { client: environment.client()?, environment: &environment, cached: &cached, repo: &id.repo };
    let listed = match environment.offline {
        Some(name) => Err(Failure::input(format!("{name} is set"))),
        None => hub.list(),
    };
    let (commit, files) = match listed {
        Ok(listed) => listed,
        // Whatever is the matter with the hub, what is in the cache will do.
        Err(error) => {
            let missing = format!("; {} is not in the cache of downloads", id.repo);
            return cached.find(id).ok_or_else(|| error.with(&missing));
        }
    };
    let snapshot = cached.snapshot(&commit);
    let path = match id.choose(&files)? {
        HubFiles::Gguf(parts) => {
            parts.iter().try_for_each(|part| hub.file(part, &commit))?;
            parts.first().map_or(snapshot.clone(), |first| snapshot.join(first))
        }
        HubFiles::Folder { mut files, index } => {
            if let Some(index) = index {
                hub.file(&index, &commit)?;
                let path = snapshot.join(&index);
                let bytes = std::fs::read(&path).map_err(Failure::writing(&path.display().to_string()))?;
                files.extend(shards(&format!("{}: {index}", id.repo), &bytes)?);
            }
            files.iter().try_for_each(|file| hub.file(file, &commit))?;
            snapshot
        }
    };
    cached.remember(&commit);
    Ok(path)
}

/// Opens the GGUF file at an address.
pub fn open_address(address: &str) -> Outcome<Checkpoint> {
    let environment = Environment::here()?;
    let address = file_of_page(&environment, address);
    if let Some(name) = environment.offline.filter(|_| environment.is_hub(&address)) {
        return Err(Failure::input(format!("{address}: {name} is set")));
    }
    let client = environment.client()?;
    let open = || {
        let parts = split::names(&address).unwrap_or_else(|| vec![address.clone()]);
        let source = |part: &String| Ok(Rc::new(HttpSource::open_with(client.clone(), part)?) as Rc<dyn Source>);
        block_on(Checkpoint::open_gguf_parts(parts.iter().map(source).collect::<Result<_, Error>>()?))
    };
    open().map_err(|error| {
        let why = match &error {
            Error::Http { status: Some(401 | 403), .. } if !environment.is_hub(&address) => {
                Some("the token of HF_TOKEN goes to the hub's own hosts only; a mirror is named in HF_ENDPOINT".into())
            }
            Error::Http { status: Some(status), .. } if environment.is_hub(&address) => {
                let repo = repository(&environment, &address);
                advice(&environment, *status, repo.filter(|_| *status == 403))
            }
            _ => None,
        };
        let failure = Failure::from(error);
        match why {
            Some(why) => failure.with(&format!("; {why}")),
            None => failure,
        }
    })
}

/// Of the page that shows a file on the hub, the file.
fn file_of_page(environment: &Environment, address: &str) -> String {
    let page = repository(environment, address).map(|repo| format!("{repo}/blob/"));
    match page.filter(|page| address.contains(page.as_str())) {
        Some(page) => address.replacen(&page, &page.replace("/blob/", "/resolve/"), 1),
        None => address.into(),
    }
}

/// `org/repo` of an address of the hub.
fn repository<'a>(environment: &Environment, address: &'a str) -> Option<&'a str> {
    let path = match address.strip_prefix(&environment.endpoint) {
        Some(path) => path.strip_prefix('/')?,
        None => address.splitn(4, '/').nth(3).filter(|_| environment.is_hub(address))?,
    };
    let org = path.find('/')?;
    let repo = path[org + 1..].find('/')?;
    Some(&path[..org + 1 + repo])
}

/// What an error status of the hub means, where that is something to mend.
fn advice(environment: &Environment, status: u16, gated: Option<&str>) -> Option<String> {
    let terms = gated.map(|repo| format!("its terms are accepted at {}/{repo}", environment.endpoint));
    match (status, terms, environment.has_token()) {
        (401 | 403, Some(terms), true) => {
            Some(format!("the token of HF_TOKEN, or of the cache, has no access: {terms}"))
        }
        (401 | 403, Some(terms), false) => Some(format!("it asks for a token: {terms}, then set HF_TOKEN")),
        (401 | 403, None, true) => Some("the token of HF_TOKEN, or of the cache, has no access to it".into()),
        // The hub does not tell strangers which private repositories there are.
        (401 | 403, None, false) => Some("there is none of this name, or it asks for a token: set HF_TOKEN".into()),
        (404, ..) => Some("there is no such repository or file".into()),
        _ => None,
    }
}

/// Commits and ETags become names of files.
fn is_word(text: &str) -> bool {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    plain && !text.is_empty() && text.len() <= 128
}
