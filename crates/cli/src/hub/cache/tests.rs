//! Against what huggingface_hub itself leaves on the disk.

#![allow(clippy::unwrap_used)] // helpers of tests may unwrap like tests

use serde_json::{Value, json};

use super::*;

fn walk(root: &Path, folder: &Path, found: &mut serde_json::Map<String, Value>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let short = path.strip_prefix(root).unwrap().to_str().unwrap().to_string();
        let about = match std::fs::read_link(&path) {
            Ok(to) => json!({"link": to.to_str()}),
            Err(_) if path.is_dir() => {
                walk(root, &path, found);
                json!({"folder": true})
            }
            Err(_) if short == "CACHEDIR.TAG" => json!({"file": null}),
            Err(_) => json!({"file": std::fs::read_to_string(&path).unwrap()}),
        };
        found.insert(short, about);
    }
}

/// What huggingface_hub itself leaves on the disk: `tests/hub/make.py`.
#[test]
fn it_is_laid_out_as_huggingface_hub_does() {
    let golden: Value = serde_json::from_str(include_str!("../../../tests/hub/layout.json")).unwrap();
    let commit = golden["commit"].as_str().unwrap();
    for (kind, layout) in golden["layouts"].as_object().unwrap() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Repository::new(folder.path().into(), "org/repo", kind != "linked");
        let layout = layout.as_object().unwrap();
        for (name, text) in golden["files"].as_object().unwrap() {
            // The content's name, by the lock that was taken for it.
            let etag = if name.ends_with(".json") { 40 } else { 64 } + ".lock".len();
            let lock = layout.keys().map(|path| path.rsplit('/').next().unwrap());
            let etag = lock.filter(|lock| lock.len() == etag).find_map(|lock| lock.strip_suffix(".lock")).unwrap();
            let mut download = |file: &mut File| {
                file.write_all(text.as_str().unwrap().as_bytes()).unwrap();
                Ok(Content::Right)
            };
            cache.add(commit, name, etag, &mut download).unwrap();
        }
        cache.remember(commit);
        let mut found = serde_json::Map::new();
        walk(folder.path(), folder.path(), &mut found);
        // What is not there is asked from the list of files, not remembered.
        let expected = layout.iter().filter(|(path, _)| !path.contains(".no_exist"));
        let expected: serde_json::Map<_, _> = expected.map(|(path, about)| (path.clone(), about.clone())).collect();
        assert_eq!(Value::from(found), Value::from(expected), "{kind}");
    }
}

/// Every layout that huggingface_hub leaves is found again, also one with contents that
/// repositories share.
#[test]
fn what_huggingface_hub_has_fetched_is_found() {
    let golden: Value = serde_json::from_str(include_str!("../../../tests/hub/layout.json")).unwrap();
    for (kind, layout) in golden["layouts"].as_object().unwrap() {
        let folder = tempfile::tempdir().unwrap();
        let make = |path: &str, about: &Value| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            match (about["link"].as_str(), about["file"].as_str()) {
                (Some(to), _) => std::os::unix::fs::symlink(to, path).unwrap(),
                (None, Some(text)) => std::fs::write(path, text).unwrap(),
                (None, None) => {}
            }
        };
        layout.as_object().unwrap().iter().for_each(|(path, about)| make(path, about));
        let cache = Repository::new(folder.path().into(), "org/repo", false);
        let find = |id: &str| cache.find(&HubId::parse(id).unwrap());
        let model = cache.snapshot(golden["commit"].as_str().unwrap()).join("sub/x-Q4_0.gguf");
        assert_eq!(find("org/repo:Q4_0").as_ref(), Some(&model), "{kind}");
        assert_eq!(find("org/repo:Q8_0"), None);
        // A repository of this hash in the shared store.
        let blob = std::fs::canonicalize(&model).unwrap();
        let shared = folder.path().join("blobs/9a/9a12");
        std::fs::create_dir_all(shared.parent().unwrap()).unwrap();
        std::fs::rename(&blob, &shared).unwrap();
        std::os::unix::fs::symlink(&shared, &blob).unwrap();
        assert_eq!(find("org/repo:Q4_0"), Some(model.clone()), "{kind}");
        // A reference with an end of line; one that leads elsewhere; a content that is gone.
        let main = folder.path().join("models--org--repo/refs/main");
        std::fs::write(&main, format!("{}\n", golden["commit"].as_str().unwrap())).unwrap();
        assert_eq!(find("org/repo:Q4_0"), Some(model), "{kind}");
        std::fs::write(&main, "../snapshots").unwrap();
        assert_eq!(find("org/repo:Q4_0"), None);
        make("models--org--repo/refs/main", &json!({"file": golden["commit"]}));
        std::fs::remove_file(&shared).unwrap();
        assert_eq!(find("org/repo:Q4_0"), None);
    }
}

/// Without links a content that is there is copied. A copy that broke off would be taken for the
/// file for ever.
#[cfg(target_os = "linux")]
#[test]
fn a_copy_that_breaks_off_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Repository::new(folder.path().into(), "org/repo", true);
    let blobs = folder.path().join("models--org--repo/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let add = |commit: &str| cache.add(commit, "x.gguf", "etag", &mut |_| unreachable!());
    // A file whose first byte cannot be read.
    std::os::unix::fs::symlink("/proc/self/mem", blobs.join("etag")).unwrap();
    assert!(add("one").is_err());
    assert_eq!(std::fs::read_dir(cache.snapshot("one")).unwrap().count(), 0);
    std::fs::remove_file(blobs.join("etag")).unwrap();
    std::fs::write(blobs.join("etag"), "content").unwrap();
    add("one").unwrap();
    add("two").unwrap();
    for commit in ["one", "two"] {
        assert_eq!(std::fs::read(cache.snapshot(commit).join("x.gguf")).unwrap(), b"content");
        assert_eq!(std::fs::read_dir(cache.snapshot(commit)).unwrap().count(), 1);
    }
}
