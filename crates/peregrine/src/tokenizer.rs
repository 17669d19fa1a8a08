//! Text to token ids and back: byte-level BPE, from GGUF metadata or from `tokenizer.json`.
//!
//! The merging is done by the `tokenizers` crate (the one behind Hugging Face's), so ids are equal
//! to those of `AutoTokenizer`. What is ours is around it: both containers are brought to the same
//! `Parts`, everything in them is checked before the crate sees it (it panics on some broken
//! vocabularies), and text can be encoded with control tokens switched off
//! ([`Tokenizer::encode_plain`]), so that a user who types `<|im_end|>` does not end his turn.

mod added;
#[cfg(not(target_arch = "wasm32"))]
mod described;
mod letters;
mod parts;
mod pattern;
mod words;

use tokenizers::models::bpe::BPE;
use tokenizers::{AddedToken, Model, Token};

use crate::checkpoint::TokenizerData;
use crate::{Error, Result};
use added::{Added, Piece};
#[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
pub(crate) use parts::byte_to_char;
use parts::{Cutting, Parts};

/// Tokens that end a turn whatever the file says about them, by name.
const END_TOKENS: [&str; 3] = ["<|im_end|>", "<|end_of_text|>", "<|endoftext|>"];

/// A byte-level BPE tokenizer. Building one for 261,120 tokens takes well under a second.
pub struct Tokenizer {
    bpe: BPE,
    /// How text becomes words.
    cutting: Cutting,
    /// Every token that is found in the text before BPE sees it.
    added: Added,
    /// The same without the control tokens.
    user_defined: Added,
    /// Bytes of all tokens, one after the other; token `i` is `bytes[ends[i - 1]..ends[i]]`.
    bytes: Vec<u8>,
    ends: Vec<u32>,
    /// Texts of the control tokens, sorted by id.
    special: Vec<(u32, String)>,
    /// Ids of all tokens that are found in the text before BPE, sorted.
    added_texts: Vec<u32>,
    /// Bytes that no token stands for; empty in every sane vocabulary.
    missing_bytes: Vec<u8>,
    bos: Option<(u32, String)>,
    eos: Option<(u32, String)>,
    pad: Option<u32>,
    /// Sorted.
    end: Vec<u32>,
    add_bos: bool,
    vocab_size: u32,
}

impl Tokenizer {
    /// Builds the tokenizer of a checkpoint whose embedding has `vocab_size` rows (V).
    ///
    /// # Errors
    /// [`Error::Tokenizer`] for a vocabulary that contradicts itself (two tokens with one id or one
    /// text, a merge of unknown tokens, more tokens than V, a special id outside);
    /// [`Error::Unsupported`] for another kind of tokenizer or an unknown pre-tokenizer, by name.
    pub fn new(data: &TokenizerData, vocab_size: u32) -> Result<Self> {
        let parts = Parts::from_data(data)?;
        let (bos, eos, pad, add_bos) = match data {
            TokenizerData::Json { bos, eos, pad, add_bos, .. } | TokenizerData::Gguf { bos, eos, pad, add_bos, .. } => {
                (*bos, eos.clone(), *pad, *add_bos)
            }
        };
        for id in bos.iter().chain(&eos).chain(&pad) {
            if *id >= vocab_size {
                return Err(broken(format!("special token id {id} is outside the vocabulary of {vocab_size} tokens")));
            }
        }
        parts.check(vocab_size)?;
        let (bytes, ends) = token_bytes(&parts, vocab_size)?;
        let text_of = |id: u32| parts.tokens.iter().find(|(i, _)| *i == id).map(|(i, text)| (*i, text.clone()));
        let first_eos = eos.first().copied().and_then(text_of);
        let bos = bos.and_then(text_of);

        let mut end = eos;
        let named = parts.tokens.iter().filter(|(_, text)| END_TOKENS.contains(&text.as_str())).map(|(id, _)| *id);
        end.extend(named);
        end.sort_unstable();
        end.dedup();

        let known = |b: &u8| parts.tokens.iter().any(|(_, text)| text.chars().eq([parts::byte_to_char(*b)]));
        let missing_bytes = if parts.has_all_bytes() { vec![] } else { (0..=255u8).filter(|b| !known(b)).collect() };

        let mut special: Vec<_> = parts
            .added
            .iter()
            .filter(|(_, token)| token.special)
            .map(|(id, token)| (*id, token.content.clone()))
            .collect();
        special.sort();
        let mut added_texts: Vec<u32> = parts.added.iter().map(|(id, _)| *id).collect();
        added_texts.sort_unstable();

        let mut bpe = BPE::new(parts.tokens.into_iter().map(|(id, text)| (text, id)).collect(), parts.merges);
        bpe.ignore_merges = parts.ignore_merges;
        let cutting = parts.cutting;
        #[cfg(not(target_arch = "wasm32"))]
        let cutting = cutting.with(&parts.added, &bpe)?;
        let plain: &[(u32, AddedToken)] = match &cutting {
            Cutting::Known(_) => &parts.added,
            // It finds them itself.
            #[cfg(not(target_arch = "wasm32"))]
            Cutting::Described(_) => &[],
        };
        Ok(Self {
            added: Added::new(plain.iter())?,
            user_defined: Added::new(plain.iter().filter(|(_, token)| !token.special))?,
            bpe,
            cutting,
            bytes,
            ends,
            special,
            added_texts,
            missing_bytes,
            bos,
            eos: first_eos,
            pad,
            end,
            add_bos,
            vocab_size,
        })
    }

    /// Token ids of `text`. The texts of control tokens in it become those tokens: use this for
    /// text that the program wrote, [`encode_plain`](Self::encode_plain) for text from outside.
    /// With `add_bos` the beginning-of-text token is put in front, unless the text begins with it
    /// already or the tokenizer has none.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] where the text needs a byte that the vocabulary lacks.
    pub fn encode(&self, text: &str, add_bos: bool) -> Result<Vec<u32>> {
        let mut ids = self.ids(text, true)?;
        if let (true, Some(bos)) = (add_bos, self.bos())
            && ids.first() != Some(&bos)
        {
            ids.insert(0, bos);
        }
        Ok(ids)
    }

    /// Token ids of `text`, none of them a control token: `<|im_end|>` in it is spelled out like
    /// any other text. User-defined tokens (such as code indentation) are still recognized, as they
    /// are ordinary text to the model.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>> {
        self.ids(text, false)
    }

    fn ids(&self, text: &str, control: bool) -> Result<Vec<u32>> {
        if let Some(byte) = self.missing_bytes.iter().find(|b| text.as_bytes().contains(b)) {
            return Err(broken(format!("the vocabulary has no token for byte 0x{byte:02x}, which the text contains")));
        }
        let failed = |e: tokenizers::Error| broken(format!("encoding failed: {e}"));
        let words = match &self.cutting {
            Cutting::Known(words) => *words,
            #[cfg(not(target_arch = "wasm32"))]
            Cutting::Described(described) => {
                return described.ids(text, control, &|word| self.tokenize(word, control)).map_err(failed);
            }
        };
        let (mut ids, mut failure, mut spelled) = (Vec::new(), None, String::new());
        let mut word = |ids: &mut Vec<u32>, word: &str| {
            spelled.clear();
            spelled.extend(word.bytes().map(byte_to_char));
            match self.tokenize(&spelled, control) {
                Ok(tokens) => ids.extend(tokens.iter().map(|token| token.id)),
                Err(error) => failure = Some(error),
            }
        };
        let added = if control { &self.added } else { &self.user_defined };
        added.each(text, &mut |piece| match piece {
            Piece::Token(id) => ids.push(id),
            Piece::Text(text) => words.each(text, &mut |text| word(&mut ids, text)),
        });
        failure.map_or(Ok(ids), |error| Err(failed(error)))
    }

    /// BPE of one pre-token. Plain text must not reach a control token through the vocabulary
    /// either (a control token whose name is a single word would be found there): such a piece is
    /// spelled byte by byte.
    fn tokenize(&self, piece: &str, control: bool) -> tokenizers::Result<Vec<Token>> {
        let tokens = self.bpe.tokenize(piece)?;
        if control || !tokens.iter().any(|token| self.is_special(token.id)) {
            return Ok(tokens);
        }
        let mut spelled = Vec::with_capacity(piece.len());
        for c in piece.chars() {
            spelled.extend(self.bpe.tokenize(c.encode_utf8(&mut [0; 4]))?);
        }
        spelled.retain(|token| !self.is_special(token.id));
        Ok(spelled)
    }

    /// Text of token ids; bytes that are not UTF-8 become U+FFFD. With `skip_special` control
    /// tokens have no text.
    ///
    /// # Errors
    /// [`Error::TokenOutOfRange`].
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        let mut bytes = Vec::new();
        for &id in ids {
            if id >= self.vocab_size {
                return Err(Error::TokenOutOfRange { token: id, vocab_size: self.vocab_size });
            }
            if !(skip_special && self.is_special(id)) {
                bytes.extend_from_slice(self.bytes_of(id).unwrap_or_default());
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The bytes that a token stands for, which need not be whole characters; `None` for an id that
    /// has no token (embeddings are often padded with unused rows).
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        self.bytes_of(id).map(<[u8]>::to_vec)
    }

    pub(crate) fn bytes_of(&self, id: u32) -> Option<&[u8]> {
        let at = id as usize;
        let end = *self.ends.get(at)? as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        (end > start).then(|| &self.bytes[start..end])
    }

    /// Whether the id is a control token, which has a meaning instead of a text.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.binary_search_by_key(&id, |(id, _)| *id).is_ok()
    }

    /// The text of a control token; `None` for any other id.
    pub fn special_text(&self, id: u32) -> Option<&str> {
        let at = self.special.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.special.get(at).map(|(_, text)| text.as_str())
    }

    /// The control tokens: id and text, by ascending id.
    pub fn special_tokens(&self) -> impl Iterator<Item = (u32, &str)> {
        self.special.iter().map(|(id, text)| (*id, text.as_str()))
    }

    /// The texts that look like control tokens, that a chat template writes, and that are ordinary
    /// tokens here: a sentence for each that says what it costs.
    pub fn warnings(&self, template: &str) -> Vec<String> {
        let looks = |text: &str| text.len() > 2 && text.starts_with('<') && text.ends_with('>');
        let ids = 0..self.vocab_size;
        let plain = ids.filter(|id| !self.is_special(*id) && self.added_texts.binary_search(id).is_err());
        let texts = plain.filter_map(|id| Some((id, std::str::from_utf8(self.bytes_of(id)?).ok()?)));
        let written = texts.filter(|(_, text)| looks(text) && template.contains(text));
        let warning = |(id, text): (u32, &str)| {
            format!(
                "token {id}, {text:?}, is typed as ordinary text in this file, but the chat template writes it: it is spelled out in \
                 pieces that the model was not trained on, and answers may be poor; get or make a file that types it as a control token"
            )
        };
        written.map(warning).collect()
    }

    /// Id of the beginning-of-text token.
    pub fn bos(&self) -> Option<u32> {
        self.bos.as_ref().map(|(id, _)| *id)
    }

    /// Id of the padding token.
    pub fn pad(&self) -> Option<u32> {
        self.pad
    }

    /// Text of the beginning-of-text token, as chat templates want it; empty if there is none.
    pub fn bos_text(&self) -> &str {
        self.bos.as_ref().map_or("", |(_, text)| text)
    }

    /// Text of the first end token, as chat templates want it; empty if there is none.
    pub fn eos_text(&self) -> &str {
        self.eos.as_ref().map_or("", |(_, text)| text)
    }

    /// Whether raw prompts begin with the beginning-of-text token, according to the file.
    pub fn add_bos(&self) -> bool {
        self.add_bos
    }

    /// Whether generation stops at this token: every end token of the file, and the usual ones by
    /// name.
    pub fn is_end(&self, id: u32) -> bool {
        self.end.binary_search(&id).is_ok()
    }

    /// The ids that end an answer, ascending.
    pub fn end_tokens(&self) -> &[u32] {
        &self.end
    }

    /// V: ids run from 0 to V - 1. Not every one of them need have a token.
    pub fn vocab_size(&self) -> u32 {
        self.vocab_size
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (special, end) = (self.special.len(), &self.end);
        write!(f, "Tokenizer {{ vocab_size: {}, special: {special}, end: {end:?} }}", self.vocab_size)
    }
}

/// The bytes of all tokens in one buffer, and where each ends.
fn token_bytes(parts: &Parts, vocab_size: u32) -> Result<(Vec<u8>, Vec<u32>)> {
    let mut texts: Vec<Option<(&str, bool)>> = vec![None; vocab_size as usize];
    for (id, text) in &parts.tokens {
        texts[*id as usize] = Some((text, false));
    }
    for (id, token) in &parts.added {
        texts[*id as usize] = Some((&token.content, true));
    }
    let mut bytes = Vec::new();
    let mut ends = Vec::with_capacity(texts.len());
    let mut decoded = Vec::new();
    for text in texts {
        if let Some((text, raw)) = text {
            decoded.clear();
            decoded.extend(text.chars().map_while(parts::char_to_byte));
            // A token that is not written in the byte alphabet (a filler such as "[PAD 7]") stands
            // for itself.
            let mapped = !raw && decoded.len() == text.chars().count();
            bytes.extend_from_slice(if mapped { &decoded } else { text.as_bytes() });
        }
        ends.push(u32::try_from(bytes.len()).map_err(|_| broken("the tokens' texts exceed 4 GiB".into()))?);
    }
    Ok((bytes, ends))
}

fn broken(detail: String) -> Error {
    Error::Tokenizer { detail }
}
