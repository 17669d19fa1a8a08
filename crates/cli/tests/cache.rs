//! The hub's cache and its environment, as huggingface_hub has them.

#![allow(clippy::unwrap_used)] // also in the helpers of tests

#[path = "hub/server.rs"]
mod server;

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use crate::server::{COMMIT, Hub, Manner, etag, opened, tiny, told};

/// Everything below a folder, with lengths and times of change.
fn everything(folder: &Path) -> Vec<(String, u64, std::time::SystemTime)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let about = std::fs::symlink_metadata(&path).unwrap();
        found.push((path.display().to_string(), about.len(), about.modified().unwrap()));
        if about.is_dir() {
            found.extend(everything(&path));
        }
    }
    found.sort();
    found
}

/// A cache may be mounted read-only, or belong to somebody else.
#[test]
fn a_hit_writes_nothing() {
    let hub = Hub::gguf(&["x-Q4_0.gguf"]);
    hub.info("org/repo:Q4_0");
    let before = everything(hub.home.path());
    hub.info("org/repo:Q4_0");
    opened(&hub.with("org/repo:Q4_0", &[("HF_HUB_OFFLINE", "1")]));
    assert_eq!(everything(hub.home.path()), before);
    // Another commit's reference is mended where it can be; where it cannot, that is no error.
    let main = hub.home.path().join("hub/models--org--repo/refs/main");
    std::fs::remove_file(&main).unwrap();
    std::fs::create_dir(&main).unwrap();
    hub.info("org/repo:Q4_0");
    std::fs::remove_dir(&main).unwrap();
    std::fs::write(&main, "another").unwrap();
    hub.info("org/repo:Q4_0");
    assert_eq!(std::fs::read_to_string(&main).unwrap(), COMMIT);
    assert_eq!(std::fs::read_dir(main.parent().unwrap()).unwrap().count(), 1);
    // What would have to be fetched says what to do.
    let file = hub.home.path().join("file");
    std::fs::write(&file, "").unwrap();
    let output = hub.with("org/repo:Q4_0", &[("HF_HUB_CACHE", file.to_str().unwrap())]);
    told(&output, 1, &["file"]);
}

#[test]
fn only_the_names_of_what_is_fetched_count() {
    let named = |name: &str| (name.to_string(), tiny());
    let odd = ["eval/r_10:22:33.json", "a b?c.bin", "../../outside.txt", "/etc/passwd", "c:\\d"];
    let hub = Hub::new(odd.into_iter().map(named).chain([named("x-Q4_0.gguf")]).collect());
    hub.info("org/repo:Q4_0");
    let hub = Hub::new([named("../../x-Q4_0.gguf")].into());
    hub.fails("org/repo:Q4_0", 2, &["../../x-Q4_0.gguf", "inside the repository"]);
}

#[test]
fn a_mirror_may_send_on_to_another_hub() {
    let (mirror, hub) = (Hub::gguf(&["x-Q4_0.gguf"]), Hub::gguf(&["x-Q4_0.gguf"]));
    mirror.behaves(Manner::MirrorOf(hub.port));
    opened(&mirror.with("org/repo:Q4_0", &[("HF_TOKEN", "secret")]));
    let (here, there) = (mirror.requests(), hub.requests());
    assert!(here.iter().all(|request| request.ends_with(" token")), "{here:?}");
    // Another host has no business with the token, whatever it is.
    assert!(there.len() == 3 && !there.iter().any(|request| request.contains("token")), "{there:?}");
    let blob = mirror.home.path().join("hub/models--org--repo/blobs").join(etag("x-Q4_0.gguf", &tiny()));
    assert!(blob.exists(), "the hub's name of the content, not that of where it lies");
}

#[test]
fn white_space_is_no_part_of_a_variable() {
    let hub = Hub::gguf(&["x-Q4_0.gguf"]);
    hub.behaves(Manner::Asks);
    for token in ["secret", "secret\n", " secret\r\n", "\tsecret "] {
        let home = tempfile::tempdir().unwrap();
        let variables = [("HF_TOKEN", token), ("HF_HOME", home.path().to_str().unwrap())];
        opened(&hub.with("org/repo:Q4_0", &variables));
    }
    let address = format!(" {}/\n", hub.address);
    opened(&hub.with("org/repo:Q4_0", &[("HF_ENDPOINT", &address), ("HUGGING_FACE_HUB_TOKEN", "secret\n")]));
    told(&hub.with("org/other", &[("HF_TOKEN", "se\u{e9}cret")]), 2, &["HF_TOKEN"]);
}

#[test]
fn caches_and_tokens_are_where_the_environment_says() {
    let hub = Hub::gguf(&["x-Q4_0.gguf"]);
    hub.info("org/repo:Q4_0");
    hub.requests();
    let home = hub.home.path();
    let at = |name: &str| home.join(name).to_str().unwrap().to_string();
    std::fs::create_dir_all(home.join("xdg/huggingface")).unwrap();
    std::fs::rename(home.join("hub"), home.join("xdg/huggingface/hub")).unwrap();
    let cache = at("xdg/huggingface/hub");
    for variables in [
        [("XDG_CACHE_HOME", at("xdg")), ("HF_HOME", String::new())],
        [("HUGGINGFACE_HUB_CACHE", cache.clone()), ("HF_HOME", at("none"))],
        [("HF_HUB_CACHE", "~/xdg/huggingface/hub".into()), ("HUGGINGFACE_HUB_CACHE", at("none"))],
        [("HF_HOME", "$BASE/huggingface".into()), ("BASE", at("xdg"))],
    ] {
        for offline in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
            let variables = variables.iter().map(|(name, value)| (*name, value.as_str()));
            opened(&hub.with("org/repo:Q4_0", &variables.chain([(offline, "yes")]).collect::<Vec<_>>()));
        }
    }
    told(
        &hub.with("org/repo:Q4_0", &[("TRANSFORMERS_OFFLINE", "1")]),
        2,
        &["TRANSFORMERS_OFFLINE", "not in the cache"],
    );
    assert!(hub.requests().is_empty());

    hub.behaves(Manner::Asks);
    std::fs::write(home.join("token of mine"), "secret\n").unwrap();
    let path = at("token of mine");
    opened(&hub.with("org/repo:Q4_0", &[("HF_TOKEN_PATH", &path), ("HF_HUB_CACHE", &at("new"))]));
    let none = [("HF_TOKEN_PATH", path.as_str()), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"), ("HF_HUB_CACHE", "/none")];
    told(&hub.with("org/repo:Q4_0", &none), 2, &["401"]);
    assert!(!hub.requests().pop().unwrap().contains("token"));
    hub.agents();
    opened(&hub.with(
        "org/repo:Q4_0",
        &[("HF_TOKEN", "secret"), ("HF_HUB_USER_AGENT_ORIGIN", "partner"), ("HF_HUB_CACHE", &cache)],
    ));
    let agent = hub.agents().pop().unwrap();
    assert!(agent.starts_with("peregrine/") && agent.ends_with("; origin/partner"), "{agent}");
}

#[test]
fn what_was_fetched_opens_whatever_the_hub_says() {
    let hub = Hub::gguf(&["x-Q4_0.gguf"]);
    hub.behaves(Manner::Gated);
    hub.fails("org/repo:Q4_0", 2, &["terms", &format!("{}/org/repo", hub.address), "HF_TOKEN", "Access is restricted"]);
    let refused = hub.with("org/repo:Q4_0", &[("HF_TOKEN", "secret")]);
    told(&refused, 2, &["has no access", "terms", &format!("{}/org/repo", hub.address)]);
    hub.behaves(Manner::Honest);
    hub.info("org/repo:Q4_0");
    for manner in [Manner::Gated, Manner::Asks, Manner::Fails, Manner::Busy] {
        hub.behaves(manner);
        hub.info("org/repo:Q4_0");
    }
}

#[test]
fn without_links_a_file_lies_in_its_snapshot() {
    let hub = Hub::gguf(&["a/x-Q4_0.gguf"]);
    opened(&hub.with("org/repo:Q4_0", &[("HF_HUB_DISABLE_SYMLINKS", "1")]));
    let repo = hub.home.path().join("hub/models--org--repo");
    let place = repo.join("snapshots").join(COMMIT).join("a/x-Q4_0.gguf");
    assert!(std::fs::symlink_metadata(&place).unwrap().is_file());
    assert_eq!(std::fs::read_dir(repo.join("blobs")).unwrap().count(), 0);
    hub.requests();
    hub.info("org/repo:Q4_0");
    assert_eq!(hub.requests(), ["/api/models/org/repo"]);
}

/// Two programs that want the same file: the second waits, and takes what the first has fetched.
#[test]
fn whoever_fetches_holds_the_lock() {
    let hub = Hub::gguf(&["x-Q4_0.gguf"]);
    let etag = etag("x-Q4_0.gguf", &tiny());
    let locks = hub.home.path().join("hub/.locks/models--org--repo");
    std::fs::create_dir_all(&locks).unwrap();
    let lock = File::create(locks.join(format!("{etag}.lock"))).unwrap();
    lock.lock().unwrap();
    let child = hub.command(&["info", "org/repo:Q4_0"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // It has asked what the file is called.
    hub.wait_for(3);
    hub.requests();
    let blobs = hub.home.path().join("hub/models--org--repo/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(blobs.join(&etag), tiny()).unwrap();
    lock.unlock().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(hub.requests(), [""; 0], "nothing was fetched twice");
}
