//! The example `tools`: its loop with a model that says what the test wants, and with the embedded
//! one.

#![allow(clippy::unwrap_used)] // also in the helpers of tests

#[path = "../examples/tools/agent.rs"]
mod agent;
#[path = "../examples/tools/model.rs"]
mod model;
#[path = "../examples/tools/tools.rs"]
mod tools;

use std::path::Path;

use agent::{Step, answer};
use serde_json::{Value, json};

/// What is asked, what came of it, and the steps.
struct Ran {
    asked: Vec<Value>,
    messages: Vec<Value>,
    answer: Result<String, String>,
    steps: Vec<String>,
}

/// Answers come in this order, the last one again and again.
fn ran(answers: &[Value], choice: &Value, rounds: usize) -> Ran {
    let (mut asked, mut steps) = (Vec::new(), Vec::new());
    let mut messages = vec![json!({ "role": "user", "content": "Well?" })];
    let mut ask = |body: &Value| {
        asked.push(body.clone());
        Ok::<_, String>(answers[asked.len().min(answers.len()) - 1].clone())
    };
    let mut on_step = |step: Step| match step {
        Step::Call { name, arguments } => steps.push(format!("{name}({arguments})")),
        Step::Result(text) => steps.push(text.to_string()),
    };
    let tools = tools::tools(tools::NOTES);
    let answer = answer(&mut ask, &tools, &mut messages, choice, rounds, &mut on_step);
    Ran { asked, messages, answer, steps }
}

fn calls(all: &[(&str, &str)], end: &str) -> Value {
    let calls: Vec<Value> = all
        .iter()
        .enumerate()
        .map(|(i, (name, arguments))| {
            let function = json!({ "name": name, "arguments": arguments });
            json!({ "id": i.to_string(), "type": "function", "function": function })
        })
        .collect();
    json!({ "choices": [{ "finish_reason": end, "message": { "role": "assistant", "content": null, "tool_calls": calls } }] })
}

fn says(text: &str) -> Value {
    json!({ "choices": [{ "finish_reason": "stop", "message": { "role": "assistant", "content": text } }] })
}

#[test]
fn what_tools_say_goes_back_to_the_model() {
    let all = [
        ("calculator", r#"{"expression":"17 * (2 + 1) ^ 2"}"#, "153"),
        ("calculator", r#"{"expression":"1 / 0"}"#, "Error: this is no number"),
        ("calculator", r#"{"expression":"system(1)"}"#, "Error: "),
        ("calculator", r#"{"expression":""}"#, "Error: "),
        ("calculator", r#"{"expression":17}"#, "Error: the arguments are wrong: "),
        ("calculator", r#"{"expression":"1","more":1}"#, "Error: the arguments are wrong: "),
        ("calculator", r#"{"expr"#, "Error: the arguments are not JSON"),
        ("clock", r#"{"zone":"UTC"}"#, ""),
        ("clock", r#"{"zone":"Mars/Base"}"#, "Error: "),
        ("clock", "{}", ""),
        ("search_notes", r#"{"words":"bicycle LOCK"}"#, "The bicycle is in the shed"),
        ("search_notes", r#"{"words":"whale"}"#, "No note has these words."),
        ("oven", "{}", "Error: there is no tool oven"),
    ];
    let written: Vec<(&str, &str)> = all.iter().map(|(name, arguments, _)| (*name, *arguments)).collect();
    let ran = ran(&[calls(&written, "tool_calls"), says("So.")], &json!("required"), 4);
    assert_eq!(ran.answer.unwrap(), "So.");
    assert_eq!((ran.steps.len(), ran.messages.len()), (2 * all.len(), 3 + all.len()));
    for (i, (name, arguments, expected)) in all.iter().enumerate() {
        let result = ran.messages[2 + i]["content"].as_str().unwrap();
        assert!(result.starts_with(expected) && !result.is_empty(), "{name}({arguments}): {result}");
        assert_eq!(ran.messages[2 + i]["tool_call_id"], i.to_string());
        assert_eq!((ran.steps[2 * i].clone(), &*ran.steps[2 * i + 1]), (format!("{name}({arguments})"), result));
    }
    let choices: Vec<&Value> = ran.asked.iter().map(|body| &body["tool_choice"]).collect();
    assert_eq!(choices, ["required", "auto"]);
    assert_eq!(ran.asked[0]["tools"].as_array().unwrap().len(), 3);
}

#[test]
fn after_some_rounds_it_must_answer() {
    let again = calls(&[("clock", "{}")], "tool_calls");
    let answers = [again.clone(), again, says("Late.")];
    let ran = ran(&answers, &json!("auto"), 2);
    let choices: Vec<&Value> = ran.asked.iter().map(|body| &body["tool_choice"]).collect();
    assert_eq!(
        (ran.answer.unwrap().as_str(), choices),
        ("Late.", vec![&json!("auto"), &json!("auto"), &json!("none")])
    );
}

#[test]
fn a_call_that_was_cut_off_is_not_made() {
    let ran = ran(&[calls(&[("clock", "{")], "length")], &json!("auto"), 2);
    assert!(ran.answer.unwrap_err().contains("cut off") && ran.steps.is_empty());
}

/// What it writes is nothing to go by, but it is a call of that tool.
#[test]
fn the_embedded_model_calls_and_answers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny/peregrine-tiny-chat-Q4_0.gguf");
    let mut model = model::Model::open(path.to_str().unwrap()).unwrap();
    let mut messages = vec![json!({ "role": "user", "content": "How much is 17 times 3?" })];
    let choice = json!({ "type": "function", "function": { "name": "calculator" } });
    let mut steps = Vec::new();
    let mut on_step = |step: Step| match step {
        Step::Call { name, arguments } => steps.push(format!("{name}({arguments})")),
        Step::Result(text) => steps.push(text.to_string()),
    };
    let tools = tools::tools(tools::NOTES);
    let answered = answer(&mut |body| model.ask(body), &tools, &mut messages, &choice, 1, &mut on_step);
    let answered = answered.unwrap();
    assert!(steps[0].starts_with("calculator({") && steps[0].contains("\"expression\""), "{steps:?}");
    assert_eq!((steps.len(), messages.len()), (2, 4));
    assert_eq!(messages[3]["content"].as_str().unwrap(), answered);
}
