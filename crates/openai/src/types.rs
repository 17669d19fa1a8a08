//! The same types in TypeScript, for the npm package: its openai.ts is what is made here, and the
//! test says when it is not. What a request may have in several forms is read by hand and kept in
//! one; here are the forms that it may have.

use ts_rs::{Config, TS};

use crate::{request, response};

/// Who says a message. "developer" is OpenAI's newer word for "system".
#[derive(TS)]
#[ts(rename_all = "lowercase")]
#[expect(dead_code, reason = "a type alone")]
enum Role {
    System,
    Developer,
    User,
    Assistant,
    Tool,
}

/// A paragraph of a message.
#[derive(TS)]
#[expect(dead_code, reason = "a type alone")]
struct TextPart {
    /// There are only texts.
    #[ts(type = "\"text\"")]
    r#type: String,
    /// What it says.
    text: String,
}

/// A message of the conversation.
#[derive(TS)]
#[expect(dead_code, reason = "a type alone")]
struct ChatMessage {
    /// Who says it.
    role: Role,
    /// A text, or parts of one. Null, or left out: an assistant who has said nothing.
    #[ts(optional, type = "string | readonly TextPart[] | null")]
    content: Option<String>,
    /// Of an assistant: what it called.
    #[ts(optional, type = "readonly ToolCall[] | null")]
    tool_calls: Option<Vec<ToolCall>>,
    /// Of a tool: the call that it answers.
    #[ts(optional)]
    tool_call_id: Option<String>,
}

/// A call of a tool.
#[derive(TS)]
#[expect(dead_code, reason = "a type alone")]
pub(crate) struct ToolCall {
    /// No other call of any response has it.
    id: String,
    /// There are only functions.
    #[ts(type = "\"function\"")]
    r#type: String,
    /// What is called.
    function: CalledFunction,
}

/// What is called.
#[derive(TS)]
#[expect(dead_code, reason = "a type alone")]
pub(crate) struct CalledFunction {
    /// Its name.
    name: String,
    /// JSON, as the model wrote it.
    arguments: String,
}

/// A piece of a call that is streamed: the first has all fields, those after it the index and more
/// of the arguments.
#[derive(TS)]
#[expect(dead_code, reason = "a type alone")]
pub(crate) struct ToolCallPiece {
    /// Which of the answer's calls, from 0.
    index: u32,
    /// Of the first piece.
    #[ts(optional)]
    id: Option<String>,
    /// Of the first piece.
    #[ts(optional, type = "\"function\"")]
    r#type: Option<String>,
    /// What is called.
    #[ts(type = "{ name?: string; arguments: string }")]
    function: CalledFunction,
}

/// A function that the model may call.
#[derive(TS)]
#[expect(dead_code, reason = "a type alone")]
struct Tool {
    /// There are only functions.
    #[ts(type = "\"function\"")]
    r#type: String,
    /// The function.
    function: ToolFunction,
}

/// What the model is told of a function.
#[derive(TS)]
#[expect(dead_code, reason = "a type alone")]
struct ToolFunction {
    /// 1 to 64 letters, digits, `_` and `-`; no other tool has it.
    name: String,
    /// What it is for.
    #[ts(optional)]
    description: Option<String>,
    /// A JSON schema of its arguments, an object's. Left out: it has none.
    #[ts(optional, type = "Record<string, unknown>")]
    parameters: Option<String>,
    /// Whether the schema is to be obeyed exactly.
    #[ts(optional = nullable)]
    strict: Option<bool>,
}

/// What may be called.
#[derive(TS)]
#[expect(dead_code, reason = "a type alone")]
pub(crate) struct Tools(#[ts(type = "readonly Tool[]")] Vec<Tool>);

/// Whether the model may call a tool ("auto"), must ("required"), must call this, or must not.
#[derive(TS)]
#[expect(dead_code, reason = "a type alone")]
pub(crate) struct ToolChoice(
    #[ts(type = "\"none\" | \"auto\" | \"required\" | { type: \"function\"; function: { name: string } }")] String,
);

/// How calls are written between their tags: as the model's template has it ("auto"), an object for
/// each call, or one array of all.
#[derive(TS)]
#[ts(rename = "ToolCallFormat")]
#[expect(dead_code, reason = "a type alone")]
pub(crate) struct CallFormat(#[ts(type = "\"auto\" | \"object\" | \"array\"")] String);

/// A schema of an answer.
#[derive(TS)]
#[expect(dead_code, reason = "a type alone")]
struct JsonSchemaFormat {
    /// 1 to 64 letters, digits, `_` and `-`.
    name: String,
    /// What it is for.
    #[ts(optional)]
    description: Option<String>,
    /// JSON Schema, draft 2020-12.
    #[ts(type = "Record<string, unknown> | boolean")]
    schema: String,
    /// Refuse a schema that cannot be enforced as a whole. Default false: what cannot is named in
    /// `warnings`.
    #[ts(optional = nullable)]
    strict: Option<bool>,
}

/// What an answer must look like. The last three are not OpenAI's: a regular expression, one of
/// several texts, a grammar in Lark's syntax.
#[derive(TS)]
#[ts(rename = "ResponseFormat")]
#[expect(dead_code, reason = "a type alone")]
pub(crate) struct Format(
    #[ts(
        type = "{ type: \"text\" } | { type: \"json_object\" } | { type: \"json_schema\"; json_schema: JsonSchemaFormat } | { type: \"regex\"; regex: string } | { type: \"choice\"; choice: readonly string[] } | { type: \"grammar\"; grammar: string }"
    )]
    String,
);

/// One text, or several.
#[derive(TS)]
#[expect(dead_code, reason = "a type alone")]
pub(crate) struct Stop(#[ts(type = "string | readonly string[]")] String);

/// Adapters beside the model.
#[derive(TS)]
#[expect(dead_code, reason = "a type alone")]
pub(crate) struct Loras(#[ts(type = "readonly LoraChoice[]")] String);

/// Token ids and what is added to their logits.
#[derive(TS)]
#[expect(dead_code, reason = "a type alone")]
pub(crate) struct LogitBias(#[ts(type = "Record<string, number>")] String);

/// All of them, as a module.
fn module() -> String {
    let config = Config::new().with_large_int("number");
    let mut module =
        "/** OpenAI's completions. Made from the types of the crate peregrine-openai by `make types`. */\n".to_string();
    macro_rules! add {
        ($($t:ty),* $(,)?) => {
            $(
                let declaration = format!("{}export {}\n", <$t>::docs().unwrap_or_default(), <$t>::decl(&config));
                module.push('\n');
                module.push_str(&tidy(&declaration));
            )*
        };
    }
    add!(
        Role,
        TextPart,
        CalledFunction,
        ToolCall,
        ToolCallPiece,
        ChatMessage,
        ToolFunction,
        Tool,
        Tools,
        ToolChoice,
        CallFormat,
        JsonSchemaFormat,
        Format,
        Stop,
        LogitBias,
        request::Lora,
        Loras,
        request::StreamOptions,
        request::Generation,
        request::Truncation,
        request::ChatRequest,
        request::CompletionRequest,
        response::FinishReason,
        response::PromptTokensDetails,
        response::Timings,
        response::Usage,
        response::TokenLogprob,
        response::ContentLogprob,
        response::Logprobs,
        response::Delta,
        response::ChunkChoice,
        response::ChatCompletionChunk,
        response::AssistantMessage,
        response::ChatChoice,
        response::ChatCompletion,
        response::TextChoice,
        response::Completion,
    );
    module
}

/// As a person would have set it: interfaces, docs on one line, fields on lines of their own.
fn tidy(declaration: &str) -> String {
    let mut tidy = String::new();
    let mut inside = false;
    for line in declaration.replace("/**\n * ", "/** ").replace("\n */", " */").replace(", };", ",\n}").lines() {
        let line = line.trim_end();
        let indent = if inside && line != "}" { "  " } else { "" };
        let line = match line.strip_prefix("export type ").and_then(|rest| rest.strip_suffix(" = {")) {
            Some(name) => {
                inside = true;
                format!("export interface {name} {{")
            }
            None => match line.strip_suffix(',') {
                Some(field) => format!("{field};"),
                None => line.to_string(),
            },
        };
        tidy.extend([indent, &line, "\n"]);
    }
    tidy
}

#[test]
fn the_npm_package_has_these_types() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/package/src/openai.ts");
    let expected = module();
    if std::env::var_os("TYPES").is_some() {
        std::fs::write(path, &expected).expect("the package's folder");
    }
    let found = std::fs::read_to_string(path).expect("openai.ts");
    assert!(found == expected, "web/package/src/openai.ts is not what these types say: make types");
}
