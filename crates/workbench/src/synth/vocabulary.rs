//! A tokenizer for random models: it can encode and decode any text, and knows the tokens of
//! ChatML.

use peregrine::checkpoint::TokenizerData;
use peregrine::tokenizer::byte_to_char;

/// ChatML, with the beginning of text in front of the first message.
pub(super) const CHAT_TEMPLATE: &str = concat!(
    r"{{ bos_token }}",
    r"{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}",
    r"{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
);

/// Tokens with a meaning instead of a text; their ids are their places.
const CONTROL: [&str; 5] = ["<|pad|>", "<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>"];

/// Enough that merging has something to do; every result is a token, in this order.
const MERGES: &[&str] = &[
    "Ġ t", "h e", "Ġt he", "i n", "a n", "an d", "Ġ and", "e r", "o n", "r e", "Ġ a", "o u", "in g", "Ġ o", "Ġo f",
    "l l", "i s", "Ġ is", "a t", "e s",
];

/// Tokens of the smallest vocabulary.
pub(super) fn least() -> u32 {
    (CONTROL.len() + 256 + MERGES.len()) as u32
}

/// Control tokens, the 256 bytes, the results of the merges; then unused tokens up to `vocab_size`,
/// named as the field's converter names them.
pub(super) fn tokenizer(vocab_size: u32) -> TokenizerData {
    let mut tokens: Vec<String> = CONTROL.map(String::from).into();
    let mut token_types = vec![3; tokens.len()];
    tokens.extend((0..=255).map(|byte| byte_to_char(byte).to_string()));
    tokens.extend(MERGES.iter().map(|merge| merge.replace(' ', "")));
    token_types.resize(tokens.len(), 1);
    tokens.extend((tokens.len()..vocab_size as usize).map(|id| format!("[PAD{id}]")));
    token_types.resize(tokens.len(), 5);
    TokenizerData::Gguf {
        pre: "falcon-h1".into(),
        tokens,
        token_types,
        merges: MERGES.iter().copied().map(String::from).collect(),
        bos: Some(1),
        eos: vec![2, 4],
        pad: Some(0),
        add_bos: true,
    }
}
