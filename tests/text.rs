//! Tokenizer and text streams against Hugging Face's own code (text/make.py makes the golden).

use std::time::Duration;

use peregrine::Error;
use peregrine::checkpoint::{Checkpoint, TokenizerData};
use peregrine::text::{StopScan, TextStream};
use peregrine::tokenizer::Tokenizer;
use peregrine_tests::{computes_within, seed};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};

/// The model whose tokenizer is called "tiny" in the golden.
const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny/peregrine-tiny-chat-Q4_0.gguf");

pub fn golden() -> Value {
    serde_json::from_str(include_str!("text/golden.json")).unwrap()
}

pub fn list<T: serde_json::value::Index>(json: &Value, key: T) -> &[Value] {
    json[key].as_array().unwrap()
}

pub fn strings(json: &Value) -> Vec<String> {
    json.as_array().unwrap().iter().map(|s| s.as_str().unwrap().into()).collect()
}

pub fn ids(json: &Value) -> Vec<u32> {
    json.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

/// The small vocabulary as a GGUF file would hold it.
pub fn small(golden: &Value, pre: &str) -> TokenizerData {
    TokenizerData::Gguf {
        pre: pre.into(),
        tokens: strings(&golden["vocab"]),
        token_types: ids(&golden["types"]).into_iter().map(|t| i32::try_from(t).unwrap()).collect(),
        merges: strings(&golden["merges"]),
        bos: Some(1),
        eos: vec![4],
        pad: Some(0),
        add_bos: true,
    }
}

pub fn tiny() -> TokenizerData {
    pollster::block_on(Checkpoint::open(TINY)).unwrap().tokenizer
}

/// The same tokenizer as a `tokenizer.json`.
pub fn as_json(data: &TokenizerData, pre_tokenizer: &Value, ignore_merges: bool, pairs: bool) -> TokenizerData {
    let TokenizerData::Gguf { tokens, token_types, merges, bos, eos, pad, add_bos, .. } = data else {
        panic!("not in GGUF form")
    };
    let mut vocab = serde_json::Map::new();
    let mut added = Vec::new();
    for (id, text) in tokens.iter().enumerate() {
        vocab.insert(text.clone(), json!(id));
        if [3, 4].contains(&token_types[id]) {
            added.push(json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": token_types[id] == 3}));
        }
    }
    let merges: Vec<Value> = match pairs {
        true => merges.iter().map(|m| json!(m.split(' ').collect::<Vec<_>>())).collect(),
        false => merges.iter().map(|m| json!(m)).collect(),
    };
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": pre_tokenizer, "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": ignore_merges,
            "vocab": vocab, "merges": merges},
    });
    let (bos, eos, pad, add_bos) = (*bos, eos.clone(), *pad, *add_bos);
    TokenizerData::Json { bytes: file.to_string().into_bytes(), bos, eos, pad, add_bos }
}

pub fn build(data: &TokenizerData) -> Tokenizer {
    Tokenizer::new(data, 6144).unwrap()
}

/// Names the first text whose ids differ.
fn compare_ids(tokenizer: &Tokenizer, texts: &[String], expected: &[Value]) -> std::result::Result<(), String> {
    for (text, expected) in texts.iter().zip(expected) {
        let found = tokenizer.encode(text, false).unwrap();
        if found != ids(expected) {
            return Err(format!("{text:?}: expected {expected}, found {found:?}"));
        }
    }
    Ok(())
}

#[test]
fn ids_equal_hugging_face_in_both_containers() {
    let golden = golden();
    let texts = strings(&golden["strings"]);
    assert!(texts.len() > 350);
    let (tiny, small) = (tiny(), small(&golden, "falcon-h1"));
    let tiny_json = as_json(&tiny, &golden["tiny_pre_tokenizer"], false, true);
    let small_json = as_json(&small, &golden["small_pre_tokenizer"], true, false);
    for (data, name) in [(&tiny, "tiny"), (&tiny_json, "tiny"), (&small, "small"), (&small_json, "small")] {
        let tokenizer = build(data);
        compare_ids(&tokenizer, &texts, list(&golden, name)).unwrap();
        for text in &texts {
            let ids = tokenizer.encode(text, false).unwrap();
            assert_eq!(&tokenizer.decode(&ids, false).unwrap(), text, "decoded, {name}");
            let plain = tokenizer.encode_plain(text).unwrap();
            assert_eq!(&tokenizer.decode(&plain, true).unwrap(), text, "decoded from plain ids, {name}");
            assert!(!plain.iter().any(|id| tokenizer.is_special(*id)), "{text:?}");
        }
        for case in list(&golden, "plain") {
            assert_eq!(tokenizer.encode_plain(case["text"].as_str().unwrap()).unwrap(), ids(&case[name]), "{case}");
        }
    }
}

#[test]
fn other_pre_tokenizers() {
    let golden = golden();
    let gpt2 = build(&small(&golden, "gpt-2"));
    compare_ids(&gpt2, &strings(&golden["strings"]), list(&golden, "gpt2")).unwrap();
    let (falcon, llama) = (build(&small(&golden, "falcon-h1")), build(&small(&golden, "llama-bpe")));
    for text in strings(&golden["strings"]) {
        assert_eq!(falcon.encode(&text, false).unwrap(), llama.encode(&text, false).unwrap());
    }
}

#[test]
fn the_comparison_can_fail() {
    let golden = golden();
    let texts = strings(&golden["strings"]);
    // The other vocabulary, and the right one with another pre-tokenizer.
    assert!(compare_ids(&build(&small(&golden, "falcon-h1")), &texts, list(&golden, "tiny")).is_err());
    let wrong = compare_ids(&build(&small(&golden, "smollm")), &texts, list(&golden, "small")).unwrap_err();
    assert!(wrong.contains("expected ["), "{wrong}");
}

#[test]
fn special_tokens() {
    let golden = golden();
    let tokenizer = build(&small(&golden, "falcon-h1"));
    assert_eq!((tokenizer.bos(), tokenizer.pad(), tokenizer.add_bos()), (Some(1), Some(0), true));
    assert_eq!((tokenizer.bos_text(), tokenizer.eos_text()), ("<|begin_of_text|>", "<|im_end|>"));
    // 4 is the file's, 2 is <|end_of_text|>, which ends a text whatever the file says.
    assert_eq!(tokenizer.end_tokens(), [2, 4]);
    assert!(tokenizer.is_end(2) && !tokenizer.is_end(3));
    assert!(tokenizer.is_special(4) && !tokenizer.is_special(7), "user-defined tokens are ordinary text");
    let hello = tokenizer.encode("Hello", false).unwrap();
    let with_bos = tokenizer.encode("Hello", true).unwrap();
    assert_eq!((with_bos[0], &with_bos[1..]), (1, hello.as_slice()));
    assert_eq!(tokenizer.encode("<|begin_of_text|>Hello", true).unwrap(), with_bos, "never doubled");
    assert_eq!(tokenizer.decode(&with_bos, true).unwrap(), "Hello");
    assert_eq!(tokenizer.decode(&with_bos, false).unwrap(), "<|begin_of_text|>Hello");
    // Rows of the embedding without a token: no text, but no error; beyond the embedding it is one.
    assert_eq!((tokenizer.token_bytes(6000), tokenizer.decode(&[6000], false).unwrap()), (None, String::new()));
    assert!(matches!(tokenizer.decode(&[6144], false), Err(Error::TokenOutOfRange { token: 6144, vocab_size: 6144 })));
}

/// Building must not depend on the fillers: 261,120 tokens, most of them unused, with many control
/// tokens.
#[test]
fn large_vocabularies_build_fast() {
    let golden = golden();
    let TokenizerData::Gguf { mut tokens, mut token_types, merges, .. } = small(&golden, "falcon-h1") else {
        return;
    };
    for i in tokens.len()..261_120 {
        let control = i < 3000;
        tokens.push(if control { format!("<|control_{i}|>") } else { format!("[PAD{i}]") });
        token_types.push(if control { 3 } else { 5 });
    }
    let pre = "falcon-h1".into();
    let data =
        TokenizerData::Gguf { pre, tokens, token_types, merges, bos: None, eos: vec![], pad: None, add_bos: false };
    let building = || Tokenizer::new(&data, 261_120).unwrap();
    let tokenizer = computes_within(Duration::from_secs(10), "261,120 tokens", building);
    assert_eq!(tokenizer.encode("<|control_2999|>", false).unwrap(), [2999]);
    assert_ne!(tokenizer.encode("[PAD9000]", false).unwrap(), [9000]);
    assert_eq!(tokenizer.token_bytes(9000).unwrap(), b"[PAD9000]");
}

#[test]
fn streams_never_break_a_character() {
    let golden = golden();
    let tokenizer = build(&small(&golden, "falcon-h1"));
    for text in strings(&golden["strings"]) {
        let ids = tokenizer.encode(&text, false).unwrap();
        let mut stream = TextStream::new(&tokenizer);
        let mut out = String::new();
        for id in &ids {
            let piece = stream.push(*id);
            assert!(!piece.contains('\u{fffd}') || text.contains('\u{fffd}'), "{text:?} gave {piece:?}");
            out.push_str(&piece);
        }
        out.push_str(&stream.finish());
        assert_eq!(out, tokenizer.decode(&ids, true).unwrap());
    }
    // The first two bytes of a bird wait, and are given up at the end.
    let bytes: Vec<u32> = [0xf0u8, 0x9f, 0x90].iter().map(|b| byte_token(&tokenizer, *b)).collect();
    let mut stream = TextStream::new(&tokenizer);
    assert_eq!(bytes.iter().map(|id| stream.push(*id)).collect::<String>(), "");
    assert_eq!(stream.finish(), "\u{fffd}");
}

fn byte_token(tokenizer: &Tokenizer, byte: u8) -> u32 {
    (0..tokenizer.vocab_size()).find(|id| tokenizer.token_bytes(*id).as_deref() == Some(&[byte])).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64, failure_persistence: None, rng_seed: RngSeed::Fixed(seed(211)), ..ProptestConfig::default()
    })]

    /// Any ids at all, so any bytes: the pieces are the decoding of the whole.
    #[test]
    fn streams_equal_decode(ids in proptest::collection::vec(0u32..300, 0..60)) {
        let tokenizer = build(&small(&golden(), "falcon-h1"));
        let mut stream = TextStream::new(&tokenizer);
        let mut out: String = ids.iter().map(|id| stream.push(*id)).collect();
        out.push_str(&stream.finish());
        prop_assert_eq!(out, tokenizer.decode(&ids, true).unwrap());
    }
}

/// The text before the stop text that is complete first (the longest of those that are complete
/// there).
fn before_stop(text: &str, stops: &[String]) -> String {
    let ends = (0..=text.len()).filter(|end| text.is_char_boundary(*end));
    let matches = |end: usize| stops.iter().filter(move |s| !s.is_empty() && text[..end].ends_with(s.as_str()));
    let cut = ends.filter_map(|end| matches(end).map(|s| end - s.len()).min()).next();
    text[..cut.unwrap_or(text.len())].into()
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None, rng_seed: RngSeed::Fixed(seed(233)), ..ProptestConfig::default()
    })]

    /// Wherever a text is cut into pieces, the scan gives what is before the first stop text, and
    /// never more on the way.
    #[test]
    fn stop_texts_are_found_across_pieces(pieces in vec("[abé]{0,3}", 0..20), stops in vec("[abé]{0,4}", 0..4)) {
        let whole: String = pieces.concat();
        let mut scan = StopScan::new(&stops);
        let mut out = String::new();
        for piece in &pieces {
            out.push_str(&scan.push(piece));
            prop_assert!(before_stop(&whole, &stops).starts_with(&out));
        }
        prop_assert_eq!(scan.stopped(), before_stop(&whole, &stops) != whole);
        out.push_str(&scan.finish());
        prop_assert_eq!(out, before_stop(&whole, &stops));
    }
}

/// Control tokens have no text of their own, but end an answer where they are or complete a stop
/// text.
#[test]
fn stop_texts_may_be_or_contain_control_tokens() {
    // Pieces, control tokens with a mark in front; what is given out; whether it stopped.
    let cases: &[(&[&str], &[&str], &str, bool)] = &[
        (&["<|end|>"], &["Yes", "!<|end|>", "more"], "Yes", true),
        (&["s<|end|>"], &["Yes", "!<|end|>", "more"], "Ye", true),
        (&["<|end|>\nuser"], &["Yes", "!<|end|>", "\n", "user", "x"], "Yes", true),
        (&["<|end|>\nuser"], &["Yes", "!<|end|>", "\n", "other"], "Yes\nother", false),
        (&["<|end|><|x|>"], &["a", "!<|end|>", "!<|x|>", "b"], "a", true),
        (&["<|end|><|x|>"], &["a", "!<|end|>", "!<|end|>", "!<|x|>", "b"], "a", true),
        // Spelled out it is text, and ends the answer too.
        (&["<|end|>"], &["Yes<|", "end|>"], "Yes", true),
        // Not inside a control token, nor across its border.
        (&["user"], &["a", "!<|user|>", "b"], "ab", false),
        (&["a<"], &["a", "!<|user|>", "b"], "ab", false),
        (&["ab"], &["a", "!<|user|>", "b"], "ab", false),
        (&["|>b"], &["a", "!<|user|>", "b"], "ab", false),
        (&["", "b"], &["a", "!<|user|>", "b"], "a", true),
        (&[], &["a", "!<|user|>", "b"], "ab", false),
    ];
    for (stops, pieces, expected, stopped) in cases {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).into()).collect();
        let mut scan = StopScan::new(&stops);
        let mut out = String::new();
        for piece in *pieces {
            out += &match piece.strip_prefix('!') {
                Some(control) => scan.push_control(control),
                None => scan.push(piece),
            };
        }
        assert_eq!(scan.stopped(), *stopped, "{stops:?} {pieces:?}");
        out += &scan.finish();
        assert_eq!(out, *expected, "{stops:?} {pieces:?}");
    }
}

#[test]
fn control_tokens_typed_as_text_are_reported() {
    let golden = golden();
    let mut data = small(&golden, "falcon-h1");
    let template = "{% for m in messages %}<|im_start|>{{ m.role }}<|im_end|>{% endfor %}<not a token>";
    assert_eq!(build(&data).warnings(template), Vec::<String>::new());
    if let TokenizerData::Gguf { token_types, .. } = &mut data {
        token_types[3] = 1;
        token_types[4] = 1;
    }
    // 4 ends a turn by its name, whatever its type.
    let warnings = build(&data).warnings(template);
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("<|im_start|>") && warnings[0].contains("spelled out"), "{}", warnings[0]);
    assert_eq!(build(&data).warnings("no tokens"), Vec::<String>::new());
}
