//! Every way in which a GGUF header can lie, one row each: what is changed, the error's code, and
//! the words that its message must have.

use super::allocation::peak;
use super::file::{File, array, refusal};
use super::lies_fields::FIELDS;

pub type Change = fn(&mut File);
pub type Lie = (&'static str, Change, &'static str, &'static [&'static str]);

pub const KEY: &str = "falcon-h1.embedding_length";

const HEADER: &[Lie] = &[
    ("other magic", |f| f.magic = *b"GGML", "not-gguf", &["GGML"]),
    ("version 1", |f| f.version = 1, "unsupported", &["version", "1"]),
    ("version 4", |f| f.version = 4, "unsupported", &["version", "4"]),
    ("big-endian", |f| f.version = 3 << 24, "unsupported", &["version", "big-endian"]),
    ("too many tensors", |f| f.tensor_count = Some(1 << 40), "truncated", &["tensor table"]),
    ("2^64 - 1 tensors", |f| f.tensor_count = Some(u64::MAX), "truncated", &["tensor table"]),
    ("too many fields", |f| f.field_count = Some(1 << 40), "truncated", &["metadata"]),
    ("2^64 - 1 fields", |f| f.field_count = Some(u64::MAX), "truncated", &["metadata"]),
    ("fewer fields than there are", |f| f.field_count = Some(3), "malformed", &["tensor"]),
    ("a field of unknown type", |f| f.set(KEY, 13, vec![0; 4]), "malformed", &[KEY, "13"]),
    ("a bool of 2", |f| f.set(KEY, 7, vec![2]), "malformed", &[KEY, "bool"]),
    ("a string as long as nothing", |f| f.set(KEY, 8, u64::MAX.to_le_bytes().to_vec()), "truncated", &[KEY]),
    ("a string past the end", |f| f.set(KEY, 8, (1u64 << 33).to_le_bytes().to_vec()), "truncated", &[KEY]),
    (
        "a string that is not UTF-8",
        |f| f.set(KEY, 8, vec![1, 0, 0, 0, 0, 0, 0, 0, 0xff]),
        "malformed",
        &[KEY, "UTF-8", "0xff"],
    ),
    ("an array past the end", |f| f.set(KEY, 9, array(4, 1 << 40, &[])), "truncated", &[KEY]),
    ("an array of 2^64 - 1 strings", |f| f.set(KEY, 9, array(8, u64::MAX, &[])), "truncated", &[KEY]),
    ("an array of arrays", |f| f.set(KEY, 9, array(9, 1, &array(4, 0, &[]))), "malformed", &[KEY, "array of arrays"]),
    ("an array of unknown type", |f| f.set(KEY, 9, array(77, 1, &[0; 8])), "malformed", &[KEY, "77"]),
    ("integers that are too large", |f| f.set(KEY, 9, array(10, 1, &[255; 8])), "malformed", &[KEY]),
    ("a field twice", |f| f.fields.push((KEY.into(), 4, vec![0; 4])), "malformed", &[KEY, "two"]),
    ("a key without end", |f| f.fields[1].0 = "k".repeat(70_000), "malformed", &["key", "65535", "70000"]),
    ("alignment 0", |f| f.set_u32("general.alignment", 0), "malformed", &["general.alignment"]),
    ("alignment 24", |f| f.set_u32("general.alignment", 24), "malformed", &["general.alignment", "24"]),
    (
        "a part of a split model",
        |f| f.set("split.count", 2, vec![3, 0]),
        "unsupported",
        &["split.count", "part 1 of 3"],
    ),
];

const Q: &str = "blk.0.attn_q.weight";

const TENSORS: &[Lie] = &[
    ("an unknown block type", |f| f.tensor(Q).ty = 99, "unsupported", &[Q, "99"]),
    ("a block type that is known but not ours", |f| f.tensor(Q).ty = 16, "unsupported", &[Q, "IQ2_XXS", "16", "Q4_K"]),
    ("no dimensions", |f| f.tensor(Q).dims.clear(), "malformed", &[Q, "dimensions"]),
    ("five dimensions", |f| f.tensor(Q).dims = vec![1; 5], "malformed", &[Q, "dimensions", "5"]),
    (
        "2^32 - 1 dimensions",
        |f| {
            let at = f.tensors.len() - 1;
            f.tensors[at].dims = vec![1; 300];
        },
        "malformed",
        &["dimensions", "300"],
    ),
    ("a dimension of 0", |f| f.tensor(Q).dims[1] = 0, "malformed", &[Q, "0"]),
    ("dimensions whose product overflows", |f| f.tensor(Q).dims = vec![1 << 33, 1 << 33], "malformed", &[Q, "2^64"]),
    ("bytes that overflow", |f| f.tensor(Q).dims = vec![1 << 31, 1 << 32], "malformed", &[Q, "2^64"]),
    (
        "rows that are not whole blocks",
        |f| {
            f.tensor(Q).ty = 2;
            f.tensor(Q).dims = vec![33, 32];
        },
        "malformed",
        &[Q, "Q4_0", "33"],
    ),
    ("an offset that is not aligned", |f| f.tensor(Q).offset += 4, "malformed", &[Q, "multiple of 32"]),
    ("an offset past the end", |f| f.tensor(Q).offset = 1 << 40, "truncated", &[Q]),
    ("an offset that overflows", |f| f.tensor(Q).offset = u64::MAX - 31, "truncated", &[Q]),
    ("two tensors in one place", |f| f.tensor(Q).offset = 0, "malformed", &["overlap", "token_embd.weight"]),
    (
        "a tensor twice",
        |f| f.tensor(Q).name = "blk.0.attn_k.weight".into(),
        "malformed",
        &["blk.0.attn_k.weight", "two"],
    ),
    ("a tensor that is missing", |f| f.tensors.retain(|t| t.name != Q), "missing-tensor", &[Q]),
    ("no embedding", |f| f.tensors.retain(|t| t.name != "token_embd.weight"), "missing-tensor", &["token_embd.weight"]),
    ("a wrong shape", |f| f.tensor(Q).dims = vec![32, 16], "tensor-shape", &[Q, "[32, 32]", "[16, 32]"]),
    (
        "a shape the wrong way round",
        |f| f.tensor("blk.0.ffn_up.weight").dims = vec![48, 32],
        "tensor-shape",
        &["ffn_up"],
    ),
    ("an attention bias", |f| f.add("blk.0.attn_q.bias", &[32]), "unsupported", &["blk.0.attn_q.bias"]),
    ("a layer too many", |f| f.add("blk.1.attn_norm.weight", &[32]), "unsupported", &["blk.1.attn_norm.weight"]),
];

/// Those among them that a fuzzer begins with.
pub const SEEDS: &[Change] = &[
    |f| f.tensor_count = Some(u64::MAX),
    |f| f.set(KEY, 8, u64::MAX.to_le_bytes().to_vec()),
    |f| f.set(KEY, 9, array(8, u64::MAX, &[])),
    |f| f.set_u32("general.alignment", 24),
    |f| f.tensor(Q).dims = vec![1 << 33, 1 << 33],
    |f| f.tensor(Q).offset = u64::MAX - 31,
    |f| f.set_u32("falcon-h1.block_count", 1 << 30),
];

#[test]
fn every_lie_is_named() {
    for (what, change, code, words) in HEADER.iter().chain(TENSORS).chain(FIELDS) {
        let mut file = File::new();
        change(&mut file);
        let bytes = file.bytes();
        let length = bytes.len();
        let (error, held) = peak(|| refusal(bytes, what));
        let message = error.to_string();
        assert_eq!(error.code(), *code, "{what}: {message}");
        assert!(message.starts_with("toy.gguf: "), "{what}: {message}");
        for word in *words {
            assert!(message.contains(word), "{what}: {word:?} is not in: {message}");
        }
        assert!(held < 16 * length, "{what}: {held} bytes held for a file of {length}");
    }
}

#[test]
fn an_empty_file_is_no_gguf() {
    assert_eq!(refusal(Vec::new(), "nothing").code(), "not-gguf");
    assert_eq!(refusal(b"GG".to_vec(), "two bytes").code(), "not-gguf");
}
