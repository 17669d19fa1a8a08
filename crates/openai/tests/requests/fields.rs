//! Fields that are refused, let through, or warned of.

use peregrine_openai::Code;
use serde_json::json;

use crate::{chat_with, completion_with, conversation, refused};

#[test]
fn what_would_change_the_answer_is_refused_by_name() {
    let unsupported =
        |field, value| refused(chat_with(field, value), Code::Unsupported, field, "not supported in this version");
    unsupported("functions", json!([{ "name": "f" }]));
    unsupported("modalities", json!(["text", "audio"]));
    unsupported("reasoning_effort", json!("high"));
    for (field, value) in
        [("logprobs", json!(3)), ("echo", json!(true)), ("best_of", json!(2)), ("suffix", json!("end"))]
    {
        refused(completion_with(field, value), Code::Unsupported, field, "not supported in this version");
    }
    for (field, value) in
        [("function_call", json!({ "name": "f" })), ("audio", json!({ "id": "1" })), ("refusal", json!("No."))]
    {
        let found = conversation(json!([{ "role": "assistant", "content": "Hi", field: value }]));
        refused(found, Code::Unsupported, &format!("messages[0].{field}"), "not supported in this version");
    }
    refused(
        conversation(json!([{ "role": "function", "content": "5" }])),
        Code::Unsupported,
        "messages[0].role",
        "\"function\" is not supported: what a tool has answered has the role \"tool\"",
    );
    let unknown = |field, message| refused(chat_with(field, json!(1)), Code::UnknownField, field, message);
    unknown("temprature", "not a field of a chat completion; did you mean temperature?");
    unknown("maxTokens", "not a field of a chat completion; did you mean max_tokens?");
    unknown("prompt", "not a field of a chat completion");
    unknown("logitbias", "not a field of a chat completion; did you mean logit_bias?");
    let found = completion_with("max_completion_tokens", json!(5));
    refused(found, Code::UnknownField, "max_completion_tokens", "not a field of a completion");
    let found = chat_with("stream_options", json!({ "includeUsage": true }));
    refused(
        found,
        Code::UnknownField,
        "stream_options.includeUsage",
        "not a field of stream_options; did you mean include_usage?",
    );
    let found = conversation(json!([{ "role": "user", "content": "Hi", "contents": "Hi" }]));
    refused(found, Code::UnknownField, "messages[0].contents", "not a field of a message; did you mean content?");
    // However long a name is, the message is not, and it is made at once.
    let long = "é".repeat(100_000);
    let error = chat_with(&long, json!(1)).unwrap_err();
    assert_eq!(error.message, format!("{0}…: not a field of a chat completion", "é".repeat(80)));
}

#[test]
fn what_asks_for_nothing_is_let_through() {
    let plain = conversation(json!([{ "role": "user", "content": "Hi" }])).unwrap();
    for (field, value) in [
        ("tools", json!([])),
        ("tool_choice", json!("auto")),
        ("tool_choice", json!("none")),
        ("functions", json!([])),
        ("response_format", json!({ "type": "text" })),
        ("modalities", json!(["text"])),
        ("metadata", json!({})),
        ("store", json!(false)),
    ] {
        assert_eq!(chat_with(field, value).unwrap(), plain, "{field}");
    }
    for (field, value) in
        [("echo", json!(false)), ("best_of", json!(1)), ("suffix", json!("")), ("logprobs", json!(false))]
    {
        assert!(completion_with(field, value).unwrap().generation.warnings.is_empty(), "{field}");
    }
    // An answer as it may be sent back.
    let back = conversation(
        json!([{ "role": "assistant", "content": "Hi", "refusal": null, "annotations": [], "tool_calls": [], "audio": null }]),
    );
    assert!(back.unwrap().generation.warnings.is_empty());
    let nothing =
        json!({ "name": "", "reasoning": "", "reasoning_content": null, "refusal": "", "function_call": null });
    let mut said = json!({ "role": "assistant", "content": "Hi" });
    said.as_object_mut().unwrap().extend(nothing.as_object().unwrap().clone());
    assert!(conversation(json!([said])).unwrap().generation.warnings.is_empty());
}

#[test]
fn what_changes_nothing_is_warned_of() {
    for (field, value) in [
        ("user", json!("ann")),
        ("metadata", json!({ "a": "b" })),
        ("store", json!(true)),
        ("service_tier", json!("auto")),
        ("safety_identifier", json!("x")),
        ("prompt_cache_key", json!("x")),
        ("parallel_tool_calls", json!(true)),
        ("strict", json!(true)),
    ] {
        let warning = format!("{field}: ignored, as it changes nothing here");
        assert_eq!(chat_with(field, value.clone()).unwrap().generation.warnings, std::slice::from_ref(&warning));
        assert_eq!(completion_with(field, value).unwrap().generation.warnings, [warning]);
    }
    // A history as other servers' clients keep it.
    let said = json!({ "role": "assistant", "content": "Hi", "name": "Ann", "reasoning": "Hm.", "reasoning_content": "Hm.",
        "annotations": [{ "type": "url_citation" }] });
    let history = conversation(json!([said])).unwrap();
    let warning = |field: &str| format!("messages[0].{field}: ignored, as it changes nothing here");
    let mut warnings = history.generation.warnings.clone();
    warnings.sort_unstable();
    assert_eq!(warnings, ["annotations", "name", "reasoning", "reasoning_content"].map(warning));
    assert_eq!(history.messages[0].content, "Hi");
    let part = json!({ "type": "text", "text": "Hi", "cache_control": { "type": "ephemeral" } });
    let many = conversation(json!(vec![json!({ "role": "user", "content": [part] }); 100])).unwrap();
    assert_eq!(many.generation.warnings.len(), 32);
    assert_eq!(
        many.generation.warnings[31],
        "messages[31].content[0].cache_control: ignored, as it changes nothing here"
    );
}

#[test]
fn adapters_are_read_and_checked() {
    use peregrine_openai::{Offered, Request, adapters};
    let lora = |value| chat_with("lora", value);
    let found = lora(json!([{ "id": "a" }, { "id": "b", "scale": -0.5 }, { "id": "c", "scale": null }])).unwrap();
    let found: Vec<_> = found.generation.lora.iter().map(|lora| (lora.id.as_str(), lora.scale)).collect();
    assert_eq!(found, [("a", 1.0), ("b", -0.5), ("c", 1.0)]);
    for nothing in [json!([]), json!(null)] {
        assert!(lora(nothing).unwrap().generation.lora.is_empty());
    }
    refused(
        lora(json!([{ "id": "a" }, { "id": "a" }])),
        Code::InvalidValue,
        "lora[1].id",
        "the adapter \"a\" is there twice",
    );
    let found = lora(json!([{ "id": "a", "scale": 1001 }]));
    assert_eq!(found.unwrap_err().param.as_deref(), Some("lora[0].scale"));
    let found = lora(json!([{ "id": "" }]));
    assert_eq!(found.unwrap_err().param.as_deref(), Some("lora[0].id"));

    let offered = ["a", "b"].map(|name| Offered { name: name.into(), scale: 1.0 });
    let asked = |body| Request::completion(&body).unwrap();
    let choice = asked(json!({ "prompt": "x", "lora": [{ "id": "a" }, { "id": "c" }] }));
    refused(
        adapters::check(&choice, &offered),
        Code::InvalidValue,
        "lora[1].id",
        "there is no adapter c; there are a, b",
    );
    refused(adapters::check(&choice, &[]), Code::InvalidValue, "lora[0].id", "there is no adapter a; there are none");
    // In a browser.
    let model = asked(json!({ "prompt": "x", "model": "b" }));
    assert_eq!(adapters::as_model(&model, &offered), Some(&offered[1]));
    assert!(adapters::check(&model, &offered).is_ok());
    let both = asked(json!({ "prompt": "x", "model": "b", "lora": [{ "id": "a" }] }));
    assert_eq!(adapters::check(&both, &offered).unwrap_err().param.as_deref(), Some("lora"));
}
