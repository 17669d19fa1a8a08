//! The family's split against Hugging Face's tokenizer: 18 languages, and 10,000 random strings
//! from all of Unicode (text/family.py makes the golden).

use peregrine::checkpoint::TokenizerData;
use peregrine::tokenizer::Tokenizer;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::text::{as_json, build, golden, ids, list, strings};

const SEED: u64 = 0x9E37_79B9_7F4A_7C15;
const COUNT: usize = 10_000;
const BATCH: usize = 100;

fn family() -> Value {
    serde_json::from_str(include_str!("text/family.json")).unwrap()
}

/// The vocabulary as a GGUF file would hold it: control tokens, user-defined ones, bytes, results
/// of the merges.
fn vocabulary(family: &Value, pre: &str) -> TokenizerData {
    let (control, user) = (strings(&family["control"]), strings(&family["user_defined"]));
    let merges: Vec<String> = family["merges"].as_str().unwrap().lines().map(String::from).collect();
    let mut token_types = vec![3; control.len()];
    token_types.resize(control.len() + user.len(), 4);
    let mut tokens = [control, user].concat();
    tokens.extend(family["alphabet"].as_str().unwrap().chars().map(String::from));
    tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    // Two merges can have one result.
    let mut seen = std::collections::HashSet::new();
    tokens.retain(|token| seen.insert(token.clone()));
    token_types.resize(tokens.len(), 1);
    TokenizerData::Gguf {
        pre: pre.into(),
        tokens,
        token_types,
        merges,
        bos: Some(1),
        eos: vec![4],
        pad: Some(0),
        add_bos: true,
    }
}

/// Marsaglia's xorshift with 64 bits (13, 7, 17).
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as usize % n
    }
}

/// Line by line those of text/family.py.
fn random_strings(family: &Value) -> Vec<String> {
    let ranges: Vec<[u32; 2]> = serde_json::from_value(family["ranges"].clone()).unwrap();
    let fragments = strings(&family["fragments"]);
    let mut random = Xorshift(SEED);
    let mut out = Vec::new();
    for _ in 0..COUNT {
        let mut text = String::new();
        for _ in 0..1 + random.below(16) {
            if random.below(3) == 0 {
                text += &fragments[random.below(fragments.len())];
                continue;
            }
            let [low, high] = ranges[random.below(ranges.len())];
            for _ in 0..1 + random.below(4) {
                text.push(char::from_u32(low + random.below((high - low + 1) as usize) as u32).unwrap());
            }
        }
        out.push(text);
    }
    out
}

fn digest<'a>(tokenizer: &Tokenizer, texts: impl IntoIterator<Item = &'a String>) -> String {
    let mut sha = Sha256::new();
    for text in texts {
        let ids = tokenizer.encode(text, false).unwrap();
        sha.update((ids.len() as u32).to_le_bytes());
        ids.iter().for_each(|id| sha.update(id.to_le_bytes()));
    }
    sha.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Names the first sentence or batch whose ids differ.
fn compare(tokenizer: &Tokenizer, family: &Value) -> Result<usize, String> {
    let mut compared = 0;
    for case in list(family, "sentences") {
        let text = case[1].as_str().unwrap().to_string();
        let count = tokenizer.encode(&text, false).unwrap().len();
        if (json!(count), json!(digest(tokenizer, [&text]))) != (case[2].clone(), case[3].clone()) {
            return Err(format!("{}: {text:?}: {count} tokens, expected {}", case[0], case[2]));
        }
        compared += 1;
    }
    let texts = random_strings(family);
    for (case, text) in list(family, "first").iter().zip(&texts) {
        if case[0] != json!(text) {
            return Err(format!("the generators differ: expected {}, found {text:?}", case[0]));
        }
        let (found, expected) = (tokenizer.encode(text, false).unwrap(), ids(&case[1]));
        if found != expected {
            return Err(format!("{text:?}: expected {expected:?}, found {found:?}"));
        }
    }
    for (i, (batch, expected)) in texts.chunks(BATCH).zip(list(family, "batches")).enumerate() {
        if json!(digest(tokenizer, batch)) != *expected {
            return Err(format!("random strings {} to {}", i * BATCH, i * BATCH + BATCH - 1));
        }
        compared += batch.len();
    }
    Ok(compared)
}

#[test]
fn eighteen_languages_and_random_unicode() {
    let family = family();
    let languages: std::collections::BTreeSet<&str> =
        list(&family, "sentences").iter().map(|case| case[0].as_str().unwrap()).collect();
    let all = "ar cs de en es fr hi it ja ko nl pl pt ro ru sv ur zh";
    assert_eq!(languages.into_iter().collect::<Vec<_>>().join(" "), all);
    let data = vocabulary(&family, "falcon-h1");
    let split = &golden()["small_pre_tokenizer"];
    for data in [as_json(&data, split, true, true), data] {
        let tokenizer = build(&data);
        assert_eq!(compare(&tokenizer, &family), Ok(18 * 7 + COUNT));
        for text in random_strings(&family).iter().step_by(7) {
            let ids = tokenizer.encode(text, false).unwrap();
            assert_eq!(&tokenizer.decode(&ids, false).unwrap(), text);
        }
    }
}

/// Code, LaTeX, digits, emoji, control characters: the texts of text/strings.py, in this vocabulary
/// too.
#[test]
fn other_texts_in_the_family_s_vocabulary() {
    let (family, golden) = (family(), golden());
    let tokenizer = build(&vocabulary(&family, "falcon-h1"));
    // The golden's last 110 are random ones.
    let texts = strings(&golden["strings"]);
    let written = &texts[..texts.len() - 110];
    assert_eq!(json!(digest(&tokenizer, written)), family["strings"]);
    assert_ne!(json!(digest(&tokenizer, &written[1..])), family["strings"]);
}

#[test]
fn the_family_comparison_can_fail() {
    let family = family();
    // Another split, of which English knows nothing.
    let error = compare(&build(&vocabulary(&family, "smollm")), &family).unwrap_err();
    assert!(error.contains(": expected ") || error.contains("tokens, expected"), "{error}");
    // One merge less.
    let mut other = vocabulary(&family, "falcon-h1");
    if let TokenizerData::Gguf { merges, .. } = &mut other {
        merges.truncate(200);
    }
    assert!(compare(&build(&other), &family).is_err());
    // One string of ten thousand.
    let mut spoiled = family.clone();
    spoiled["batches"][42] = json!("0000000000000000");
    let error = compare(&build(&vocabulary(&family, "falcon-h1")), &spoiled).unwrap_err();
    assert_eq!(error, "random strings 4200 to 4299");
}
