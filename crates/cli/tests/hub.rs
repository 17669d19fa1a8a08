//! Ids of the hub, against a server here that speaks the hub's layout, and can misbehave.

#![allow(clippy::unwrap_used)] // also in the helpers of tests

#[path = "hub/server.rs"]
mod server;

use std::net::TcpListener;
use std::path::Path;

use crate::server::{COMMIT, Files, Hub, Manner, etag, here, tiny, told};

#[test]
fn the_names_of_files_are_those_of_git_and_sha256sum() {
    // printf 'hello\n' | git hash-object --stdin; printf 'hello\n' | sha256sum
    assert_eq!(etag("x.json", b"hello\n"), "ce013625030ba8dba906f756967f9e9ca394464a");
    assert_eq!(etag("x", b"hello\n"), "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
}

#[test]
fn a_file_is_fetched_once() {
    let hub = Hub::gguf(&["tiny-Q4_0.gguf", "tiny-Q4_K_M.gguf"]);
    assert_eq!(hub.info("org/repo:tiny-Q4_0.gguf")["parameters"], 31_000_256);
    let requests = hub.requests();
    assert_eq!(requests[0], "/api/models/org/repo");
    assert_eq!(requests[1], "/org/repo/resolve/main/tiny-Q4_0.gguf 0-0");
    assert_eq!(requests[2], "/elsewhere/tiny-Q4_0.gguf?signed=1 0-0");
    assert_eq!(requests[3], format!("/elsewhere/tiny-Q4_0.gguf?signed=1 0-{}", tiny().len() - 1));
    assert_eq!(requests.len(), 4);
    // The second time only the list is asked for; then not even that.
    hub.info("org/repo:q4_0");
    assert_eq!(hub.requests(), ["/api/models/org/repo"]);
    hub.behaves(Manner::Fails);
    hub.info("org/repo:Q4_0");
    let offline = hub.command(&["info", "org/repo:Q4_0"]).env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert_eq!(offline.status.code(), Some(0));
    assert_eq!(hub.requests().len(), 1);
    // Laid out as the field's tools do.
    let repo = hub.home.path().join("hub/models--org--repo");
    assert_eq!(std::fs::read_to_string(repo.join("refs/main")).unwrap(), COMMIT);
    assert_eq!(std::fs::read(repo.join("blobs").join(etag("tiny-Q4_0.gguf", &tiny()))).unwrap(), tiny());
    assert_eq!(std::fs::read_dir(repo.join("blobs")).unwrap().count(), 1, "nothing unfinished stays");
    let link = repo.join("snapshots").join(COMMIT).join("tiny-Q4_0.gguf");
    assert_eq!(std::fs::read_link(link).unwrap(), Path::new("../../blobs").join(etag("tiny-Q4_0.gguf", &tiny())));
    // Without a file Q4_K_M is meant.
    hub.behaves(Manner::Honest);
    hub.info("org/repo");
    assert!(hub.requests().iter().all(|request| !request.contains("Q4_0")));
}

#[test]
fn every_command_takes_an_id() {
    let hub = Hub::gguf(&["a/tiny-Q4_0.gguf"]);
    let output = hub.run(&["tokenize", "org/repo:Q4_0", "--text", "Hello"]);
    assert_eq!(output.stdout, b"634\n", "{}", String::from_utf8_lossy(&output.stderr));
    for command in ["generate", "chat", "bench", "check", "logits", "quantize"] {
        let rest: &[&str] = match command {
            "generate" => &["--prompt", "x"],
            "logits" => &["--ids", "x", "--out", "y"],
            "quantize" => &["y", "--type", "F16"],
            _ => &[],
        };
        told(&hub.run(&[&[command, "org/repo:Q9"], rest].concat()), 2, &["Q9", "a/tiny-Q4_0.gguf"]);
    }
}

#[test]
fn a_folder_comes_with_its_tokenizer() {
    let mut files = Files::new();
    for entry in std::fs::read_dir(here("tests/golden/hf-folder")).unwrap() {
        let path = entry.unwrap().path();
        files.insert(path.file_name().unwrap().to_str().unwrap().into(), std::fs::read(&path).unwrap());
    }
    files.insert("README.md".into(), b"never asked for".to_vec());
    let hub = Hub::new(files);
    let info = hub.info("org/repo");
    assert_eq!((&info["container"], &info["chat_template"]), (&"safetensors".into(), &true.into()));
    let name = info["name"].as_str().unwrap();
    assert!(!name.contains(COMMIT), "{name}");
    assert!(!hub.requests().iter().any(|request| request.contains("README")));
    hub.info("org/repo");
    assert_eq!(hub.requests().len(), 1);
}

#[test]
fn a_cut_download_continues() {
    let hub = Hub::gguf(&["x-Q4_0.gguf"]);
    let all = tiny().len();
    hub.behaves(Manner::Cuts);
    hub.fails("org/repo:Q4_0", 1, &["x-Q4_0.gguf", &format!("{} of {all} bytes", all / 2), "again"]);
    hub.behaves(Manner::Honest);
    hub.requests();
    hub.info("org/repo:Q4_0");
    let last = hub.requests().pop().unwrap();
    assert!(last.ends_with(&format!(" {}-{}", all / 2, all - 1)), "{last}");
    let blob = hub.home.path().join("hub/models--org--repo/blobs").join(etag("x-Q4_0.gguf", &tiny()));
    assert_eq!(std::fs::read(&blob).unwrap(), tiny());

    // A complete file that did not get its name, one that is too long, and a server that sends
    // everything again.
    let part = blob.with_file_name(format!("{}.incomplete", etag("x-Q4_0.gguf", &tiny())));
    for (bytes, manner) in [
        (tiny(), Manner::Honest),
        ([tiny(), vec![0]].concat(), Manner::Honest),
        (tiny()[..1000].to_vec(), Manner::IgnoresRange),
    ] {
        std::fs::remove_file(&blob).unwrap();
        std::fs::write(&part, bytes).unwrap();
        hub.behaves(manner);
        hub.info("org/repo:Q4_0");
        assert!(std::fs::read(&blob).unwrap() == tiny());
        assert!(!part.exists());
    }
}

#[test]
fn what_is_not_what_it_says_is_named_and_forgotten() {
    let hub = Hub::gguf(&["x-Q4_0.gguf"]);
    hub.behaves(Manner::Spoils);
    let (right, mut spoiled) = (etag("x", &tiny()), tiny());
    *spoiled.last_mut().unwrap() ^= 1;
    hub.fails("org/repo:Q4_0", 1, &["x-Q4_0.gguf", &right, &etag("x", &spoiled), "again"]);
    let blobs = hub.home.path().join("hub/models--org--repo/blobs");
    assert_eq!(std::fs::read_dir(&blobs).unwrap().count(), 0, "nothing of it stays");
    // A part that was spoiled on the disk: found at the end, and then everything is fetched again.
    let part = blobs.join(format!("{right}.incomplete"));
    std::fs::write(&part, vec![7; 1000]).unwrap();
    hub.behaves(Manner::Honest);
    hub.fails("org/repo:Q4_0", 1, &["x-Q4_0.gguf", &right]);
    hub.info("org/repo:Q4_0");
    assert!(std::fs::read(blobs.join(&right)).unwrap() == tiny());

    // Small files, named as git names them.
    let mut files = Files::new();
    for entry in std::fs::read_dir(here("tests/golden/hf-folder")).unwrap() {
        let path = entry.unwrap().path();
        files.insert(path.file_name().unwrap().to_str().unwrap().into(), std::fs::read(&path).unwrap());
    }
    let hub = Hub::new(files);
    hub.behaves(Manner::Spoils);
    hub.fails("org/repo", 1, &[".json", "expected"]);
    // Names of another kind are not taken for digests.
    let hub = Hub::gguf(&["x-Q4_0.gguf"]);
    hub.behaves(Manner::OwnNames);
    hub.info("org/repo:Q4_0");
}

#[test]
fn what_goes_wrong_is_one_line() {
    let hub = Hub::gguf(&["x-Q4_0.gguf", "x-Q8_0.gguf"]);
    hub.fails("org/other", 2, &["org/other", "no such", "404"]);
    hub.fails("private/repo", 2, &["private/repo", "HF_TOKEN", "401"]);
    hub.fails("org/repo:none.gguf", 2, &["org/repo", "none.gguf", "x-Q4_0.gguf, x-Q8_0.gguf"]);
    hub.fails("org/repo", 2, &["Q4_K_M", "x-Q8_0.gguf"]);
    hub.fails("org/repo:../x.gguf", 2, &["org/repo:../x.gguf"]);
    for (manner, word) in [
        (Manner::NoCommit, "X-Repo-Commit"),
        (Manner::Busy, "17"),
        (Manner::EvilEtag, "ETag"),
        (Manner::OtherCommit, "feedbeef"),
        (Manner::RedirectsForEver, "redirects"),
        (Manner::Fails, "503"),
        (Manner::NoLocation, "302"),
    ] {
        hub.behaves(manner);
        hub.fails("org/repo:Q8_0", 1, &[word]);
    }
    let offline = hub.command(&["info", "org/repo:Q8_0"]).env("HF_HUB_OFFLINE", "1").output().unwrap();
    told(&offline, 2, &["HF_HUB_OFFLINE", "not in the cache"]);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = hub.command(&["info", "org/repo"]).env("HF_ENDPOINT", format!("http://{closed}")).output().unwrap();
    told(&gone, 1, &[&closed.to_string(), "not in the cache"]);
    let odd = hub.command(&["info", "org/repo"]).env("HF_ENDPOINT", "no address").output().unwrap();
    told(&odd, 2, &["HF_ENDPOINT"]);
}

#[test]
fn a_path_comes_first() {
    let hub = Hub::gguf(&["x-Q4_0.gguf"]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("org")).unwrap();
    std::fs::write(folder.path().join("org/repo"), tiny()).unwrap();
    let output = hub.command(&["info", "org/repo"]).current_dir(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(hub.requests().is_empty());
}

#[test]
fn the_token_is_for_the_hub() {
    let (hub, other) = (Hub::gguf(&["x-Q4_0.gguf"]), Hub::gguf(&["x-Q4_0.gguf"]));
    hub.behaves(Manner::Elsewhere(other.port));
    let output = hub.command(&["info", "org/repo:Q4_0"]).env("HF_TOKEN", "secret").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let (here, there) = (hub.requests(), other.requests());
    assert!(here.len() == 2 && here.iter().all(|request| request.ends_with(" token")), "{here:?}");
    assert!(there.len() == 2 && !there.iter().any(|request| request.contains("token")), "{there:?}");
}
