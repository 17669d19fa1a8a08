//! Adapters: a model each, and any choice of them in a request.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::server::Server;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
}

/// Eight tokens, and the response.
fn answer(server: &Server, fields: Value) -> (Vec<u64>, Value) {
    let mut body = json!({ "prompt": [1, 70, 261, 9], "max_tokens": 8, "temperature": 0, "ignore_eos": true });
    body["return_token_ids"] = true.into();
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let answer = server.post("/v1/completions", &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = answer.json();
    let ids = answer["choices"][0]["token_ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
    (ids, answer)
}

#[test]
fn each_adapter_is_a_model_and_a_request_may_choose() {
    let [plain, patterns] = ["adapters/plain", "adapters/patterns"].map(|name| golden(name).display().to_string());
    let args = ["--lora", &plain, "--lora", &format!("{patterns}:0.5")];
    let server = Server::of(&golden("hf-folder"), &args, &[]);

    let models = server.get("/v1/models").json();
    let ids: Vec<&str> = models["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["hf-folder", "plain", "patterns"]);
    assert_eq!((&models["data"][0]["parent"], &models["data"][1]["parent"]), (&Value::Null, &json!("hf-folder")));
    assert_eq!(server.get("/v1/models/patterns").json(), models["data"][2]);

    let (base, response) = answer(&server, json!({}));
    assert_eq!(response["model"], "hf-folder");
    let (plain, response) = answer(&server, json!({ "model": "plain" }));
    assert_eq!((&response["model"], &response["warnings"]), (&json!("plain"), &Value::Null));
    let (patterns, _) = answer(&server, json!({ "model": "patterns" }));
    assert!(base != plain && base != patterns && plain != patterns, "{base:?} {plain:?} {patterns:?}");
    assert_eq!(answer(&server, json!({ "lora": [{ "id": "patterns", "scale": 0.5 }] })).0, patterns);
    assert_eq!(answer(&server, json!({ "lora": [{ "id": "plain" }] })).0, plain);
    assert_eq!(answer(&server, json!({ "lora": [{ "id": "plain", "scale": 0 }] })).0, base);
    let both = json!([{ "id": "plain" }, { "id": "patterns", "scale": 0.5 }]);
    assert_ne!(answer(&server, json!({ "lora": both })).0, plain);
    // Nothing is left of them, and what the base has read is found again.
    assert_eq!(answer(&server, json!({ "model": "hf-folder" })).0, base);
    let whole: Vec<u64> = [1, 70, 261, 9].into_iter().chain(base).collect();
    answer(&server, json!({ "model": "plain" }));
    let (_, response) = answer(&server, json!({ "prompt": whole }));
    assert!(response["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap() > 8, "{response}");

    let refused = |fields: Value, param: &str, part: &str| {
        let mut body = json!({ "prompt": "a" });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let answer = server.post("/v1/completions", &body);
        let error = &answer.json()["error"];
        assert_eq!((answer.status, &error["param"]), (400, &json!(param)), "{error}");
        assert!(error["message"].as_str().unwrap().contains(part), "{error}");
    };
    refused(json!({ "lora": [{ "id": "poems" }] }), "lora[0].id", "there are plain, patterns");
    refused(json!({ "lora": [{ "id": "plain" }, { "id": "plain" }] }), "lora[1].id", "twice");
    refused(json!({ "lora": [{ "scale": 1 }] }), "lora[0].id", "name");
    refused(json!({ "lora": [{ "id": "plain", "scale": "1" }] }), "lora[0].scale", "number");
    refused(json!({ "lora": [{ "id": "plain", "weight": 1 }] }), "lora[0].weight", "not a field of an adapter");
    refused(json!({ "lora": "plain" }), "lora", "list");
    refused(json!({ "model": "plain", "lora": [{ "id": "patterns" }] }), "lora", "an adapter itself");
}
