//! Questions of the Berkeley Function Calling Leaderboard: what answers them is a call of a
//! function that there is, with arguments that its schema validates. Which function would be right
//! is the model's, and the embedded one knows none.

use std::path::Path;
use std::sync::Arc;

use peregrine::checkpoint::Checkpoint;
use peregrine::gpu::{Gpu, GpuOptions};
use peregrine::model::LoadOptions;
use peregrine::session::{Engine, Session};
use peregrine_grammar::Grammars;
use peregrine_openai::{Admission, Code, Request};
use pollster::block_on;
use serde_json::{Map, Value, json};

use crate::engine::whole_enforced;

const CONTEXT: u32 = 4096;

/// Most tokens of an answer: the embedded model does not come to an end by itself.
const LONGEST: u32 = 192;
const LONGEST_OF_ALL: u32 = 512;

/// Questions that are answered where a software adapter computes: the shortest. `QUESTIONS=5`
/// answers every fifth of all.
const SHORTEST: usize = 6;

fn checkpoint() -> Checkpoint {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny/peregrine-tiny-chat-Q4_0.gguf");
    block_on(Checkpoint::open(path.to_str().unwrap())).unwrap()
}

/// A schema of theirs, in JSON Schema's names: they have Python's, Java's and JavaScript's.
fn schema(given: &Value) -> Value {
    let mut fields = Map::new();
    for (name, value) in given.as_object().unwrap() {
        match (name.as_str(), value) {
            ("type", Value::String(kind)) => {
                let kind = match kind.as_str() {
                    "dict" | "HashMap" | "Hashtable" => "object",
                    "float" | "double" => "number",
                    "long" | "byte" | "short" => "integer",
                    "tuple" | "Array" | "ArrayList" | "Set" | "Queue" | "Stack" => "array",
                    "Boolean" => "boolean",
                    "String" | "char" => "string",
                    "any" | "" => continue,
                    known => known,
                };
                fields.insert("type".into(), kind.into());
            }
            ("properties", Value::Object(all)) => {
                let all: Map<String, Value> = all.iter().map(|(name, one)| (name.clone(), schema(one))).collect();
                fields.insert("properties".into(), all.into());
            }
            ("items", one) if one.is_object() => _ = fields.insert("items".into(), schema(one)),
            ("additionalProperties", one) if one.is_object() => _ = fields.insert(name.clone(), schema(one)),
            ("optional", _) => {}
            _ => _ = fields.insert(name.clone(), value.clone()),
        }
    }
    fields.into()
}

struct Question {
    id: String,
    body: Value,
}

fn questions() -> Vec<Question> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/functions");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|kind| kind == "jsonl")).collect();
    files.sort();
    let mut all = Vec::new();
    for file in files {
        for line in std::fs::read_to_string(&file).unwrap().lines() {
            let given: Value = serde_json::from_str(line).unwrap();
            let tool = |function: &Value| {
                // Dots may not be in OpenAI's names.
                let name: String = function["name"].as_str().unwrap().replace('.', "_");
                json!({ "type": "function", "function": { "name": name, "description": function["description"],
                    "parameters": schema(&function["parameters"]) } })
            };
            let tools: Vec<Value> = given["function"].as_array().unwrap().iter().map(tool).collect();
            all.push(Question {
                id: given["id"].as_str().unwrap().into(),
                body: json!({ "messages": given["question"][0], "tools": tools, "tool_choice": "required",
                    "max_tokens": LONGEST, "temperature": 0 }),
            });
        }
    }
    all
}

fn admission(checkpoint: &Checkpoint) -> Admission {
    let admission = Admission::new(checkpoint, CONTEXT).unwrap();
    let grammars = Grammars::new(admission.shared_tokenizer());
    admission.with_compiler(Arc::new(grammars))
}

/// Every one is read, has a grammar, and fits or says that it does not.
#[test]
fn every_question_is_taken() {
    let admission = admission(&checkpoint());
    let all = questions();
    let mut fit = 0;
    for Question { id, body } in &all {
        match admission.check(&Request::chat(body).unwrap_or_else(|error| panic!("{id}: {error}"))) {
            Ok(()) => fit += 1,
            Err(error) => assert_eq!(error.code, Code::ContextLength, "{id}: {error}"),
        }
    }
    println!("{} questions, {fit} fit {CONTEXT} tokens", all.len());
    assert!(all.len() > 1400 && fit * 10 > all.len() * 9);
}

#[test]
fn what_is_not_cut_off_is_a_call_that_validates() {
    let mut questions = questions();
    match std::env::var("QUESTIONS") {
        Ok(step) => {
            questions = questions.into_iter().step_by(step.parse().unwrap()).collect();
            questions.iter_mut().for_each(|question| question.body["max_tokens"] = LONGEST_OF_ALL.into());
        }
        Err(_) => {
            questions.sort_by_key(|question| question.body.to_string().len());
            questions.truncate(SHORTEST);
        }
    }
    let checkpoint = checkpoint();
    let gpu = block_on(Gpu::new(&GpuOptions::default())).unwrap();
    let options = LoadOptions { context_length: Some(CONTEXT), ..LoadOptions::default() };
    let engine = block_on(Engine::load(&gpu, &checkpoint, &options, &mut |_| {})).unwrap();
    let admission = admission(&checkpoint);
    let (mut answered, mut cut, mut calls, mut left) = (0, 0, 0, 0);
    for Question { id, body } in &questions {
        let request = Request::chat(body).unwrap();
        if admission.check(&request).is_err() {
            continue;
        }
        let answer = whole_enforced(&mut Session::new(&engine).unwrap(), &request);
        let choice = &answer["choices"][0];
        answered += 1;
        if choice["finish_reason"] == "length" {
            cut += 1;
            continue;
        }
        assert_eq!(
            (&choice["finish_reason"], &choice["message"]["content"]),
            (&json!("tool_calls"), &Value::Null),
            "{id}: {choice}"
        );
        for call in choice["message"]["tool_calls"].as_array().unwrap() {
            let function = &call["function"];
            let tool =
                body["tools"].as_array().unwrap().iter().find(|tool| tool["function"]["name"] == function["name"]);
            let tool = tool.unwrap_or_else(|| panic!("{id}: {call}"));
            let arguments: Value = match serde_json::from_str(function["arguments"].as_str().unwrap()) {
                Ok(arguments) => arguments,
                // JSON has no largest number, Rust's has.
                Err(error) if error.to_string().starts_with("number out of range") => continue,
                Err(error) => panic!("{id}: {error}: {call}"),
            };
            // A schema that nothing satisfies is left to the model, and told.
            let is_left = |warning: &Value| warning.as_str().is_some_and(|line| line.contains(": not enforced: "));
            if answer["warnings"].as_array().is_some_and(|warnings| warnings.iter().any(is_left)) {
                left += 1;
                continue;
            }
            let judge = jsonschema::validator_for(&tool["function"]["parameters"]).unwrap();
            assert!(judge.is_valid(&arguments), "{id}: {call}");
            calls += 1;
        }
    }
    println!("{answered} questions answered, {cut} answers cut off, {calls} calls, {left} left to the model");
    assert!(calls >= answered / 4, "too many answers are cut off");
}
