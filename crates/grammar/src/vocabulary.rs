//! A model's vocabulary as llguidance wants it: a trie of the bytes of all tokens, and the
//! tokenizer itself for what is forced.

use std::sync::Arc;

use llguidance::toktrie::{INVALID_TOKEN, TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use peregrine::tokenizer::Tokenizer;

/// What grammars need of a tokenizer.
pub trait Words: Send + Sync {
    /// V: ids run from 0 to V - 1.
    fn vocab_size(&self) -> u32;
    /// The ids that end an answer.
    fn end_tokens(&self) -> &[u32];
    /// The bytes of a token, or the name of a control token; none for an id that has no token.
    fn bytes(&self, id: u32) -> Vec<u8>;
    /// Whether it is a control token.
    fn is_control(&self, id: u32) -> bool;
    /// The tokens of a text, none of them a control token, as the model learned to write it; `None`
    /// where that fails.
    fn encode(&self, text: &str) -> Option<Vec<u32>>;
}

impl Words for Arc<Tokenizer> {
    fn vocab_size(&self) -> u32 {
        self.as_ref().vocab_size()
    }

    fn end_tokens(&self) -> &[u32] {
        self.as_ref().end_tokens()
    }

    fn bytes(&self, id: u32) -> Vec<u8> {
        self.special_text(id).map(|name| name.as_bytes().to_vec()).or_else(|| self.token_bytes(id)).unwrap_or_default()
    }

    fn is_control(&self, id: u32) -> bool {
        self.is_special(id)
    }

    fn encode(&self, text: &str) -> Option<Vec<u32>> {
        self.encode_plain(text).ok()
    }
}

pub struct Vocabulary {
    words: Arc<dyn Words>,
    trie: TokTrie,
}

impl Vocabulary {
    /// Takes about a second for 100,000 tokens.
    pub fn new(words: Arc<dyn Words>) -> Self {
        let ends = words.end_tokens();
        let info = TokRxInfo::new(words.vocab_size(), ends.first().copied().unwrap_or(INVALID_TOKEN));
        let bytes: Vec<Vec<u8>> = (0..words.vocab_size()).map(|id| word(words.as_ref(), id)).collect();
        let trie = TokTrie::from(&info, &bytes);
        let trie = if ends.is_empty() { trie } else { trie.with_eos_tokens(ends) };
        Self { words, trie }
    }
}

/// The bytes of a token; none for one that has no text (rows of padding), so it never comes. A
/// control token is no text either: only its name in a grammar means it.
fn word(words: &dyn Words, id: u32) -> Vec<u8> {
    match words.is_control(id) {
        true => [&[TokTrie::SPECIAL_TOKEN_MARKER], &words.bytes(id)[..]].concat(),
        false => words.bytes(id),
    }
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    /// As the model learned to write it; what the tokenizer cannot encode, token by token from the
    /// left.
    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        self.trie.tokenize_with_greedy_fallback(bytes, |text| {
            self.words.encode(text).unwrap_or_else(|| self.trie.greedy_tokenize(text.as_bytes()))
        })
    }
}
