//! What sessions share: a loaded model with its tokenizer and chat template.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use crate::adapter::Registry;
use crate::chat::ChatTemplate;
use crate::checkpoint::{Checkpoint, Container};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::model::{LoadOptions, Model, Progress};
use crate::tokenizer::Tokenizer;

/// A model with its tokenizer and chat template; sessions share it.
pub struct Engine {
    pub(super) model: Rc<Model>,
    pub(super) tokenizer: Arc<Tokenizer>,
    pub(super) template: Option<ChatTemplate>,
    pub(super) container: Container,
    pub(super) adapters: RefCell<Registry>,
    /// Whether the GPU samples right under a mask; not known before it was tried.
    pub(super) masks: Cell<Option<bool>>,
}

impl Engine {
    /// Loads all of it from a checkpoint.
    ///
    /// # Errors
    /// What checkpoint, tokenizer, template or device say.
    pub async fn load(
        gpu: &Gpu,
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Rc<Self>> {
        // The tokenizer first: what is wrong with it shows before gigabytes are loaded.
        let tokenizer = Tokenizer::new(&checkpoint.tokenizer, checkpoint.config.vocab_size)?;
        let template = checkpoint
            .chat_template
            .as_ref()
            .map(|source| ChatTemplate::new(source, tokenizer.bos_text(), tokenizer.eos_text()))
            .transpose()?
            .map(|template| template.with_tokens(&checkpoint.named_tokens));
        let model = Rc::new(Model::load(gpu, checkpoint, options, progress).await?);
        let (tokenizer, container) = (Arc::new(tokenizer), checkpoint.container);
        let (adapters, masks) = (RefCell::default(), Cell::new(None));
        Ok(Rc::new(Self { model, tokenizer, template, container, adapters, masks }))
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Lets conversations have at least so many tokens from now on, those that there are as well:
    /// nothing is loaded or read again, and memory for keys and values is taken as it is needed.
    /// Gives the tokens that they may have.
    ///
    /// # Errors
    /// [`Error::Argument`] for more than [`Model::longest_context`]; [`Error::DoesNotFit`] where
    /// the model's budget, or what the device can have, has no room. Then nothing has changed.
    pub fn grow_context(&self, tokens: u32) -> Result<u32> {
        let longest = self.model.longest_context();
        if tokens > longest {
            return Err(Error::Argument {
                field: "contextLength".into(),
                expected: format!("at most {longest} tokens, what the model was made for and the device can hold"),
                found: tokens.to_string(),
            });
        }
        if tokens > self.model.context_length() {
            self.model.grow_context(tokens, self.adapter_bytes())?;
        }
        Ok(self.model.context_length())
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        self.model.config()
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The same for whoever goes to another thread with it, or makes grammars of its tokens.
    pub fn shared_tokenizer(&self) -> Arc<Tokenizer> {
        self.tokenizer.clone()
    }

    /// The chat template, where the checkpoint has one.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// What is wrong with the model's file without making it useless, each in a line for a person.
    pub fn warnings(&self) -> Vec<String> {
        self.template.iter().flat_map(|template| self.tokenizer.warnings(template.source())).collect()
    }

    /// The adapter's name.
    pub fn gpu_name(&self) -> &str {
        self.model.gpu().name()
    }
}
