//! What is wrong with a request that only the model's vocabulary, template and context tell:
//! without a GPU, and before anything is read.

use std::sync::Arc;

use peregrine::Error;
use peregrine::chat::{ChatTemplate, Message};
use peregrine::checkpoint::Checkpoint;
use peregrine::constraint::Compiler;
use peregrine::session::Engine;
use peregrine::tokenizer::Tokenizer;

use crate::adapters::{self, Offered};
use crate::error::{ApiError, Code};
use crate::request::{ChatRequest, CompletionRequest, Prompt, Request, Truncation};
use crate::tools::{Calls, calls};

/// Checks requests away from the engine, in any thread: a request that has passed waits for nothing
/// that would refuse it.
///
/// It has a tokenizer and a template of its own, since an engine's stay in the thread of the GPU.
pub struct Admission {
    tokenizer: Arc<Tokenizer>,
    template: Option<ChatTemplate>,
    vocab_size: u32,
    context_length: u32,
    compiler: Option<Arc<dyn Compiler + Send + Sync>>,
    adapters: Vec<Offered>,
}

impl Admission {
    /// Of the model that is loaded with this context.
    ///
    /// # Errors
    /// As [`Engine::load`]: what tokenizer and template say.
    pub fn new(checkpoint: &Checkpoint, context_length: u32) -> peregrine::Result<Self> {
        let vocab_size = checkpoint.config.vocab_size;
        let tokenizer = Tokenizer::new(&checkpoint.tokenizer, vocab_size)?;
        let source = checkpoint.chat_template.as_ref();
        let template = source
            .map(|source| ChatTemplate::new(source, tokenizer.bos_text(), tokenizer.eos_text()))
            .transpose()?
            .map(|template| template.with_tokens(&checkpoint.named_tokens));
        let (tokenizer, adapters) = (Arc::new(tokenizer), Vec::new());
        Ok(Self { tokenizer, template, vocab_size, context_length, compiler: None, adapters })
    }

    /// The tokenizer, for whoever makes grammars of its tokens.
    pub fn shared_tokenizer(&self) -> Arc<Tokenizer> {
        self.tokenizer.clone()
    }

    /// With what makes grammars: without it, requests for other formats than a text are refused.
    #[must_use]
    pub fn with_compiler(self, compiler: Arc<dyn Compiler + Send + Sync>) -> Self {
        Self { compiler: Some(compiler), ..self }
    }

    /// With the adapters that requests may ask for.
    #[must_use]
    pub fn with_adapters(self, adapters: Vec<Offered>) -> Self {
        Self { adapters, ..self }
    }

    /// The adapters that requests may ask for.
    pub fn adapters(&self) -> &[Offered] {
        &self.adapters
    }

    /// Tokens that a conversation may have.
    pub fn context_length(&self) -> u32 {
        self.context_length
    }

    /// Whether the request can be answered, as far as its prompts, tokens and tools go. It takes as
    /// long as their texts take to tokenize.
    ///
    /// # Errors
    /// 400: adapters that there are not, a format that cannot be used, tokens that there are not, a
    /// prompt that does not fit the context, a conversation for a model that has no chat template
    /// or whose template refuses it, calls that cannot be enforced.
    pub fn check(&self, request: &Request) -> Result<(), ApiError> {
        let Self { tokenizer, template, vocab_size, context_length, compiler, adapters: offered } = self;
        let grammars = compiler.as_deref().map(|compiler| compiler as &dyn Compiler);
        let rules =
            Rules { tokenizer, template: template.as_ref(), vocab_size: *vocab_size, context_length: *context_length };
        rules.biases(request)?;
        adapters::check(request, offered)?;
        if let Some(format) = &request.generation().response_format {
            format.compiled(grammars)?;
        }
        match request {
            Request::Chat(request) => rules.chat(request, grammars),
            Request::Completion(request) => rules.prompts(request, None).map(|_| ()),
        }
    }
}

/// The same for whoever has the parts.
pub(crate) struct Rules<'a> {
    tokenizer: &'a Tokenizer,
    template: Option<&'a ChatTemplate>,
    vocab_size: u32,
    context_length: u32,
}

impl<'a> Rules<'a> {
    pub fn of(engine: &'a Engine) -> Self {
        Self {
            tokenizer: engine.tokenizer(),
            template: engine.chat_template(),
            vocab_size: engine.config().vocab_size,
            context_length: engine.model().context_length(),
        }
    }

    pub fn biases(&self, request: &Request) -> Result<(), ApiError> {
        match request.generation().logit_bias.keys().find(|token| **token >= self.vocab_size) {
            None => Ok(()),
            Some(token) => {
                let message = format!("expected a token id below {}, found {token}", self.vocab_size);
                Err(ApiError::at(Code::InvalidValue, &format!("logit_bias[\"{token}\"]"), &message))
            }
        }
    }

    pub fn template(&self) -> Result<&'a ChatTemplate, ApiError> {
        self.template.ok_or_else(|| {
            let message = "this model has no chat template, so it is not a chat model: use /v1/completions";
            ApiError::at(Code::Unsupported, "messages", message)
        })
    }

    /// What calls of the answer must be.
    pub fn calls(&self, request: &ChatRequest, grammars: Option<&dyn Compiler>) -> Result<Option<Calls>, ApiError> {
        match request.may_call() {
            true => calls(request, request.call_format(self.template()?), grammars),
            false => Ok(None),
        }
    }

    fn chat(&self, request: &ChatRequest, grammars: Option<&dyn Compiler>) -> Result<(), ApiError> {
        let (template, messages) = (self.template()?, request.conversation());
        self.calls(request, grammars)?;
        match self.conversation(template, &messages) {
            // What may be left out is; the last turn may not.
            Err(error) if error.code == Code::ContextLength && request.truncation == Truncation::Auto => {
                match last_turn(&messages) {
                    Some(last) => self.conversation(template, &last),
                    None => Err(error),
                }
            }
            found => found,
        }
    }

    fn conversation(&self, template: &ChatTemplate, messages: &[Message]) -> Result<(), ApiError> {
        let ids = template.rendering(self.tokenizer, messages).and_then(|rendering| rendering.ids(self.tokenizer));
        ids.and_then(|ids| self.fits(&ids)).map_err(|error| ApiError::of(&error, "messages"))
    }

    /// The tokens of all prompts, each of which can be read; a text begins a document. `None`: it
    /// was cancelled between two of them.
    pub fn prompts(
        &self,
        request: &CompletionRequest,
        cancel: Option<&dyn Fn() -> bool>,
    ) -> Result<Option<Vec<Vec<u32>>>, ApiError> {
        let mut all = Vec::with_capacity(request.prompt.len());
        for (i, prompt) in request.prompt.iter().enumerate() {
            if cancel.is_some_and(|cancelled| cancelled()) {
                return Ok(None);
            }
            let ids = match prompt {
                Prompt::Ids(ids) => Ok(ids.clone()),
                Prompt::Text(text) => self.tokenizer.encode(text, self.tokenizer.add_bos()),
            };
            let ids = ids.and_then(|ids| self.fits(&ids).map(|()| ids));
            let path = if request.prompt.len() == 1 { "prompt".to_string() } else { format!("prompt[{i}]") };
            all.push(ids.map_err(|error| ApiError { param: Some(path.clone()), ..ApiError::of(&error, &path) })?);
        }
        Ok(Some(all))
    }

    /// As the session will see it, with room for the first token of an answer.
    fn fits(&self, ids: &[u32]) -> peregrine::Result<()> {
        let (needed, context_length) = (ids.len() as u64 + 1, u64::from(self.context_length));
        if needed > context_length {
            return Err(Error::ContextFull { needed, context_length });
        }
        if ids.is_empty() {
            let (expected, found) = ("at least one token".into(), "none".into());
            return Err(Error::Argument { field: "prompt".into(), expected, found });
        }
        match ids.iter().find(|id| **id >= self.vocab_size) {
            Some(token) => Err(Error::TokenOutOfRange { token: *token, vocab_size: self.vocab_size }),
            None => Ok(()),
        }
    }
}

/// The system's messages and the last turn: what stays of a conversation, however long it is.
/// `None` where nothing can be left out.
fn last_turn(messages: &[Message]) -> Option<Vec<Message>> {
    let first = messages.iter().take_while(|message| message.role == "system").count();
    let last = messages.iter().rposition(|message| message.role == "user").filter(|last| *last > first)?;
    Some([&messages[..first], &messages[last..]].concat())
}
