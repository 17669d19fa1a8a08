//! Vocabularies that contradict themselves are typed errors that name the culprit.

use peregrine::checkpoint::TokenizerData;
use peregrine::tokenizer::Tokenizer;
use serde_json::{Value, json};

use crate::text::{as_json, golden, small};

/// Spoils tokens, token types or merges.
type Spoil = fn(&mut Vec<String>, &mut Vec<i32>, &mut Vec<String>);

fn failure(data: &TokenizerData, vocab_size: u32) -> String {
    Tokenizer::new(data, vocab_size).unwrap_err().to_string()
}

#[test]
fn broken_vocabularies_are_errors() {
    let golden = golden();
    let cases: [(&str, Spoil); 7] = [
        ("tokens 300 and 301 have the same text", |tokens, _, _| tokens[301] = tokens[300].clone()),
        ("tokens 300 and 302 are holes", |tokens, _, _| [300, 302].iter().for_each(|id| tokens[*id].clear())),
        ("832 token types", |_, types, _| types.truncate(832)),
        ("is not a merge of two tokens", |_, _, merges| merges[3] = "lonely".into()),
        ("is not a merge of two tokens", |_, _, merges| merges[3] = "a b c".into()),
        ("is not in the vocabulary", |_, _, merges| merges[3] = "a nowhere".into()),
        // Both halves exist, their sum does not.
        ("\"weekend<|im_end|>\" is not in the vocabulary", |_, _, merges| merges[3] = "weekend <|im_end|>".into()),
    ];
    for (expected, spoil) in cases {
        let mut data = small(&golden, "falcon-h1");
        if let TokenizerData::Gguf { tokens, token_types, merges, .. } = &mut data {
            spoil(tokens, token_types, merges);
        }
        let message = failure(&data, 6144);
        assert!(message.contains(expected), "{message}");
    }
    let data = small(&golden, "falcon-h1");
    assert!(failure(&data, 1000).contains("the model has 1000 embeddings"), "{}", failure(&data, 1000));
    assert!(failure(&data, 3).contains("special token id 4 is outside"), "{}", failure(&data, 3));
    let unknown = Tokenizer::new(&small(&golden, "tekken"), 6144).unwrap_err();
    assert_eq!(unknown.code(), "unsupported");
    assert!(unknown.to_string().contains("\"tekken\""), "{unknown}");
}

#[test]
fn broken_tokenizer_json_is_an_error() {
    let golden = golden();
    let good = as_json(&small(&golden, "falcon-h1"), &golden["small_pre_tokenizer"], true, true);
    let TokenizerData::Json { bytes, .. } = &good else { unreachable!() };
    let good: Value = serde_json::from_slice(bytes).unwrap();
    let with = |spoil: &dyn Fn(&mut Value)| {
        let mut file = good.clone();
        spoil(&mut file);
        let bytes = file.to_string().into_bytes();
        Tokenizer::new(&TokenizerData::Json { bytes, bos: None, eos: vec![], pad: None, add_bos: false }, 6144)
    };
    assert!(with(&|_| ()).is_ok());
    let fails = |expected: &str, spoil: &dyn Fn(&mut Value)| {
        let message = with(spoil).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    };
    fails("not an object", &|f| *f = json!([1]));
    fails("\"Unigram\"", &|f| f["model"]["type"] = json!("Unigram"));
    fails("byte_fallback", &|f| f["model"]["byte_fallback"] = json!(true));
    fails("end_of_word_suffix", &|f| f["model"]["end_of_word_suffix"] = json!("</w>"));
    fails("decoder", &|f| f["decoder"] = json!({"type": "WordPiece", "prefix": "##", "cleanup": true}));
    fails("vocab is missing", &|f| f["model"]["vocab"] = json!(null));
    fails("has id -1", &|f| f["model"]["vocab"]["!"] = json!(-1));
    fails("two tokens have id 300", &|f| f["model"]["vocab"]["!"] = json!(300));
    fails("is not a merge", &|f| f["model"]["merges"][0] = json!(7));
    fails("not in the vocabulary", &|f| f["model"]["merges"][0] = json!(["a", "nowhere"]));
    fails("has ids 4 and 5", &|f| f["added_tokens"][4]["id"] = json!(5));
    fails("pre_tokenizer", &|f| f["pre_tokenizer"]["pretokenizers"][0]["type"] = json!("Nonsense"));
    fails("pre_tokenizer", &|f| f["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = json!("("));
    // A hole is no error: many vocabularies have one.
    let holed = with(&|f| drop(f["model"]["vocab"].as_object_mut().unwrap().remove("Ġgoal"))).unwrap();
    assert_eq!(holed.decode(&holed.encode("a goal", false).unwrap(), false).unwrap(), "a goal");
}

#[test]
fn a_byte_without_a_token_is_an_error_when_it_occurs() {
    let data = TokenizerData::Gguf {
        pre: "gpt-2".into(),
        tokens: ["a", "b", "ab"].map(String::from).to_vec(),
        token_types: vec![1; 3],
        merges: vec!["a b".into()],
        bos: None,
        eos: vec![],
        pad: None,
        add_bos: true,
    };
    let tokenizer = Tokenizer::new(&data, 3).unwrap();
    assert_eq!(tokenizer.encode("aab", true).unwrap(), [0, 2]);
    assert!(tokenizer.encode("abc", true).unwrap_err().to_string().contains("0x63"));
}
