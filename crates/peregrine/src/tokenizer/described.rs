//! Words and added tokens as a `tokenizer.json` describes them, in whatever way the `tokenizers`
//! crate knows.

use serde_json::Value;
use tokenizers::models::bpe::BPE;
use tokenizers::{
    AddedToken, AddedVocabulary, NormalizerWrapper, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    PreTokenizerWrapper, Token,
};

use super::broken;
use super::parts::Cutting;
use crate::Result;

pub(super) struct Described {
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: Option<PreTokenizerWrapper>,
    /// Every token that is found in the text before BPE sees it.
    added: AddedVocabulary,
    /// The same without the control tokens.
    user_defined: AddedVocabulary,
}

impl Cutting {
    /// Which finds these tokens in a text, where that is its business.
    pub fn with(mut self, tokens: &[(u32, AddedToken)], bpe: &BPE) -> Result<Self> {
        if let Self::Described(described) = &mut self {
            described.add(tokens, bpe)?;
        }
        Ok(self)
    }
}

impl Described {
    /// Of these parts of the file.
    pub fn new(normalizer: Value, pre_tokenizer: Value) -> Result<Self> {
        Ok(Self {
            normalizer: component("normalizer", normalizer)?,
            pre_tokenizer: component("pre_tokenizer", pre_tokenizer)?,
            added: AddedVocabulary::new(),
            user_defined: AddedVocabulary::new(),
        })
    }

    fn add(&mut self, tokens: &[(u32, AddedToken)], bpe: &BPE) -> Result<()> {
        for (vocabulary, all) in [(&mut self.added, true), (&mut self.user_defined, false)] {
            let tokens = tokens.iter().map(|(_, token)| token).filter(|token| all || !token.special).cloned();
            let added = vocabulary.add_tokens(tokens, bpe, self.normalizer.as_ref());
            added.map_err(|e| broken(format!("added tokens: {e}")))?;
        }
        Ok(())
    }

    /// Token ids of a text; `tokenize` makes them of a word in the byte alphabet.
    pub fn ids(
        &self,
        text: &str,
        control: bool,
        tokenize: &dyn Fn(&str) -> tokenizers::Result<Vec<Token>>,
    ) -> tokenizers::Result<Vec<u32>> {
        let added = if control { &self.added } else { &self.user_defined };
        let mut pieces: PreTokenizedString = added.extract_and_normalize(self.normalizer.as_ref(), text);
        if let Some(pre) = &self.pre_tokenizer {
            pre.pre_tokenize(&mut pieces)?;
        }
        pieces.tokenize(|piece| tokenize(piece.get()))?;
        let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::None);
        Ok(splits.iter().flat_map(|(_, _, tokens)| tokens.iter().flatten().map(|token| token.id)).collect())
    }
}

/// A part of the file that the crate reads itself.
fn component<T: serde::de::DeserializeOwned>(field: &str, json: Value) -> Result<Option<T>> {
    serde_json::from_value(json).map_err(|e| broken(format!("tokenizer.json: {field}: {e}")))
}
