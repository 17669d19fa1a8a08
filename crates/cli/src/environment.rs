//! The environment as huggingface_hub reads it (`tests/hub/environment.json` has its own answers):
//! where the hub and its cache are, and who asks. White space around values is no part of them, and
//! an empty one is none.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use peregrine::checkpoint::http::{HttpClient, HttpOptions, Token, Variables, environment, origin};

use crate::failure::{Failure, Outcome};

/// The hub.
const ENDPOINT: &str = "https://huggingface.co";
/// Other hosts of the hub's own, to which a token may go.
const HOSTS: [&str; 3] = [ENDPOINT, "https://hf.co", "https://hub-ci.huggingface.co"];

/// What the environment says about the hub.
#[derive(Debug)]
pub struct Environment {
    /// `HF_ENDPOINT`, without a slash at the end.
    pub endpoint: String,
    /// The folder of all repositories; none without a home directory.
    pub cache: Option<PathBuf>,
    /// The variable that forbids to ask the hub.
    pub offline: Option<&'static str>,
    /// `HF_HUB_DISABLE_SYMLINKS`
    pub no_links: bool,
    /// `HF_HUB_DISABLE_PROGRESS_BARS`
    pub no_bars: bool,
    token: Option<String>,
    /// `HF_HUB_ETAG_TIMEOUT`
    answer: Option<Duration>,
    /// `HF_HUB_DOWNLOAD_TIMEOUT`
    bytes: Option<Duration>,
    /// `HF_HUB_USER_AGENT_ORIGIN`
    from: Option<String>,
}

impl Environment {
    /// This process's.
    pub fn here() -> Outcome<Self> {
        Self::read(&environment, std::env::home_dir().filter(|home| !home.as_os_str().is_empty()))
    }

    fn read(variable: Variables, home: Option<PathBuf>) -> Outcome<Self> {
        let is = |name: &str| variable(name).is_some_and(|value| is_true(&value));
        let path = |text: &str| expanded(text, variable, home.as_deref());
        let seconds = |name: &str| match variable(name).map(|value| value.parse::<u64>()) {
            None | Some(Ok(0)) => Ok(None),
            Some(Ok(seconds)) => Ok(Some(Duration::from_secs(seconds))),
            Some(Err(_)) => Err(Failure::input(format!("{name}: a whole number of seconds is needed"))),
        };
        let huggingface = match (variable("HF_HOME"), variable("XDG_CACHE_HOME")) {
            (Some(home), _) => Some(path(&home)),
            (None, Some(caches)) => Some(path(&caches).join("huggingface")),
            (None, None) => home.as_ref().map(|home| home.join(".cache/huggingface")),
        };
        let hub = variable("HF_HUB_CACHE").or_else(|| variable("HUGGINGFACE_HUB_CACHE")).map(|text| path(&text));
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into()).trim_end_matches('/').to_string();
        if origin(&endpoint).is_none() || endpoint.contains(['?', '#']) {
            return Err(Failure::input(format!("HF_ENDPOINT: an http(s) address is needed, found {endpoint:?}")));
        }
        let kept = || {
            let file = variable("HF_TOKEN_PATH").map(|text| path(&text));
            std::fs::read_to_string(file.or_else(|| Some(huggingface.as_ref()?.join("token")))?).ok()
        };
        let token = variable("HF_TOKEN").or_else(|| variable("HUGGING_FACE_HUB_TOKEN")).or_else(kept);
        let token =
            token.map(|text| text.replace(['\r', '\n'], "").trim().to_string()).filter(|token| !token.is_empty());
        if token.as_ref().is_some_and(|token| !token.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(Failure::input("HF_TOKEN, or the file of the token: it has characters that no token has"));
        }
        let offline = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].into_iter().find(|name| variable(name).is_some());
        Ok(Self {
            endpoint,
            offline: offline.filter(|name| is(name)),
            no_links: is("HF_HUB_DISABLE_SYMLINKS"),
            no_bars: is("HF_HUB_DISABLE_PROGRESS_BARS"),
            token: token.filter(|_| !is("HF_HUB_DISABLE_IMPLICIT_TOKEN")),
            answer: seconds("HF_HUB_ETAG_TIMEOUT")?,
            bytes: seconds("HF_HUB_DOWNLOAD_TIMEOUT")?,
            from: variable("HF_HUB_USER_AGENT_ORIGIN"),
            cache: hub.or_else(|| Some(huggingface?.join("hub"))),
        })
    }

    /// Whether the hub will know who asks.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Whether an address is the hub's own.
    pub fn is_hub(&self, url: &str) -> bool {
        origin(url).is_some_and(|own| self.origins().contains(&own))
    }

    fn origins(&self) -> Vec<String> {
        HOSTS.iter().copied().chain([self.endpoint.as_str()]).filter_map(origin).collect()
    }

    /// A client that gives the token to the hub only.
    pub fn client(&self) -> Outcome<Rc<HttpClient>> {
        let usual = HttpOptions::default();
        // It becomes part of a header.
        let from = self.from.as_ref().map(|from| from.chars().filter(|c| c.is_ascii_graphic()).collect::<String>());
        let options = HttpOptions {
            agent: from.map_or(usual.agent.clone(), |from| format!("{}; origin/{from}", usual.agent)),
            answer: self.answer.unwrap_or(usual.answer),
            bytes: self.bytes.unwrap_or(usual.bytes),
            token: self.token.clone().map(|secret| Token { secret, origins: self.origins() }),
        };
        Ok(Rc::new(HttpClient::new(options)?))
    }
}

fn is_true(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str())
}

/// A path with `~` for the home directory, and `$NAME` or `${NAME}` for variables that are there.
fn expanded(text: &str, variable: Variables, home: Option<&std::path::Path>) -> PathBuf {
    let text = match (text.strip_prefix('~'), home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => format!("{}{rest}", home.display()),
        _ => text.to_string(),
    };
    let mut path = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find('$') {
        path.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (name, after) = match rest.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((name, after)) => (name, after),
            None => rest.split_at(rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())),
        };
        match variable(name).filter(|_| !name.is_empty()) {
            Some(value) => {
                path.push_str(&value);
                rest = after;
            }
            None => path.push('$'),
        }
    }
    path.push_str(rest);
    path.into()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// What huggingface_hub itself makes of many environments: `tests/hub/make.py`.
    #[test]
    fn it_is_read_as_huggingface_hub_reads_it() {
        let golden: Value = serde_json::from_str(include_str!("../tests/hub/environment.json")).unwrap();
        let cases = golden["cases"].as_array().unwrap();
        assert!(cases.len() > 40);
        for case in cases {
            let home = tempfile::tempdir().unwrap();
            let here = |text: &str| text.replace("@HOME@", home.path().to_str().unwrap());
            for (name, text) in case["files"].as_object().unwrap() {
                let path = home.path().join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text.as_str().unwrap()).unwrap();
            }
            let variables = case["environment"].as_object().unwrap();
            let variable = |name: &str| {
                let value = here(variables.get(name)?.as_str().unwrap()).trim().to_string();
                Some(value).filter(|value| !value.is_empty())
            };
            let found = Environment::read(&variable, Some(home.path().into())).unwrap();
            let seconds = |time: Option<Duration>| time.map_or(10, |time| time.as_secs());
            let expected = &case["expected"];
            let found = serde_json::json!({
                "cache": found.cache.unwrap().to_str().unwrap().replace(home.path().to_str().unwrap(), "@HOME@"),
                "token": found.token,
                "endpoint": found.endpoint,
                "offline": found.offline.is_some(),
                "etag_timeout": seconds(found.answer),
                "download_timeout": seconds(found.bytes),
                "no_links": found.no_links,
                "no_bars": found.no_bars,
                "origin": found.from,
            });
            assert_eq!(&found, expected, "{}", case["environment"]);
        }
    }

    #[test]
    fn odd_values_are_named() {
        for (name, value) in [
            ("HF_ENDPOINT", "huggingface.co"),
            ("HF_ENDPOINT", "https://a/b?c"),
            ("HF_TOKEN", "hf_ä"),
            ("HF_HUB_ETAG_TIMEOUT", "soon"),
            ("HF_HUB_DOWNLOAD_TIMEOUT", "-1"),
        ] {
            let read = Environment::read(&|asked: &str| (asked == name).then(|| value.to_string()), None);
            assert!(matches!(&read, Err(Failure::Input(message)) if message.contains(name)), "{name}: {read:?}");
        }
        assert!(Environment::read(&|_| None, None).unwrap().cache.is_none());
    }

    #[test]
    fn a_token_is_for_the_hub() {
        let endpoint = |name: &str| (name == "HF_ENDPOINT").then(|| "https://mirror.example/hf".to_string());
        let environment = Environment::read(&endpoint, None).unwrap();
        for url in ["https://huggingface.co/x", "https://hf.co/x", "https://MIRROR.example:443/other"] {
            assert!(environment.is_hub(url), "{url}");
        }
        for url in ["http://huggingface.co/x", "https://cdn-lfs.huggingface.co/x", "https://mirror.example:8443/hf"] {
            assert!(!environment.is_hub(url), "{url}");
        }
    }
}
