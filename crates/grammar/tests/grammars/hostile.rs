//! Schemas and grammars that are broken, recursive, huge, or made to cost much: a typed error or a
//! grammar, within bounds that are counted in work and not in time; and answers by those that
//! compile go on or fail, but do not hang.

use peregrine::Error;
use peregrine::constraint::{Compiler, Spec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::walk::{Noise, grammars, mask_or_error, tokenizer};

/// Compiles it and takes some steps. Whether it was refused; the message is a line.
fn is_refused(spec: &Spec) -> bool {
    let outcome = grammars().compile(spec).and_then(|grammar| {
        let mut constraint = grammar.begin()?;
        let mut noise = Noise(1);
        for _ in 0..30 {
            if constraint.is_finished() {
                break;
            }
            let forced = constraint.forced()?;
            if let Some(token) = forced.first() {
                constraint.accept(*token)?;
                continue;
            }
            let allowed = mask_or_error(&mut *constraint)?;
            let allowed: Vec<u32> = allowed.into_iter().filter(|id| !tokenizer().is_end(*id)).collect();
            if allowed.is_empty() {
                break;
            }
            constraint.accept(allowed[noise.below(allowed.len())])?;
        }
        Ok(())
    });
    match outcome {
        Ok(()) => false,
        Err(Error::Grammar { place, detail }) => {
            assert!(!place.is_empty() && !detail.contains('\n') && detail.chars().count() < 450, "{place}: {detail}");
            true
        }
        Err(other) => panic!("{other:?}"),
    }
}

fn schema(schema: Value) -> Spec {
    Spec::JsonSchema { schema, strict: false }
}

fn nested(depth: usize, wrap: impl Fn(Value) -> Value) -> Value {
    (0..depth).fold(json!({"type": "integer"}), |inner, _| wrap(inner))
}

fn object_of(fields: impl Iterator<Item = (String, Value)>) -> Value {
    Value::Object(fields.collect::<Map<_, _>>())
}

/// A chain of definitions, each of which needs the next.
fn chain(length: usize, link: impl Fn(String) -> Value) -> Value {
    let next = |i: usize| format!("#/$defs/d{}", i + 1);
    let mut defs: Map<String, Value> = (0..length).map(|i| (format!("d{i}"), link(next(i)))).collect();
    defs.insert(format!("d{length}"), json!({"type": "integer"}));
    json!({"$ref": "#/$defs/d0", "$defs": defs})
}

#[test]
fn what_is_too_large_is_refused_before_it_is_looked_at() {
    let array = |inner| json!({"type": "array", "items": inner});
    for too_large in [
        schema(nested(120, array)),
        schema(json!({"enum": (0..25_000).collect::<Vec<u32>>()})),
        schema(json!({"description": "x".repeat(600 << 10)})),
        schema(json!({"const": "x".repeat(20 << 10)})),
        schema(json!({"properties": object_of((0..2000).map(|i| (i.to_string(), json!(true))))})),
        schema(chain(1200, |next| json!({"$ref": next}))),
        Spec::Regex("a".repeat(20 << 10)),
        Spec::Choice((0..5000).map(|i| i.to_string()).collect()),
        Spec::Lark(format!("start: {}\"a\"{}", "(".repeat(5000), ")".repeat(5000))),
        Spec::Lark(format!("start: \"{}\"", "a".repeat(200 << 10))),
        Spec::Lark(format!("start: \"a\"{}", " | \"b\"".repeat(5000))),
        Spec::Lark(format!("start: r0\n{}", (0..5000).map(|i| format!("r{i}: \"a\"\n")).collect::<String>())),
        Spec::Lark(format!("start: %json {}", nested(120, array))),
    ] {
        assert!(is_refused(&too_large), "{:.200}", format!("{too_large:?}"));
    }
    // What is just within the limits is compiled, also where each level is a call.
    assert!(!is_refused(&schema(nested(40, array))));
    assert!(!is_refused(&schema(chain(900, |next| json!({"$ref": next})))));
}

fn hostile_schemas() -> Vec<Value> {
    let text = |n: usize| "é".repeat(n);
    let any_of =
        |n: usize| json!({"anyOf": (0..n).map(|i| json!({"minimum": i, "type": "integer"})).collect::<Vec<_>>()});
    vec![
        json!({"$ref": "#"}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
        json!({"$ref": "#/$defs/a", "type": "object", "$defs": {"a": {"$ref": "#/$defs/a", "minProperties": 1}}}),
        json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}),
        json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}),
        json!({"not": {"$ref": "#"}}),
        json!({"type": "array", "items": {"$ref": "#"}, "minItems": 1}),
        json!({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}),
        chain(950, |next| json!({"$ref": next})),
        chain(950, |next| json!({"$ref": next, "minimum": 0})),
        chain(
            400,
            |next| json!({"type": "object", "properties": {"a": {"allOf": [{"$ref": next}, {"minProperties": 1}]}}}),
        ),
        chain(60, |next| json!({"allOf": [{"$ref": next}, {"$ref": next}]})),
        chain(60, |next| json!({"type": "array", "prefixItems": [{"$ref": next}, {"$ref": next}], "minItems": 2})),
        json!({"allOf": (0..12).map(|_| any_of(6)).collect::<Vec<_>>()}),
        json!({"allOf": (0..200).map(|_| any_of(2)).collect::<Vec<_>>()}),
        json!({"oneOf": (0..1500).map(|i| json!({"type": "object", "properties": {"k": {"const": i.to_string()}}, "required": ["k"]})).collect::<Vec<_>>()}),
        json!({"type": "array", "minItems": 1_000_000_000u64}),
        json!({"type": "array", "maxItems": u64::MAX, "items": {"type": "integer"}}),
        json!({"type": "array", "items": {"type": "array", "items": {"type": "string", "minLength": 1000}, "minItems": 1000}, "minItems": 1000}),
        json!({"type": "string", "minLength": 1_000_000_000u64}),
        json!({"type": "string", "minLength": 3000, "maxLength": 100_000}),
        json!({"type": "string", "maxLength": u64::MAX}),
        json!({"type": "string", "minLength": 10, "maxLength": 5}),
        json!({"type": "object", "minProperties": 1_000_000u64}),
        json!({"type": "object", "maxProperties": 1_000_000u64, "additionalProperties": {"type": "integer"}}),
        json!({"enum": (0..15_000).map(|i| format!("value number {i}")).collect::<Vec<_>>()}),
        json!({"enum": []}),
        json!({"const": text(8000)}),
        json!({"type": "string", "pattern": "(a{1000}){1000}"}),
        json!({"type": "string", "pattern": "(.{0,1000}){0,1000}"}),
        json!({"type": "string", "pattern": "(x+x+)+y"}),
        json!({"type": "string", "pattern": ".*a.{200}b.*c.{200}"}),
        json!({"type": "string", "pattern": "(?:".repeat(400) + "a" + &")".repeat(400)}),
        json!({"type": "string", "pattern": "[\\p{L}--[a-z]]{500}(\\p{Greek}|\\w){500}"}),
        json!({"type": "string", "pattern": "(?=a)(?!b)(?<=c)\\1"}),
        json!({"type": "string", "pattern": "^$|^(a|b|ab)*c{0,5000}$"}),
        json!({"type": "string", "pattern": 5}),
        json!({"type": "number", "minimum": 1e308, "maximum": 1.0e308}),
        json!({"type": "number", "minimum": 5e-324, "exclusiveMaximum": 1e-300}),
        json!({"type": "number", "multipleOf": 1e-300}),
        json!({"type": "number", "multipleOf": 0}),
        json!({"type": "integer", "multipleOf": 999_999_937, "minimum": 0}),
        json!({"type": "integer", "multipleOf": u64::MAX}),
        json!({"allOf": [{"type": "number", "multipleOf": 0.123456789}, {"multipleOf": 987654321.5}]}),
        json!({"type": "integer", "minimum": i64::MIN, "maximum": i64::MAX}),
        json!({"type": "integer", "minimum": -123456789012345678i64, "maximum": 987654321098765432i64}),
        json!({"type": "number", "minimum": text(100)}),
        json!({"type": text(100)}),
        json!({"type": ["object", 5]}),
        json!({"type": "nothing"}),
        json!({"properties": 5}),
        json!({"properties": {"a": 5}}),
        json!({"required": [5]}),
        json!({"items": 5}),
        json!({"prefixItems": {"a": 1}}),
        json!({"anyOf": {}}),
        json!({"anyOf": []}),
        json!({"$id": "not a uri %%%", "type": "object"}),
        json!({"$schema": "http://example.com/unknown", "type": "object"}),
        json!({"$ref": 5}),
        json!({"$ref": "#/%"}),
        json!({"$ref": "#/properties/~2"}),
        json!({"$dynamicRef": "#node", "$dynamicAnchor": "node"}),
        json!({"patternProperties": object_of((0..60).map(|i| (format!("^a{{{i},100}}b*$"), json!({"type": "integer"}))))}),
        json!({"patternProperties": {"(": {}}}),
        json!({"patternProperties": {".*": {"type": "object", "patternProperties": {".*": {"$ref": "#"}}}}}),
        json!({"properties": object_of((0..1000).map(|i| (format!("property {i}"), json!({"type": "string"}))))}),
        json!({"properties": object_of((0..300).map(|i| (format!("{}{i}", text(300)), json!(true))))}),
        json!({"required": (0..3000).map(|i| format!("r{i}")).collect::<Vec<_>>()}),
        json!({"type": "string", "format": text(100)}),
        json!({"type": "object", "unevaluatedProperties": false, "dependentSchemas": {"a": {"$ref": "#"}}}),
    ]
}

#[test]
fn hostile_schemas_end_in_an_error_or_a_grammar() {
    let mut refused = 0;
    for hostile in hostile_schemas() {
        for strict in [true, false] {
            refused += u32::from(is_refused(&Spec::JsonSchema { schema: hostile.clone(), strict }));
        }
    }
    assert!(refused > 40, "{refused}");
}

#[test]
fn hostile_expressions_and_grammars_end_in_an_error_or_a_grammar() {
    for regex in [
        "(a{1000}){1000}",
        "(.{0,999}){0,999}",
        "(x+x+)+y",
        ".*a.{300}",
        "(?:a?){500}a{500}",
        "((a*)*)*b",
        "\\p{L}{5000}",
        "[^\\s\\S]",
        "a{4294967295}",
        "(?P<n>a)(?P=n)",
        "\\",
        "[",
        "(?",
        "\u{0}\u{ffff}",
        "^",
        "$",
        "\\Aab\\z",
        "a\\b",
    ] {
        is_refused(&Spec::Regex(regex.into()));
    }
    let alternatives: Vec<String> = (0..3000).map(|i| format!("r{i}")).collect();
    let rules: String = (0..3000).map(|i| format!("r{i}: \"{i}\" r{}\n", (i + 1) % 3000)).collect();
    for lark in [
        "start: start start | \"a\"".to_string(),
        "start: start \"a\" | \"a\"".to_string(),
        "start: a\na: b\nb: a".to_string(),
        "start: \"\"".to_string(),
        "start: a*\na: \"\"".to_string(),
        "start: \"a\"{1,1000000}".to_string(),
        "start: (((\"a\"*)*)*)* \"b\"".to_string(),
        "start: A\nA: A \"x\"".to_string(),
        "start: /(a{1000}){1000}/".to_string(),
        "start: %json {\"type\": \"array\", \"minItems\": 100000000}".to_string(),
        "start: %json {".to_string(),
        "start: %regex {\"substring_words\": \"a b c\"}".to_string(),
        "start: <|im_end|>".to_string(),
        "start: <[999999999]>".to_string(),
        "start: <none>".to_string(),
        "%import common.NOTHING\nstart: NOTHING".to_string(),
        "%llguidance {\"no_forcing\": true}\nstart: \"abc\"".to_string(),
        "%llguidance {\"allow_invalid_utf8\": true}\nstart: /(.|\\n)*/".to_string(),
        "%ignore /( )*/\nstart: \"a\"".to_string(),
        format!("start: {}\n{rules}", alternatives.join(" | ")),
        "start[max_tokens=0]: /.*/".to_string(),
        "start[temperature=5, stop=\"x\"]: /.*/".to_string(),
        "start::_: \"a\"".to_string(),
        "\u{feff}start: \"a\"".to_string(),
        "a".repeat(100_000),
        "\n".repeat(100_000),
        "start: \"".to_string(),
        "start: /a".to_string(),
    ] {
        is_refused(&Spec::Lark(lark));
    }
}

/// Values that look like parts of schemas, in any order.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z$#/(){}*+.^\\\\]{0,8}".prop_map(Value::from),
        Just(json!("#")),
        Just(json!("string")),
        Just(json!("object")),
        Just(Value::Null),
    ];
    let names = prop::sample::select(vec![
        "type",
        "properties",
        "items",
        "anyOf",
        "oneOf",
        "allOf",
        "$ref",
        "enum",
        "const",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "required",
        "additionalProperties",
        "prefixItems",
        "patternProperties",
        "multipleOf",
        "$defs",
        "not",
        "if",
        "x",
        "$id",
        "$schema",
        "minProperties",
        "exclusiveMinimum",
    ]);
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..6)
                .prop_map(|fields| object_of(fields.into_iter().map(|(name, value)| (name.to_string(), value)))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_schema_is_worse_than_an_error(value in anything(), strict in any::<bool>()) {
        is_refused(&Spec::JsonSchema { schema: value, strict });
    }

    #[test]
    fn no_expression_is_worse_than_an_error(text in "[a-c(){}\\[\\]|*+?.^$\\\\0-9,:<>=!PpdwsbLu -]{0,24}") {
        is_refused(&Spec::Regex(text));
    }

    #[test]
    fn no_lark_is_worse_than_an_error(text in "(start: )?[a-cA-C\"/(){}\\[\\]|*+?.:%_~ \n&0-9,<>=-]{0,40}") {
        is_refused(&Spec::Lark(text));
    }
}
