//! Valid requests, spoilt at any depth: they are read or refused by name, never a panic.

use peregrine_openai::{ApiError, Code, Request};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};

type Parse = fn(&Value) -> Result<Request, ApiError>;

fn requests() -> [(Value, Parse); 2] {
    let chat = json!({
        "model": "m", "stream": true, "stream_options": { "include_usage": true }, "temperature": 0.5, "top_p": 0.9, "top_k": 40,
        "min_p": 0.05, "presence_penalty": 0, "frequency_penalty": 0, "repetition_penalty": 1.1, "logit_bias": { "5": -100 },
        "stop": ["a", "b"], "seed": 7, "n": 2, "ignore_eos": true, "return_token_ids": true, "max_completion_tokens": 9,
        "max_tokens": 9, "truncation": "auto", "logprobs": true, "top_logprobs": 5, "user": "ann", "metadata": { "a": "b" },
        "tools": [
            { "type": "function", "function": { "name": "f", "description": "x", "strict": false, "parameters": { "type": "object" } } },
            { "type": "function", "function": { "name": "g" } },
        ],
        "tool_choice": { "type": "function", "function": { "name": "g" } }, "parallel_tool_calls": false, "response_format": { "type": "text" },
        "messages": [
            { "role": "system", "content": [{ "type": "text", "text": "Be brief." }] },
            { "role": "user", "content": "Hi" },
            { "role": "assistant", "content": null, "refusal": null, "tool_calls": [] },
            { "role": "assistant", "tool_calls": [{ "id": "1", "type": "function", "function": { "name": "f", "arguments": "{}" } }] },
            { "role": "tool", "tool_call_id": "1", "content": "5" },
        ],
    });
    let completion = json!({
        "prompt": [[1, 2], "b"], "max_tokens": 5, "stop": "x", "seed": 3, "logit_bias": { "1": 1 }, "echo": false, "best_of": 1,
    });
    [(chat, Request::chat), (completion, Request::completion)]
}

/// Values of every type and of odd sizes.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-3i64..200).prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(json!("text")),
        Just(json!("x".repeat(5000))),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{0,8}|content|type|text|role|5", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// All places in a value, but for the value itself.
fn places(value: &Value, here: &str, all: &mut Vec<String>) {
    let mut inner = |name: &str, value: &Value| {
        let there = format!("{here}/{}", name.replace('~', "~0").replace('/', "~1"));
        all.push(there.clone());
        places(value, &there, all);
    };
    match value {
        Value::Array(items) => items.iter().enumerate().for_each(|(i, item)| inner(&i.to_string(), item)),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| inner(name, value)),
        _ => {}
    }
}

/// What is done to the value at a place.
#[derive(Clone, Debug)]
enum Change {
    Replace(Value),
    Remove,
    Add(String, Value),
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => values().prop_map(Change::Replace),
        1 => Just(Change::Remove),
        1 => ("\\PC{0,20}|[a-z_]{3,12}", values()).prop_map(|(name, value)| Change::Add(name, value)),
    ]
}

fn apply(body: &mut Value, place: &str, change: &Change) {
    let (parent, name) = place.rsplit_once('/').unwrap();
    match (change, body.pointer_mut(parent)) {
        (Change::Replace(value), _) => *body.pointer_mut(place).unwrap() = value.clone(),
        (Change::Remove, Some(Value::Object(fields))) => {
            drop(fields.shift_remove(&name.replace("~1", "/").replace("~0", "~")))
        }
        (Change::Remove, Some(Value::Array(items))) => drop(items.remove(name.parse().unwrap())),
        (Change::Add(name, value), Some(Value::Object(fields))) => drop(fields.insert(name.clone(), value.clone())),
        (Change::Add(_, value), Some(Value::Array(items))) => items.push(value.clone()),
        _ => {}
    }
}

proptest! {
    // The same requests in every run: what fails once fails again.
    #![proptest_config(ProptestConfig {
        cases: 2000, failure_persistence: None, rng_seed: RngSeed::Fixed(8318), ..ProptestConfig::default()
    })]

    #[test]
    fn a_spoilt_request_is_read_or_refused_by_name(
        which in 0usize..2,
        spoilt in prop::collection::vec((any::<prop::sample::Index>(), changes()), 1..4),
    ) {
        let (mut body, parse) = requests()[which].clone();
        for (at, change) in spoilt {
            let mut all = Vec::new();
            places(&body, "", &mut all);
            if !all.is_empty() {
                apply(&mut body, &all[at.index(all.len())], &change);
            }
        }
        match parse(&body) {
            Ok(request) => {
                // What was read is within its range, and says the same when it is read again.
                let again = serde_json::to_value(&request).unwrap();
                let mut same = parse(&again).map_err(|error| TestCaseError::fail(format!("{error}: {again}")))?;
                same.generation_mut().warnings.clone_from(&request.generation().warnings);
                prop_assert_eq!(&same, &request);
                prop_assert!((1..=128).contains(&request.answers()) && request.max_tokens() > 0);
                prop_assert!(request.generation().options(0, 1).sampling.validate().is_ok());
            }
            Err(error) => {
                prop_assert_eq!(error.status(), 400);
                let param = error.param.as_deref().unwrap_or_default();
                prop_assert!(error.message.starts_with(&format!("{param}: ")) && error.message.chars().count() < 600, "{}", error);
                prop_assert!(error.code != Code::InvalidJson);
                // The field is there, unless it is missing.
                let there = || body.as_object().is_none_or(|fields| fields.keys().any(|name| param.starts_with(name.as_str())));
                prop_assert!(error.code == Code::Missing || param.contains('…') || there(), "{}", error);
            }
        }
    }
}

#[test]
fn requests_that_are_not_spoilt_are_read() {
    for (body, parse) in requests() {
        parse(&body).unwrap();
    }
}
