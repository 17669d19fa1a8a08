//! The fuzzer's seeds, and small damage to each, through the fuzzer's entries: nothing panics,
//! nothing takes more memory than the bytes could need. `fuzz/README.md` tells how the fuzzer
//! itself is run.

mod entries;

use std::path::PathBuf;

use crate::checkpoint::allocation::peak;
use crate::checkpoint::seeds;
use crate::checkpoint::toy::Noise;

type Entry = fn(&[u8]) -> bool;

/// Entry, and the memory that it may take for a file: so many times its length, and so many bytes
/// for tables of fixed size.
const ENTRIES: [(&str, Entry, usize, usize); 4] = [
    ("gguf", entries::gguf, 20, 6 << 20),
    ("safetensors", entries::safetensors, 20, 1 << 16),
    ("tokenizer", entries::tokenizer, 60, 6 << 20),
    ("template", entries::template, 400, 4 << 20),
];

fn folder(entry: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(entry)
}

#[test]
fn the_seeds_do_no_harm() {
    for (entry, run, factor, fixed) in ENTRIES {
        let (mut accepted, mut refused, mut most) = (0, 0, 0);
        let mut noise = Noise(17);
        let mut files: Vec<_> = std::fs::read_dir(folder(entry)).unwrap().map(|f| f.unwrap().path()).collect();
        files.sort();
        for file in files {
            let seed = std::fs::read(&file).unwrap();
            for round in 0..40 {
                let mut bytes = seed.clone();
                // Damage near the beginning, where the headers are, and a cut.
                for _ in 0..round / 8 {
                    let at = noise.bits() as usize % bytes.len().clamp(1, 4096);
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = (noise.bits() >> 24) as u8;
                    }
                }
                if round % 8 == 7 {
                    bytes.truncate(noise.bits() as usize % (bytes.len() + 1));
                }
                let (good, held) = peak(|| run(&bytes));
                most = most.max(held);
                let bound = fixed + factor * seed.len();
                assert!(held <= bound, "{}, round {round}: {held} bytes, {bound} allowed", file.display());
                if good { accepted += 1 } else { refused += 1 }
            }
        }
        println!("{entry}: {accepted} accepted, {refused} refused; at most {most} bytes held");
        assert!(accepted >= 5 && refused >= 5, "{entry}: {accepted} accepted, {refused} refused");
    }
}

/// The seeds in the repository are those that `seeds.rs` makes; `MAKE_SEEDS=1` writes them anew.
#[test]
fn the_seeds_are_the_ones_that_are_made() {
    let write = std::env::var_os("MAKE_SEEDS").is_some();
    for (entry, name, bytes) in seeds::all() {
        let file = folder(entry).join(&name);
        if write {
            std::fs::create_dir_all(folder(entry)).unwrap();
            std::fs::write(&file, &bytes).unwrap();
        }
        assert!(std::fs::read(&file).unwrap() == bytes, "{entry}/{name} is not what seeds.rs makes");
    }
}
