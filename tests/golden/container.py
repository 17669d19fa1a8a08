"""Writes and reads the containers: GGUF through gguf-py, the HF folder by hand. Shares no code with the Rust readers."""

import json

import gguf
import numpy as np
from blocks import Type, encode

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SPECIALS = ["<|pad|>", "<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>"]
MERGES = [("h", "e"), ("l", "l"), ("ll", "o"), ("he", "llo"), ("Ġ", "w"), ("o", "r")]
# The pattern of GGUF's pre-tokenizer `falcon-h1` (Llama 3's), as a tokenizer.json says it.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GGUF_NAMES = {  # HF name inside a layer -> GGUF name inside a block
    "input_layernorm.weight": "attn_norm.weight",
    "pre_ff_layernorm.weight": "ffn_norm",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "mamba.in_proj.weight": "ssm_in.weight",
    "mamba.conv1d.weight": "ssm_conv1d.weight",
    "mamba.conv1d.bias": "ssm_conv1d.bias",
    "mamba.dt_bias": "ssm_dt.bias",
    "mamba.A_log": "ssm_a",
    "mamba.D": "ssm_d",
    "mamba.norm.weight": "ssm_norm.weight",
    "mamba.out_proj.weight": "ssm_out.weight",
    "feed_forward.gate_proj.weight": "ffn_gate.weight",
    "feed_forward.up_proj.weight": "ffn_up.weight",
    "feed_forward.down_proj.weight": "ffn_down.weight",
}
GLOBAL_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.final_layernorm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
KEEP_F32 = ("layernorm.weight", "conv1d.weight", "mamba.norm.weight")


def gguf_name(hf):
    if hf in GLOBAL_NAMES:
        return GLOBAL_NAMES[hf]
    _, _, i, rest = hf.split(".", 3)
    return f"blk.{i}.{GGUF_NAMES[rest]}"


def hf_name(stored):
    for hf, name in GLOBAL_NAMES.items():
        if name == stored:
            return hf
    _, i, rest = stored.split(".", 2)
    return f"model.layers.{i}.{ {v: k for k, v in GGUF_NAMES.items()}[rest] }"


def byte_characters():
    """GPT-2's map of the 256 bytes to printable characters, in byte order."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(others)) for b in range(256)]


def vocabulary():
    return SPECIALS + byte_characters() + ["".join(pair) for pair in MERGES]


def format_of(name, hf, shape, store):
    if len(shape) != 2 or hf.endswith(KEEP_F32):
        return "F32"
    short = name.removeprefix("blk.")
    return store.get(short) or store.get(short.split(".", 1)[-1]) or store.get(name) or store["*"]


def write_gguf(path, case, c, weights, store):
    """`weights`: baked, HF names. Returns what the file's bytes stand for: HF names -> f32, in HF's shapes."""
    out = gguf.GGUFWriter(path, "falcon-h1")
    out.add_name(f"golden {case}")
    out.add_file_type({"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 7, "Q4_K": 15, "BF16": 32}[store["*"]])
    out.add_quantization_version(2)
    out.add_context_length(c["max_position_embeddings"])
    out.add_embedding_length(c["hidden_size"])
    out.add_feed_forward_length(c["intermediate_size"])
    out.add_block_count(c["num_hidden_layers"])
    out.add_head_count(c["num_attention_heads"])
    out.add_head_count_kv(c["num_key_value_heads"])
    out.add_key_length(c["head_dim"])
    out.add_value_length(c["head_dim"])
    out.add_layer_norm_rms_eps(c["rms_norm_eps"])
    out.add_rope_freq_base(c["rope_theta"])
    out.add_vocab_size(c["vocab_size"])
    out.add_ssm_conv_kernel(c["mamba_d_conv"])
    out.add_ssm_inner_size(c["mamba_d_ssm"])
    out.add_ssm_state_size(c["mamba_d_state"])
    out.add_ssm_time_step_rank(c["mamba_n_heads"])
    out.add_ssm_group_count(c["mamba_n_groups"])
    known, V = vocabulary(), c["vocab_size"]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("falcon-h1")
    out.add_token_list(known + [f"[PAD{i}]" for i in range(len(known), V)])
    out.add_token_types([3] * len(SPECIALS) + [1] * (len(known) - len(SPECIALS)) + [5] * (V - len(known)))
    out.add_token_merges([" ".join(pair) for pair in MERGES])
    out.add_bos_token_id(1)
    out.add_eos_token_id(4)
    out.add_pad_token_id(0)
    out.add_add_bos_token(True)
    out.add_chat_template(TEMPLATE)
    stored = {}
    for hf, value in weights.items():
        name = gguf_name(hf)
        raw, exact = encode(value, format_of(name, hf, value.shape, store)) if value.ndim == 2 else (value, value)
        stored[hf] = exact
        if hf.endswith("A_log"):
            raw = -np.exp(value)[:, None]  # dims 1, n
            stored[hf] = np.log(-raw[:, 0])
        elif hf.endswith("mamba.D"):
            raw = value[:, None]
        elif hf.endswith("mamba.norm.weight"):
            raw = value.reshape(c["mamba_n_groups"], -1)  # dims d/G, G
        elif hf.endswith("conv1d.weight"):
            raw = value[:, 0, :]  # dims K, channels
        kind = Type[format_of(name, hf, value.shape, store)]
        out.add_tensor(name, np.ascontiguousarray(raw), raw_dtype=kind)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return stored


def read_gguf(path):
    """HF names -> f32 arrays in HF's shapes, dequantised by gguf-py; A_log = ln(-ssm_a)."""
    weights = {}
    for t in gguf.GGUFReader(path).tensors:
        dims = [int(x) for x in reversed(t.shape)]
        value = gguf.quants.dequantize(t.data, t.tensor_type).reshape(dims).astype(np.float32)
        hf = hf_name(t.name)
        if hf.endswith("A_log"):
            value = np.log(-value.reshape(-1))
        elif hf.endswith(("mamba.D", "mamba.norm.weight")):
            value = value.reshape(-1)
        elif hf.endswith("conv1d.weight"):
            value = value[:, None, :]
        weights[hf] = value
    return weights


def config_json(c):
    """config.json as published Falcon-H1 models have it (flat rope_theta)."""
    return {"architectures": ["FalconH1ForCausalLM"], "model_type": "falcon_h1"} | c | dict(
        rope_scaling=None, hidden_act="silu", attention_bias=False, mlp_bias=False, projectors_bias=False,
        mamba_conv_bias=True, mamba_proj_bias=False, mamba_norm_before_gate=False, mamba_expand=2, mamba_chunk_size=16,
        time_step_min=0.001, time_step_max=0.1, time_step_floor=0.0001, initializer_range=0.02, num_logits_to_keep=1,
        use_cache=True, bos_token_id=1, eos_token_id=4, pad_token_id=0, torch_dtype="bfloat16",
    )


def write_folder(folder, c, weights):
    """HF folder with bf16 weights as they are (multipliers stay in config.json). Returns the bf16 values as f32."""
    import torch
    from safetensors.torch import save_file
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    folder.mkdir(exist_ok=True)
    bf16 = {name: torch.tensor(value).to(torch.bfloat16) for name, value in weights.items()}
    save_file(bf16, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    dump = lambda name, value: (folder / name).write_text(json.dumps(value, indent=2) + "\n")
    dump("config.json", config_json(c))
    dump("generation_config.json", {"bos_token_id": 1, "eos_token_id": [2, 4], "pad_token_id": 0, "do_sample": True})
    dump("tokenizer_config.json", {
        "bos_token": "<|begin_of_text|>", "eos_token": "<|im_end|>", "pad_token": "<|pad|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    })
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(vocabulary())}, MERGES, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIALS])
    tokenizer.save(str(folder / "tokenizer.json"))
    return {name: value.float().numpy() for name, value in bf16.items()}
