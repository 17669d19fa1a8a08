//! The one error type. Every variant names the thing that is wrong, what was expected and what was
//! found.

/// Result with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whatever can go wrong, from a broken file to a lost device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{name}: {source}")]
    Io {
        /// File name.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A server answered with an error, or not in the way ranges need.
    #[error("{url}: {detail}")]
    Http {
        /// Address.
        url: String,
        /// HTTP status, if there was an answer.
        status: Option<u16>,
        /// What was expected and what came.
        detail: String,
    },
    /// The file ends before something that its header promises.
    #[error(
        "{name}: {what} needs {needed} bytes at offset {offset}, but the file has {available}: it is truncated or damaged"
    )]
    Truncated {
        /// File name.
        name: String,
        /// The thing that was being read.
        what: String,
        /// Where it starts, bytes.
        offset: u64,
        /// Its length, bytes.
        needed: u64,
        /// The file's length, bytes.
        available: u64,
    },
    /// The magic bytes are not GGUF's.
    #[error("{name}: not a GGUF file: expected it to begin with \"GGUF\", found {found}")]
    NotGguf {
        /// File name.
        name: String,
        /// What it begins with.
        found: String,
    },
    /// A header contradicts itself, its specification, or the file.
    #[error("{name}: {field}: expected {expected}, found {found}")]
    Malformed {
        /// File name.
        name: String,
        /// Field or tensor.
        field: String,
        /// What would be right.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Legal, but not something this runtime can run.
    #[error("{name}: {field}: {found} is not supported (expected {expected})")]
    Unsupported {
        /// File name.
        name: String,
        /// Field or tensor.
        field: String,
        /// What is supported.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A tensor that the architecture needs is not in the file.
    #[error("{name}: tensor {tensor} is missing")]
    MissingTensor {
        /// File name.
        name: String,
        /// Tensor name as it would be stored.
        tensor: String,
    },
    /// A metadata field that the architecture needs is not in the file.
    #[error("{name}: field {field} is missing")]
    MissingField {
        /// File name.
        name: String,
        /// Field name.
        field: String,
    },
    /// A tensor has not the shape that the configuration implies.
    #[error("{name}: tensor {tensor}: expected shape {expected:?}, found {found:?}")]
    TensorShape {
        /// File name.
        name: String,
        /// Tensor name as stored.
        tensor: String,
        /// Shape from the configuration, `[out, in]`.
        expected: Vec<u64>,
        /// Shape in the file, `[out, in]`.
        found: Vec<u64>,
    },
    /// The vocabulary or the merges cannot be used.
    #[error("tokenizer: {detail}")]
    Tokenizer {
        /// What is wrong.
        detail: String,
    },
    /// The chat template does not parse, or refused the messages.
    #[error("chat template: {detail}")]
    Template {
        /// What is wrong, with the template's line.
        detail: String,
    },
    /// A token id that the embedding has no row for.
    #[error("token id {token} is out of range: the vocabulary has {vocab_size} tokens (0 to {})", vocab_size.saturating_sub(1))]
    TokenOutOfRange {
        /// The id.
        token: u32,
        /// Vocabulary size V.
        vocab_size: u32,
    },
    /// More tokens than the context holds.
    #[error("the context is full: {needed} tokens are needed, {context_length} fit")]
    ContextFull {
        /// Tokens read so far plus the new ones.
        needed: u64,
        /// Tokens that fit.
        context_length: u64,
    },
    /// A sampling option is out of its range, or the logits are not numbers.
    #[error("{field}: expected {expected}, found {found}")]
    Sampling {
        /// Option name.
        field: String,
        /// Range.
        expected: String,
        /// Value.
        found: String,
    },
    /// A grammar (a JSON schema, a regular expression) that cannot be used, or that an answer could
    /// not be made by.
    #[error("{place}: {detail}")]
    Grammar {
        /// Which grammar, and where in it: `response_format`, a file, a path into a schema.
        place: String,
        /// What is wrong.
        detail: String,
    },
    /// An argument of a call makes no sense.
    #[error("{field}: expected {expected}, found {found}")]
    Argument {
        /// Argument name.
        field: String,
        /// What is accepted.
        expected: String,
        /// What was given.
        found: String,
    },
    /// No adapter, or none that fits.
    #[error("no usable GPU: {detail}")]
    NoGpu {
        /// Why.
        detail: String,
    },
    /// The GPU or its driver reported an error.
    #[error("GPU: {detail}")]
    Gpu {
        /// What it said.
        detail: String,
    },
    /// The model's logits hold something that is no number. Everything that the session had read is
    /// forgotten.
    #[error(
        "wrong results: the logit of token {token} is {found}; first wrong: {stage}; `peregrine check` compares every stage"
    )]
    NotFinite {
        /// The first stage that is wrong, as far as the states tell.
        stage: String,
        /// The first token with such a logit.
        token: u32,
        /// NaN or an infinity.
        found: f32,
    },
    /// This device computes wrong results in every way in which it can be used.
    #[error("this device computes wrong results: {detail}")]
    SelfCheck {
        /// Each way that was tried, and the first stage that was wrong in it.
        detail: String,
    },
    /// The device went away (driver reset, sleep, unplugged).
    #[error("the GPU device was lost: {detail}")]
    DeviceLost {
        /// What the driver said.
        detail: String,
    },
    /// An allocation failed, exceeds the adapter's limits or, on the processor, the memory that
    /// there is.
    #[error(
        "out of memory: {what}{}{}",
        bytes.map(|bytes| format!(" needs {bytes} bytes")).unwrap_or_default(),
        limit.map(|limit| format!(", and at most {limit} can be had")).unwrap_or_default()
    )]
    OutOfMemory {
        /// What was being allocated.
        what: String,
        /// Its size, where that is known.
        bytes: Option<u64>,
        /// The adapter's limit, or what the machine has left, where that was the reason.
        limit: Option<u64>,
    },
    /// The model with its conversation needs more than the caller allows.
    #[error(
        "{what} does not fit: with a context of {context_length} tokens it needs {:.1} MB, {:.1} MB more than the \
         {:.1} MB allowed; {}",
        *needed as f64 / 1e6, needed.saturating_sub(*budget) as f64 / 1e6, *budget as f64 / 1e6,
        largest_context.map_or("no context is small enough".into(), |n| format!("a context of {n} tokens fits"))
    )]
    DoesNotFit {
        /// The model, or the model with adapters.
        what: String,
        /// Bytes for weights, activations, states and caches.
        needed: u64,
        /// Bytes allowed.
        budget: u64,
        /// Tokens of the conversation.
        context_length: u32,
        /// The largest context that fits.
        largest_context: Option<u32>,
    },
    /// The caller stopped the work.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// A stable, short name for programs; JavaScript sees it as `error.code`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "io",
            Self::Http { .. } => "http",
            Self::Truncated { .. } => "truncated",
            Self::NotGguf { .. } => "not-gguf",
            Self::Malformed { .. } => "malformed",
            Self::Unsupported { .. } => "unsupported",
            Self::MissingTensor { .. } => "missing-tensor",
            Self::MissingField { .. } => "missing-field",
            Self::TensorShape { .. } => "tensor-shape",
            Self::Tokenizer { .. } => "tokenizer",
            Self::Template { .. } => "template",
            Self::TokenOutOfRange { .. } => "token-out-of-range",
            Self::ContextFull { .. } => "context-full",
            Self::Sampling { .. } => "sampling",
            Self::Grammar { .. } => "grammar",
            Self::Argument { .. } => "argument",
            Self::NoGpu { .. } => "no-gpu",
            Self::Gpu { .. } => "gpu",
            Self::NotFinite { .. } => "not-finite",
            Self::SelfCheck { .. } => "self-check",
            Self::DeviceLost { .. } => "device-lost",
            Self::OutOfMemory { .. } | Self::DoesNotFit { .. } => "out-of-memory",
            Self::Cancelled => "cancelled",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Error;

    #[test]
    fn a_size_that_nobody_knows_is_not_told() {
        let error = |bytes| Error::OutOfMemory { what: "an allocation".into(), bytes, limit: None }.to_string();
        assert_eq!(error(None), "out of memory: an allocation");
        assert_eq!(error(Some(8)), "out of memory: an allocation needs 8 bytes");
    }
}
