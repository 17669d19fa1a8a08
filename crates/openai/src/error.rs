//! OpenAI's error object: `{"error": {"message", "type", "param", "code"}}`, and the HTTP status
//! that goes with it.

use peregrine::Error;
use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

/// What went wrong. It decides the HTTP status, OpenAI's type and code, and the code that the npm
/// package's errors have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The body is not JSON, or did not arrive whole.
    InvalidJson,
    /// A value of the wrong type.
    InvalidType,
    /// A value of the right type that is out of range, or makes no sense.
    InvalidValue,
    /// Something that must be there is not.
    Missing,
    /// A field that nobody knows.
    UnknownField,
    /// Something that OpenAI's API has and this version has not.
    Unsupported,
    /// The conversation does not fit the context.
    ContextLength,
    /// No key, or a wrong one.
    InvalidKey,
    /// A page whose origin has not been allowed.
    Origin,
    /// A name of the server that is not its own: a page's, whose name leads here.
    Host,
    /// No such path.
    UnknownPath,
    /// No such model.
    UnknownModel,
    /// A path that there is, by a method that it has not.
    Method,
    /// The request was not sent in time.
    TooSlow,
    /// The body is too large.
    TooLarge,
    /// Too many requests are waiting.
    Busy,
    /// The caller stopped the work.
    Cancelled,
    /// The engine is about to end.
    Stopping,
    /// The device is gone.
    DeviceLost,
    /// The GPU has not enough memory.
    OutOfMemory,
    /// The GPU or its driver reported an error, or computed wrong results.
    Gpu,
    /// Anything else: a bug, or the machine.
    Internal,
}

impl Code {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::InvalidJson,
        Self::InvalidType,
        Self::InvalidValue,
        Self::Missing,
        Self::UnknownField,
        Self::Unsupported,
        Self::ContextLength,
        Self::InvalidKey,
        Self::Origin,
        Self::Host,
        Self::UnknownPath,
        Self::UnknownModel,
        Self::Method,
        Self::TooSlow,
        Self::TooLarge,
        Self::Busy,
        Self::Cancelled,
        Self::Stopping,
        Self::DeviceLost,
        Self::OutOfMemory,
        Self::Gpu,
        Self::Internal,
    ];

    /// HTTP status, OpenAI's type, OpenAI's code, and the code in the npm package.
    ///
    /// Clients repeat what has status 408, 409, 429 or 5xx: what will not pass the next time has
    /// another one.
    const fn row(self) -> (u16, &'static str, &'static str, &'static str) {
        const WRONG: &str = "invalid_request_error";
        match self {
            Self::InvalidJson => (400, WRONG, "invalid_json", "argument"),
            Self::InvalidType => (400, WRONG, "invalid_type", "argument"),
            Self::InvalidValue => (400, WRONG, "invalid_value", "argument"),
            Self::Missing => (400, WRONG, "missing_required_parameter", "argument"),
            Self::UnknownField => (400, WRONG, "unknown_parameter", "not-supported"),
            Self::Unsupported => (400, WRONG, "unsupported_parameter", "not-supported"),
            Self::ContextLength => (400, WRONG, "context_length_exceeded", "context-full"),
            Self::InvalidKey => (401, "authentication_error", "invalid_api_key", "http"),
            Self::Origin => (403, "permission_error", "origin_not_allowed", "http"),
            Self::Host => (403, "permission_error", "host_not_allowed", "http"),
            Self::UnknownPath => (404, WRONG, "unknown_url", "http"),
            Self::UnknownModel => (404, WRONG, "model_not_found", "http"),
            Self::Method => (405, WRONG, "method_not_allowed", "http"),
            Self::TooSlow => (408, WRONG, "request_timeout", "timeout"),
            Self::TooLarge => (413, WRONG, "request_too_large", "argument"),
            Self::Busy => (429, "rate_limit_error", "queue_full", "busy"),
            Self::Cancelled => (499, "cancelled", "cancelled", "cancelled"),
            Self::Stopping => (503, "server_error", "stopping", "disposed"),
            Self::DeviceLost => (503, "server_error", "device_lost", "device-lost"),
            Self::OutOfMemory => (500, "server_error", "out_of_memory", "out-of-memory"),
            Self::Gpu => (500, "server_error", "gpu", "gpu"),
            Self::Internal => (500, "server_error", "internal", "internal"),
        }
    }

    /// The HTTP status.
    pub const fn status(self) -> u16 {
        self.row().0
    }

    /// OpenAI's `type`.
    pub const fn kind(self) -> &'static str {
        self.row().1
    }

    /// OpenAI's `code`.
    pub const fn name(self) -> &'static str {
        self.row().2
    }

    /// What `error.code` is in the npm package.
    pub const fn engine_code(self) -> &'static str {
        self.row().3
    }
}

/// A request that was refused, or that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What went wrong.
    pub code: Code,
    /// One line for a person.
    pub message: String,
    /// The field, as a path into the request: `messages[2].content`.
    pub param: Option<String>,
    /// The engine's own code, where the engine failed: it says more.
    pub engine: Option<&'static str>,
}

impl ApiError {
    /// An error that no field is to blame for.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), param: None, engine: None }
    }

    /// An error of the field at `path`; the message names it.
    pub fn at(code: Code, path: &str, message: &str) -> Self {
        Self { code, message: format!("{path}: {message}"), param: Some(path.into()), engine: None }
    }

    /// The engine's error while it answered; `prompt` is the field that the prompt came in.
    pub fn of(error: &Error, prompt: &str) -> Self {
        let (code, param) = match error {
            Error::ContextFull { .. } => (Code::ContextLength, Some(prompt)),
            Error::Template { .. } | Error::Tokenizer { .. } | Error::TokenOutOfRange { .. } => {
                (Code::InvalidValue, Some(prompt))
            }
            // Logits that are no numbers are no option's fault.
            Error::Sampling { field, .. } if field == "logits" => (Code::Gpu, None),
            // As far as it could be known, it was before. Which field it was made of the caller
            // knows: `held_by`.
            Error::Grammar { .. } => (Code::InvalidValue, None),
            Error::Sampling { field, .. } | Error::Argument { field, .. } => (Code::InvalidValue, Some(field.as_str())),
            Error::DeviceLost { .. } => (Code::DeviceLost, None),
            Error::OutOfMemory { .. } | Error::DoesNotFit { .. } => (Code::OutOfMemory, None),
            Error::NoGpu { .. } | Error::Gpu { .. } | Error::NotFinite { .. } | Error::SelfCheck { .. } => {
                (Code::Gpu, None)
            }
            Error::Cancelled => (Code::Cancelled, None),
            _ => (Code::Internal, None),
        };
        let advice = match (code, prompt) {
            (Code::ContextLength, "messages") => {
                "; make the messages shorter, or leave out the oldest with \"truncation\": \"auto\""
            }
            (Code::ContextLength, _) => "; make the prompt shorter",
            _ => "",
        };
        let message = format!("{error}{advice}");
        Self { code, message, param: param.map(str::to_string), engine: Some(error.code()) }
    }

    /// With the field that a grammar was made of, where it is a grammar's error.
    pub(crate) fn held_by(self, field: Option<&str>) -> Self {
        match (self.engine, field) {
            (Some("grammar"), Some(field)) => {
                Self { param: Some(field.into()), message: format!("{field}: {}", self.message), ..self }
            }
            _ => self,
        }
    }

    /// What `error.code` is in the npm package.
    pub fn engine_code(&self) -> &'static str {
        self.engine.unwrap_or(self.code.engine_code())
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.code.status()
    }
}

/// The whole object, with `error` around it.
impl Serialize for ApiError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Inner<'a> {
            message: &'a str,
            r#type: &'static str,
            param: Option<&'a str>,
            code: &'static str,
        }
        let Self { code, message, param, .. } = self;
        let inner = Inner { message, r#type: code.kind(), param: param.as_deref(), code: code.name() };
        let mut object = serializer.serialize_struct("ApiError", 1)?;
        object.serialize_field("error", &inner)?;
        object.end()
    }
}
