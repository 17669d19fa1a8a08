//! Which fields there are, and what becomes of those that nothing is done with.

use serde_json::Value;

/// The fields of one kind of object.
pub struct Fields {
    /// "a chat completion"
    pub of: &'static str,
    /// Read and obeyed.
    known: &'static [&'static [&'static str]],
    /// They change no answer: let through, with a warning.
    ignored: &'static [&'static str],
    /// They would change the answer, and this version does not know how: refused, unless the value
    /// asks for nothing.
    refused: &'static [&'static str],
}

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// It is read, or asks for nothing.
    Fine,
    /// It changes nothing.
    Warn,
    /// OpenAI's API has it.
    Unsupported,
    /// Nobody has it.
    Unknown,
}

const COMMON: &[&str] = &[
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "logit_bias",
    "stop",
    "seed",
    "n",
    "ignore_eos",
    "return_token_ids",
    "response_format",
    "model",
    "max_tokens",
    "lora",
];

const IGNORED: &[&str] = &[
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "parallel_tool_calls",
    "strict",
    "prediction",
];

const TOOLS: &[&str] = &["tools", "tool_choice", "parallel_tool_calls", "tool_call_format"];

/// `POST /v1/chat/completions`
pub const CHAT: Fields = Fields {
    of: "a chat completion",
    known: &[COMMON, &["messages", "max_completion_tokens", "logprobs", "top_logprobs", "truncation"], TOOLS],
    ignored: IGNORED,
    refused: &[
        "functions",
        "function_call",
        "modalities",
        "audio",
        "reasoning_effort",
        "verbosity",
        "web_search_options",
        "moderation",
    ],
};

/// `POST /v1/completions`
pub const COMPLETION: Fields = Fields {
    of: "a completion",
    known: &[COMMON, &["prompt"]],
    ignored: IGNORED,
    refused: &["logprobs", "echo", "best_of", "suffix", "tools", "tool_choice"],
};

/// `stream_options`
pub const STREAM_OPTIONS: Fields = Fields {
    of: "stream_options",
    known: &[&["include_usage"]],
    // Random letters that hide how long a chunk is.
    ignored: &["include_obfuscation"],
    refused: &[],
};

/// An item of `lora`.
pub const LORA: Fields = Fields { of: "an adapter", known: &[&["id", "scale"]], ignored: &[], refused: &[] };

/// What an answer has, of this engine or of others, it may be sent back with. Who speaks beside the
/// role, and what was thought before: templates get neither.
const SENT_BACK: &[&str] =
    &["name", "reasoning", "reasoning_content", "annotations", "cache_control", "prompt_cache_breakpoint"];

/// A message of the system or the user.
pub const MESSAGE: Fields = Fields {
    of: "a message",
    known: &[&["role", "content"]],
    ignored: SENT_BACK,
    refused: &["refusal", "audio", "tool_calls", "tool_call_id", "function_call"],
};

/// A message of the assistant.
pub const ASSISTANT: Fields = Fields {
    of: "a message",
    known: &[&["role", "content", "tool_calls"]],
    ignored: SENT_BACK,
    refused: &["refusal", "audio", "tool_call_id", "function_call"],
};

/// What a tool has answered. Its name is known from the call.
pub const ANSWER: Fields = Fields {
    of: "a message",
    known: &[&["role", "content", "tool_call_id", "name"]],
    ignored: SENT_BACK,
    refused: &["refusal", "audio", "tool_calls", "function_call"],
};

/// A tool.
pub const TOOL: Fields =
    Fields { of: "a tool", known: &[&["type", "function"]], ignored: &["cache_control"], refused: &["custom"] };

/// `function` of a tool.
pub const FUNCTION: Fields =
    Fields { of: "a function", known: &[&["name", "description", "parameters", "strict"]], ignored: &[], refused: &[] };

/// `tool_choice` that names a tool.
pub const CHOICE: Fields =
    Fields { of: "tool_choice", known: &[&["type", "function"]], ignored: &[], refused: &["custom", "allowed_tools"] };

/// A call that an assistant has made; pieces of a stream have an index.
pub const CALL: Fields =
    Fields { of: "a call", known: &[&["id", "type", "function", "index"]], ignored: &[], refused: &["custom"] };

/// `function` of a call.
pub const CALLED: Fields =
    Fields { of: "a call's function", known: &[&["name", "arguments"]], ignored: &[], refused: &[] };

/// A part of a message's content.
pub const PART: Fields = Fields {
    of: "a part of a content",
    known: &[&["type", "text"]],
    ignored: &["annotations", "cache_control", "prompt_cache_breakpoint"],
    refused: &["image_url", "input_audio", "file", "refusal"],
};

impl Fields {
    /// What becomes of a field with this value.
    pub fn treatment(&self, name: &str, value: &Value) -> Treatment {
        if value.is_null() || self.known.iter().any(|names| names.contains(&name)) {
            Treatment::Fine
        } else if self.ignored.contains(&name) {
            if is_nothing(value) || is_neutral(name, value) { Treatment::Fine } else { Treatment::Warn }
        } else if self.refused.contains(&name) {
            if is_nothing(value) || is_neutral(name, value) { Treatment::Fine } else { Treatment::Unsupported }
        } else {
            Treatment::Unknown
        }
    }

    /// The fields that something is done with, and those that OpenAI's API has.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.known.iter().copied().chain([self.refused, self.ignored]).flatten().copied()
    }
}

/// An empty list or object, or `false`.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(on) => !on,
        _ => false,
    }
}

/// A value that says what is done anyway.
fn is_neutral(field: &str, value: &Value) -> bool {
    match field {
        "tool_choice" | "function_call" => value == "none" || value == "auto",
        "modalities" => value.as_array().is_some_and(|kinds| kinds.iter().all(|kind| kind == "text")),
        "reasoning_effort" => value == "none",
        "verbosity" => value == "medium",
        "best_of" => value.as_f64() == Some(1.0),
        "suffix" | "name" | "refusal" | "reasoning" | "reasoning_content" => value == "",
        _ => false,
    }
}
