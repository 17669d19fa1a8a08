//! A model's vocabulary as llguidance wants it: a trie of the bytes of all tokens, and the tokenizer itself for what is forced.

use std::sync::Arc;

use llguidance::toktrie::{INVALID_TOKEN, TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use peregrine::tokenizer::Tokenizer;

pub struct Vocabulary {
    tokenizer: Arc<Tokenizer>,
    trie: TokTrie,
}

impl Vocabulary {
    /// Takes about a second for 100,000 tokens.
    pub fn new(tokenizer: Arc<Tokenizer>) -> Self {
        let ends = tokenizer.end_tokens();
        let info = TokRxInfo::new(tokenizer.vocab_size(), ends.first().copied().unwrap_or(INVALID_TOKEN));
        let words: Vec<Vec<u8>> = (0..tokenizer.vocab_size()).map(|id| word(&tokenizer, id)).collect();
        let trie = TokTrie::from(&info, &words);
        let trie = if ends.is_empty() { trie } else { trie.with_eos_tokens(ends) };
        Self { tokenizer, trie }
    }
}

/// The bytes of a token; none for one that has no text (rows of padding), so it never comes. A control token is no text either: only
/// its name in a grammar means it.
fn word(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    match tokenizer.special_text(id) {
        Some(name) => [&[TokTrie::SPECIAL_TOKEN_MARKER], name.as_bytes()].concat(),
        None => tokenizer.token_bytes(id).unwrap_or_default(),
    }
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    /// As the model learnt to write it; what the tokenizer cannot encode, token by token from the left.
    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        self.trie.tokenize_with_greedy_fallback(bytes, |text| match self.tokenizer.encode_plain(text) {
            Ok(ids) => ids,
            Err(_) => self.trie.greedy_tokenize(text.as_bytes()),
        })
    }
}
