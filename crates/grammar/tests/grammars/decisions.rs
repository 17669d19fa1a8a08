//! What docs/structured-output.md says.

use peregrine::Error;
use peregrine::constraint::{Compiler, Spec, allows};
use serde_json::{Value, json};

use crate::walk::{begin, grammars, mask, takes, tokenizer};

fn strict(schema: Value) -> Spec {
    Spec::JsonSchema { schema, strict: true }
}

fn lenient(schema: Value) -> Spec {
    Spec::JsonSchema { schema, strict: false }
}

/// Place and message of what is refused.
fn refused(spec: &Spec) -> (String, String) {
    match grammars().compile(spec) {
        Err(Error::Grammar { place, detail }) => (place, detail),
        Err(other) => panic!("{spec:?}: {other}"),
        Ok(_) => panic!("{spec:?} is not refused"),
    }
}

#[test]
fn white_space_between_tokens_has_a_bound() {
    let spec = strict(json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}));
    assert!(takes(&spec, r#"{"a":1}"#));
    assert!(takes(&spec, "{\n       \"a\": 1\n}"), "a line's indentation");
    assert!(takes(&spec, "{\n\t\"a\": 1 }"));
    assert!(!takes(&spec, "{\n        \"a\":1}") && !takes(&spec, "{  \"a\":1}") && !takes(&spec, "{\n\n\"a\":1}"));
    assert!(!takes(&spec, r#" {"a":1}"#), "none before the answer");
    assert!(!takes(&spec, "{\"a\":1}\n"), "and none after it");
}

#[test]
fn numbers_have_exponents_where_they_have_no_bounds() {
    let free = strict(json!({"type": "number"}));
    let bounded = strict(json!({"type": "number", "minimum": 0, "maximum": 1000}));
    let whole = strict(json!({"type": "integer"}));
    assert!(takes(&free, "1.5e-3") && takes(&free, "-2E+10") && takes(&free, "0"));
    assert!(!takes(&free, "01") && !takes(&free, "1.") && !takes(&free, "+1"));
    assert!(takes(&bounded, "999.5") && !takes(&bounded, "1000.5"));
    assert!(!takes(&bounded, "1e2"), "valid JSON that is not reached");
    assert!(takes(&whole, "-12") && !takes(&whole, "1.0") && !takes(&whole, "1e2"));
}

#[test]
fn strings_may_have_escapes() {
    let free = strict(json!({"type": "string"}));
    for text in [r#""\u00e9""#, r#""\ud83d\ude00""#, r#""\n\t\"\\\b""#, "\"é\"", r#""\u0007""#] {
        assert!(takes(&free, text), "{text}");
    }
    assert!(!takes(&free, r#""\/""#), "a slash needs no escape: valid JSON that is not reached");
    assert!(!takes(&free, r#""\x""#) && !takes(&free, "\"\n\"") && !takes(&free, r#""\ud83d""#));
    let short = strict(json!({"type": "string", "maxLength": 1}));
    assert!(takes(&short, r#""\ud83d\ude00""#) && !takes(&short, r#""\u00e9\u00e9""#), "an escape is a character");
    let pattern = strict(json!({"type": "string", "pattern": "^é$"}));
    assert!(takes(&pattern, "\"é\"") && !takes(&pattern, r#""\u00e9""#), "not under a pattern");
}

#[test]
fn properties_come_in_the_schemas_order() {
    let properties = json!({"b": {"type": "null"}, "a": {"type": "null"}, "c": {"type": "null"}});
    let closed =
        strict(json!({"type": "object", "properties": properties, "required": ["a"], "additionalProperties": false}));
    assert!(takes(&closed, r#"{"b":null,"a":null}"#) && takes(&closed, r#"{"a":null,"c":null}"#));
    assert!(!takes(&closed, r#"{"a":null,"b":null}"#), "valid JSON that is not reached");
    assert!(!takes(&closed, r#"{"b":null}"#), "a is required");
    assert!(!takes(&closed, r#"{"a":null,"d":null}"#));
    let open = strict(json!({"type": "object", "properties": {"a": {"type": "null"}}}));
    assert!(takes(&open, r#"{"a":null,"d":[1]}"#), "others come after them");
}

#[test]
fn one_of_is_exact_or_refused() {
    let apart = json!({"oneOf": [
        {"type": "object", "properties": {"kind": {"const": "a"}}, "required": ["kind"], "additionalProperties": false},
        {"type": "object", "properties": {"kind": {"const": "b"}, "n": {"type": "integer"}}, "required": ["kind", "n"],
            "additionalProperties": false},
    ]});
    assert!(takes(&strict(apart.clone()), r#"{"kind":"b","n":1}"#));
    assert!(!takes(&strict(apart), r#"{"kind":"a","n":1}"#));
    let both = json!({"type": "object", "properties": {"x": {"oneOf": [{"minimum": 0}, {"maximum": 10}]}}});
    let (place, detail) = refused(&strict(both.clone()));
    assert!(place == "schema#/properties/x/oneOf" && detail.contains("use anyOf"), "{place}: {detail}");
    assert!(takes(&lenient(both.clone()), r#"{"x":5}"#));
    let warnings = grammars().compile(&lenient(both)).unwrap().warnings().to_vec();
    assert!(warnings.iter().any(|warning| warning.contains("oneOf")), "{warnings:?}");
}

#[test]
fn what_is_not_enforced_is_refused_or_told() {
    let unknown = json!({"type": "object", "properties": {"when": {"type": "string", "format": "lunar"}}});
    let (place, detail) = refused(&strict(unknown.clone()));
    assert!(place == "schema#/properties/when/format" && detail.contains("lunar"), "{place}: {detail}");
    assert!(takes(&lenient(unknown.clone()), r#"{"when":"x"}"#));
    let warnings = grammars().compile(&lenient(unknown)).unwrap().warnings().to_vec();
    assert!(warnings.iter().any(|warning| warning.contains("lunar")), "{warnings:?}");

    let unique = json!({"type": "array", "items": {"type": "integer"}, "uniqueItems": true});
    let (place, detail) = refused(&strict(unique.clone()));
    assert!(place == "schema#/uniqueItems" && detail.contains("uniqueItems"), "{place}: {detail}");
    assert!(takes(&lenient(unique), "[1,1]"));

    let date = strict(json!({"type": "string", "format": "date"}));
    assert!(takes(&date, "\"2026-11-29\"") && !takes(&date, "\"2026-13-29\"") && !takes(&date, "\"soon\""));
}

#[test]
fn schemas_may_be_booleans_and_objects_are_objects() {
    assert!(takes(&strict(json!(true)), "[1, {\"a\": null}]"));
    refused(&strict(json!(false)));
    assert!(takes(&Spec::JsonObject, r#"{"a": [true]}"#) && !takes(&Spec::JsonObject, "[]"));
    for schema in [json!(null), json!(1), json!("string"), json!([])] {
        assert_eq!(refused(&strict(schema)).0, "schema");
    }
    refused(&strict(json!({"type": "object", "x-guidance": {"whitespace_pattern": ".*"}})));
}

#[test]
fn references_stay_inside_the_schema() {
    let tree = json!({
        "$ref": "#/$defs/node",
        "$defs": {"node": {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
            "required": ["next"], "additionalProperties": false}},
    });
    assert!(takes(&strict(tree), r#"{"next":{"next":{"next":null}}}"#));
    for at in ["http://127.0.0.1:1/schema", "https://example.com/a.json", "file:///etc/hostname", "#/$defs/none"] {
        let (_, detail) = refused(&strict(json!({"$ref": at})));
        assert!(!detail.is_empty());
    }
}

#[test]
fn expressions_match_the_whole_answer() {
    for regex in [r"\d{3}-\d{2}", r"^\d{3}-\d{2}$"] {
        let spec = Spec::Regex(regex.into());
        assert!(takes(&spec, "123-45") && !takes(&spec, "123-456") && !takes(&spec, "x123-45"), "{regex}");
    }
    assert!(takes(&Spec::Regex("a|b".into()), "b") && takes(&Spec::Regex("(?i)yes/no\nmaybe".into()), "YES/NO\nmaybe"));
    assert!(takes(&Spec::Regex(r"costs \$5\$".into()), "costs $5$"));
    for broken in ["(", "a{2,1}", "[z-a]", "", r"(?=look)x"] {
        assert_eq!(refused(&Spec::Regex(broken.into())).0, "regex");
    }
}

#[test]
fn a_choice_is_one_of_its_texts() {
    let texts = ["yes", "no", "yes, but", "c++ (or \"C\")?", "zwei\nZeilen", "日本", "/a\\b/", "<b>", "a -> b"];
    let spec = Spec::Choice(texts.map(String::from).to_vec());
    for text in texts {
        assert!(takes(&spec, text), "{text}");
    }
    assert!(!takes(&spec, "ye") && !takes(&spec, "yes,") && !takes(&spec, "c") && !takes(&spec, "maybe"));
    refused(&Spec::Choice(Vec::new()));
    refused(&Spec::Choice(vec!["a".into(), String::new()]));
}

#[test]
fn lark_grammars_say_where_they_are_wrong() {
    let spec = Spec::Lark("start: greeting NAME\ngreeting: \"hello \" | \"bye \"\nNAME: /[a-z]+/\n".into());
    assert!(takes(&spec, "hello moon") && takes(&spec, "bye x") && !takes(&spec, "hello ") && !takes(&spec, "hi x"));
    let json = Spec::Lark("start: \"answer: \" %json {\"type\": \"integer\"}".into());
    assert!(takes(&json, "answer: 12"));
    let (place, detail) = refused(&Spec::Lark("start: \"a\"\nother: unknown (\n".into()));
    assert!(place == "grammar" && detail.starts_with("2(") || detail.contains("line 2"), "{place}: {detail}");
    refused(&Spec::Lark(" \n".into()));
    refused(&Spec::Lark("start: missing".into()));
}

/// A token has no place in a text because its name looks like one.
#[test]
fn control_tokens_are_no_text() {
    let tokenizer = tokenizer();
    let mut constraint = begin(&strict(json!({"type": "string"})));
    constraint.accept(tokenizer.encode_plain("\"").unwrap()[0]).unwrap();
    let allowed = mask(&mut *constraint);
    for (id, _) in tokenizer.special_tokens() {
        assert!(!allows(&allowed, id), "{id}");
    }
    // Rows of padding have no bytes.
    for id in (0..tokenizer.vocab_size()).filter(|id| tokenizer.token_bytes(*id).is_none()) {
        assert!(!allows(&allowed, id), "{id}");
    }
}

#[test]
fn what_must_come_is_forced_as_the_tokenizer_cuts_it() {
    let spec = strict(json!({
        "type": "object",
        "properties": {"description_of_the_thing": {"type": "boolean"}},
        "required": ["description_of_the_thing"],
        "additionalProperties": false,
    }));
    let mut constraint = begin(&spec);
    assert!(!constraint.may_end() && !constraint.is_finished());
    let choice = Spec::Choice(vec!["a long sentence that is known".into()]);
    let mut known = begin(&choice);
    let forced = known.forced().unwrap();
    let whole = tokenizer().encode_plain("a long sentence that is known").unwrap();
    assert!(forced.len() > 1 && whole.starts_with(&forced), "{forced:?} of {whole:?}");
    for token in &whole {
        known.accept(*token).unwrap();
    }
    assert!(known.may_end() && known.is_finished());
    assert!(constraint.accept(whole[0]).is_err(), "a token that may not come");
}
