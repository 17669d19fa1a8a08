//! Documents by schemas as public APIs have them, and by generated ones: random walks under the
//! mask, judged by another implementation of JSON Schema; and documents that validate, made without
//! the grammar.

use std::thread;

use peregrine::constraint::{Compiler, Grammar, Spec};
use serde_json::{Value, json};

use crate::generated::Kind;
use crate::walk::{Noise, grammars, takes, takes_of, walk};

/// Generated schemas.
const SCHEMAS: u64 = 500;

/// Walks of each schema.
const WALKS: usize = 24;

/// Documents of each generated schema that are looked for.
const DOCUMENTS: usize = 20;

/// Schemas of the kind that tools, extraction and public APIs use, each with a document that
/// validates.
fn typical() -> Vec<(Value, Value)> {
    let all: Vec<Value> = serde_json::from_str(include_str!("typical.json")).unwrap();
    all.iter().map(|one| (one["schema"].clone(), one["document"].clone())).collect()
}

/// The schema with this number, and what is random about it.
fn generated(number: u64) -> (Kind, Noise) {
    let mut noise = Noise(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 11);
    (Kind::random(&mut noise, 3), noise)
}

fn spec(schema: &Value) -> Spec {
    Spec::JsonSchema { schema: schema.clone(), strict: true }
}

fn compiled(schema: &Value) -> std::rc::Rc<dyn Grammar> {
    grammars().compile(&spec(schema)).unwrap_or_else(|error| panic!("{schema}: {error}"))
}

fn validator(schema: &Value) -> jsonschema::Validator {
    jsonschema::options().should_validate_formats(true).build(schema).unwrap()
}

/// A number of each case, on all cores: the sum.
fn sum(cases: u64, one: impl Fn(u64) -> usize + Sync) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from) as u64;
    thread::scope(|scope| {
        let one = &one;
        let each: Vec<_> = (0..cores)
            .map(|core| scope.spawn(move || (core..cases).step_by(cores as usize).map(one).sum::<usize>()))
            .collect();
        each.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

/// What the grammar lets come and the oracle does not: it knows neither leap years and leap seconds
/// nor how long the part of an address before the `@`, or a host's name, may be. Both are told in
/// docs.
fn is_excepted(schema: &Value, text: &str) -> bool {
    let schema = schema.to_string();
    let has_names = ["\"email\"", "\"hostname\"", "\"uri\""].iter().any(|format| schema.contains(format));
    let is_long = text.split(['"', '@', '.']).any(|part| part.len() > 60) || text.len() > 250;
    text.contains("-02-29") || text.contains(":60") || (has_names && is_long)
}

/// Walks that end; all that do must validate.
fn walks(schema: &Value, noise: &mut Noise) -> usize {
    let (grammar, judge) = (compiled(schema), validator(schema));
    let mut ended = 0;
    for _ in 0..WALKS {
        let start = noise.0;
        let Some(text) = walk(&*grammar, noise).filter(|text| !is_excepted(schema, text)) else { continue };
        let what = || format!("noise {start}: {schema}: {text:?}");
        let document: Value = match serde_json::from_str(&text) {
            Ok(document) => document,
            // JSON has no largest number, Rust's has.
            Err(error) if error.to_string().starts_with("number out of range") => continue,
            Err(error) => panic!("{error}: {}", what()),
        };
        assert!(judge.is_valid(&document), "{}", what());
        ended += 1;
    }
    ended
}

#[test]
fn every_document_under_a_mask_validates() {
    let typical = typical();
    let first = typical.len() as u64;
    let ended = sum(first + SCHEMAS, |number| match typical.get(number as usize) {
        Some((schema, _)) => walks(schema, &mut Noise(number)),
        None => {
            let (kind, mut noise) = generated(number - first);
            walks(&kind.schema(), &mut noise)
        }
    });
    println!("{ended} documents of {} schemas", first + SCHEMAS);
    assert!(ended >= 10_000, "{ended} documents came to an end");
}

/// `,` and `:` with a space behind them, as Python writes JSON.
fn spaced(document: &Value) -> String {
    struct Spaced;
    impl serde_json::ser::Formatter for Spaced {
        fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
            if first { Ok(()) } else { out.write_all(b", ") }
        }
        fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
            if first { Ok(()) } else { out.write_all(b", ") }
        }
        fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
            out.write_all(b": ")
        }
    }
    let mut out = Vec::new();
    serde::Serialize::serialize(document, &mut serde_json::Serializer::with_formatter(&mut out, Spaced)).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn documents_that_validate_are_reached() {
    for (schema, document) in typical() {
        assert!(validator(&schema).is_valid(&document), "{schema}: {document}");
        let grammar = compiled(&schema);
        assert!(takes_of(&*grammar, &document.to_string()), "{schema}: {document}");
        assert!(takes_of(&*grammar, &spaced(&document)), "{schema}: {document}");
    }
    let reached = sum(SCHEMAS, |number| {
        let (kind, mut noise) = generated(number);
        let schema = kind.schema();
        let (grammar, judge) = (compiled(&schema), validator(&schema));
        for _ in 0..DOCUMENTS {
            let document = kind.document(&mut noise);
            assert!(judge.is_valid(&document), "{schema}: {document}");
            assert!(takes_of(&*grammar, &document.to_string()), "{schema}: {document}");
            assert!(takes_of(&*grammar, &spaced(&document)), "{schema}: {document}");
        }
        DOCUMENTS
    });
    assert_eq!(reached, SCHEMAS as usize * DOCUMENTS);
}

/// The oracle is one: a document with a wrong value, an additional field or a missing one is not
/// taken by either.
#[test]
fn documents_that_do_not_validate_are_not_reached() {
    for (schema, document) in typical() {
        let judge = validator(&schema);
        let mut broken = vec![json!("text"), json!([null]), json!({"unknown": {}}), json!(-1000)];
        for name in document.as_object().into_iter().flatten().map(|(name, _)| name) {
            let mut without = document.clone();
            without.as_object_mut().unwrap().remove(name);
            broken.push(without);
            let mut wrong = document.clone();
            wrong[name] = json!([[1], "x"]);
            broken.push(wrong);
        }
        for document in broken.iter().filter(|document| !judge.is_valid(document)) {
            assert!(!takes(&spec(&schema), &document.to_string()), "{schema}: {document}");
        }
    }
}
