//! What messages and prompts may be.

use peregrine_openai::{ChatRequest, Code, CompletionRequest};
use serde_json::{Value, json};

use crate::{completion_with, conversation, refused};

#[test]
fn messages_are_reported_with_their_path() {
    let one = |message: Value| conversation(json!([{ "role": "system", "content": "Be brief." }, message]));
    let role = "expected \"system\", \"developer\", \"user\", \"assistant\" or \"tool\", found";
    refused(one(json!("Hi")), Code::InvalidType, "messages[1]", "expected an object, found \"Hi\"");
    refused(one(json!({ "content": "Hi" })), Code::Missing, "messages[1].role", &format!("{role} nothing"));
    refused(
        one(json!({ "role": "owner", "content": "Hi" })),
        Code::InvalidValue,
        "messages[1].role",
        &format!("{role} \"owner\""),
    );
    refused(one(json!({ "role": 1, "content": "Hi" })), Code::InvalidType, "messages[1].role", &format!("{role} 1"));
    let content = "expected a text or a list of parts, found";
    refused(one(json!({ "role": "user" })), Code::Missing, "messages[1].content", &format!("{content} nothing"));
    refused(
        one(json!({ "role": "user", "content": null })),
        Code::Missing,
        "messages[1].content",
        &format!("{content} nothing"),
    );
    refused(
        one(json!({ "role": "user", "content": 5 })),
        Code::InvalidType,
        "messages[1].content",
        &format!("{content} 5"),
    );
    let parts = |parts: Value| one(json!({ "role": "user", "content": parts }));
    refused(parts(json!([])), Code::InvalidValue, "messages[1].content", "expected at least one part, found []");
    refused(parts(json!(["Hi"])), Code::InvalidType, "messages[1].content[0]", "expected an object, found \"Hi\"");
    let (first, second) = (json!({ "type": "text", "text": "a" }), "messages[1].content[1]");
    let part = |part: Value| parts(json!([first, part]));
    refused(part(json!({ "text": "b" })), Code::Missing, &format!("{second}.type"), "expected \"text\", found nothing");
    refused(
        part(json!({ "type": "txt" })),
        Code::InvalidValue,
        &format!("{second}.type"),
        "expected \"text\", found \"txt\"",
    );
    refused(
        part(json!({ "type": ["text"] })),
        Code::InvalidType,
        &format!("{second}.type"),
        "expected \"text\", found [\"text\"]",
    );
    refused(
        part(json!({ "type": "text" })),
        Code::Missing,
        &format!("{second}.text"),
        "expected a text, found nothing",
    );
    refused(
        part(json!({ "type": "text", "text": 5 })),
        Code::InvalidType,
        &format!("{second}.text"),
        "expected a text, found 5",
    );
    refused(
        part(json!({ "type": "text", "texts": "b" })),
        Code::UnknownField,
        &format!("{second}.texts"),
        "not a field of a part of a content; did you mean text?",
    );
    for kind in ["image_url", "input_audio", "file"] {
        let message = format!("\"{kind}\" is not supported: the model reads text only");
        refused(part(json!({ "type": kind, kind: {} })), Code::Unsupported, &format!("{second}.type"), &message);
    }
    refused(
        conversation(json!([])),
        Code::InvalidValue,
        "messages",
        "expected a list of at least one message, found []",
    );
    refused(
        ChatRequest::parse(&json!({})),
        Code::Missing,
        "messages",
        "expected a list of at least one message, found nothing",
    );
}

#[test]
fn prompts_are_texts_or_ids() {
    let wrong =
        |value: Value, code, path: &str, message: &str| refused(completion_with("prompt", value), code, path, message);
    let expected = "expected a text, a list of token ids, or a list of either, found";
    wrong(json!(5), Code::InvalidType, "prompt", &format!("{expected} 5"));
    wrong(json!([]), Code::InvalidValue, "prompt", &format!("{expected} []"));
    wrong(json!([1, "a"]), Code::InvalidType, "prompt[1]", "expected a whole number of at least 0, found \"a\"");
    wrong(json!([1, -2]), Code::InvalidValue, "prompt[1]", "expected a whole number of at least 0, found -2");
    wrong(json!(["a", 5]), Code::InvalidType, "prompt[1]", "expected a text or a list of token ids, found 5");
    wrong(json!([[1], []]), Code::InvalidValue, "prompt[1]", "expected at least one token id, found []");
    wrong(json!([[1], [true]]), Code::InvalidType, "prompt[1][0]", "expected a whole number of at least 0, found true");
    wrong(json!(vec!["a"; 129]), Code::InvalidValue, "prompt", "expected at most 128 prompts, found 129");
    refused(CompletionRequest::parse(&json!({})), Code::Missing, "prompt", &format!("{expected} nothing"));
    let many = CompletionRequest::parse(&json!({ "prompt": ["a", "b"], "n": 65 }));
    refused(many, Code::InvalidValue, "n", "at most 128 answers to one request, found 2 prompts, 65 answers each");
}
