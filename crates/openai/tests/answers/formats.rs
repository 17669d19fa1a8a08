//! Answers with a `response_format`: what it asks for, the same tokens whole and in chunks, and
//! errors that name the place.

use std::rc::Rc;

use peregrine::Error;
use peregrine::constraint::{Compiler, Constraint, Grammar, Spec};
use peregrine_openai::{Code, Request, answer};
use pollster::block_on;
use serde_json::{Value, json};

use crate::engine::{chat, choices, completion, enforced, enforced_by, head, whole_enforced, with_session};

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {"capital": {"enum": ["Paris", "Rome"]}, "large": {"type": "boolean"}},
        "required": ["capital", "large"],
        "additionalProperties": false,
    })
}

fn by_schema(strict: bool, schema: &Value) -> Value {
    json!({"type": "json_schema", "json_schema": {"name": "capital", "description": "a city", "strict": strict, "schema": schema}})
}

fn with(format: &Value, fields: Value) -> Request {
    let mut all = json!({"response_format": format, "max_tokens": 60, "ignore_eos": false});
    all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    chat(all)
}

#[test]
fn answers_follow_the_schema_whole_and_in_chunks() {
    with_session(|session| {
        for fields in
            [json!({}), json!({"temperature": 1.2, "seed": 5}), json!({"temperature": 1, "logprobs": true, "seed": 5})]
        {
            let found = whole_enforced(session, &with(&by_schema(true, &schema()), fields.clone()));
            let choice = &found["choices"][0];
            let content = choice["message"]["content"].as_str().unwrap();
            assert_eq!(choice["finish_reason"], "stop", "{content}");
            let document: Value = serde_json::from_str(content).unwrap();
            assert!(jsonschema::validator_for(&schema()).unwrap().is_valid(&document), "{content}");
            assert_eq!(found["warnings"].as_array().map_or(0, Vec::len), 0, "{found}");
            let ids = found["usage"]["completion_tokens"].as_u64().unwrap();
            let counted = with(&by_schema(true, &schema()), {
                let mut fields = fields.clone();
                fields["return_token_ids"] = json!(true);
                fields
            });
            let counted = whole_enforced(session, &counted);
            assert_eq!(counted["choices"][0]["token_ids"].as_array().unwrap().len() as u64, ids, "forced tokens count");

            let mut streaming = fields;
            streaming["stream"] = json!(true);
            let (chunks, done) = enforced(session, &with(&by_schema(true, &schema()), streaming));
            done.unwrap();
            let text: String = choices(&chunks).filter_map(|choice| choice["delta"]["content"].as_str()).collect();
            assert_eq!(text, content);
            assert_eq!(choices(&chunks).last().unwrap()["finish_reason"], "stop");
        }
    });
}

#[test]
fn every_format_is_answered() {
    with_session(|session| {
        let mut content = |format: Value| {
            let found = whole_enforced(session, &with(&format, json!({"max_tokens": 40})));
            found["choices"][0]["message"]["content"].as_str().unwrap().to_string()
        };
        assert_eq!(content(json!({"type": "regex", "regex": "(abc|xyz)[0-9]"})).len(), 4);
        assert!(["yes", "no"].contains(&content(json!({"type": "choice", "choice": ["yes", "no"]})).as_str()));
        let lark = content(json!({"type": "grammar", "grammar": "start: \"<\" /[a-z]{3}/ \">\""}));
        assert!(lark.len() == 5 && lark.starts_with('<'), "{lark}");
        assert!(content(json!({"type": "json_object"})).starts_with('{'));
        assert!(!content(json!({"type": "text"})).is_empty());
        let plain = completion(json!({"response_format": {"type": "choice", "choice": ["red", "green"]}, "n": 2}));
        let found = whole_enforced(session, &plain);
        for choice in found["choices"].as_array().unwrap() {
            assert!(["red", "green"].contains(&choice["text"].as_str().unwrap()) && choice["finish_reason"] == "stop");
        }
    });
}

#[test]
fn what_is_cut_short_says_so() {
    with_session(|session| {
        let found = whole_enforced(session, &with(&by_schema(true, &schema()), json!({"max_tokens": 3})));
        assert_eq!(found["choices"][0]["finish_reason"], "length");
        assert_eq!(found["usage"]["completion_tokens"], 3);
    });
}

#[test]
fn what_is_not_enforced_is_reported_or_refused() {
    with_session(|session| {
        let mut odd = schema();
        odd["properties"]["when"] = json!({"type": "string", "format": "lunar"});
        let found = whole_enforced(session, &with(&by_schema(false, &odd), json!({})));
        assert!(found["warnings"][0].as_str().unwrap().contains("lunar"), "{found}");
        let (_, refused) = enforced(session, &with(&by_schema(true, &odd), json!({})));
        let refused = refused.unwrap_err();
        assert_eq!(refused.param.as_deref(), Some("response_format.json_schema.schema"));
        assert!(
            refused.code == Code::InvalidValue && refused.message.contains("#/properties/when/format"),
            "{refused}"
        );
        for (format, param) in [
            (json!({"type": "regex", "regex": "("}), "response_format.regex"),
            (json!({"type": "choice", "choice": [""]}), "response_format.choice"),
            (json!({"type": "grammar", "grammar": "start: nothing"}), "response_format.grammar"),
        ] {
            let refused = enforced(session, &with(&format, json!({}))).1.unwrap_err();
            assert_eq!((refused.param.as_deref(), refused.status()), (Some(param), 400), "{refused}");
        }
    });
}

#[test]
fn without_a_compiler_formats_are_refused_by_name() {
    with_session(|session| {
        let request = with(&json!({"type": "json_object"}), json!({}));
        let refused = block_on(answer(session, &request, &head(), &mut |_| true, None, None)).unwrap_err();
        assert_eq!(refused.message, "response_format: not supported in this version");
        assert_eq!((refused.code, refused.param.as_deref()), (Code::Unsupported, Some("response_format")));
        let text = with(&json!({"type": "text"}), json!({"max_tokens": 2}));
        assert!(block_on(answer(session, &text, &head(), &mut |_| true, None, None)).is_ok());
    });
}

/// Grammars that fail with the first token.
struct Failing;

impl Compiler for Failing {
    fn compile(&self, _: &Spec) -> peregrine::Result<Rc<dyn Grammar>> {
        Ok(Rc::new(Self))
    }
}

impl Grammar for Failing {
    fn begin(&self) -> peregrine::Result<Box<dyn Constraint>> {
        Err(Error::Grammar { place: "somewhere".into(), detail: "too complex".into() })
    }
}

#[test]
fn a_grammar_that_fails_in_the_answer_is_that_of_its_field() {
    with_session(|session| {
        let tools = json!([{ "type": "function", "function": { "name": "rain" } }]);
        for (request, field) in [
            (chat(json!({ "tools": tools, "tool_choice": "required" })), "tools"),
            (chat(json!({ "response_format": { "type": "json_object" } })), "response_format"),
            (completion(json!({ "response_format": { "type": "json_object" } })), "response_format"),
        ] {
            let error = enforced_by(session, &request, &Failing).1.unwrap_err();
            assert_eq!((error.status(), error.param.as_deref()), (400, Some(field)));
            assert_eq!(error.message, format!("{field}: somewhere: too complex"));
        }
    });
}
