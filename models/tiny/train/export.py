"""Joins what `train.py` wrote into a Hugging Face folder and checks it: `python export.py PARTS TOKENIZER FOLDER`.

The check loads the folder with `FalconH1ForCausalLM` in f32 and compares its logits on a text with those of `model.py`
on the same weights. Exit status 1 when they differ by more than 2e-3 anywhere, or when a weight that was changed on
purpose does not differ ten times as much: then the comparison is blind.
"""

import glob
import json
import os
import shutil
import sys

import torch
from safetensors.torch import load_file, save_file

import model

TOLERANCE = 2e-3
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEXT = ("<|begin_of_text|><|im_start|>user\nTell me a story about a fox and 12 plus 7.<|im_end|>\n<|im_start|>assistant\n"
        "Once upon a time, there was a fox. It liked to count apples, bells, and stars in the night sky.<|im_end|>\n")


def write_folder(parts, tokenizer, folder):
    """Writes weights, config, tokenizer, chat template and generation settings."""
    os.makedirs(folder, exist_ok=True)
    weights = {}
    for path in sorted(glob.glob(f"{parts}/part*.safetensors")):
        weights.update(load_file(path))
    save_file(weights, f"{folder}/model.safetensors", metadata={"format": "pt"})
    config = json.load(open(f"{parts}/train.json"))["config"]
    files = {
        "config.json": config,
        "generation_config.json": {"bos_token_id": 1, "eos_token_id": 4, "pad_token_id": 0, "_from_model_config": True},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin_of_text|>", "eos_token": "<|im_end|>",
            "pad_token": "<|pad|>", "model_max_length": 4096, "clean_up_tokenization_spaces": False,
        },
    }
    for name, value in files.items():
        with open(f"{folder}/{name}", "w") as f:
            json.dump(value, f, indent=1)
    with open(f"{folder}/chat_template.jinja", "w") as f:
        f.write(TEMPLATE)
    shutil.copyfile(tokenizer, f"{folder}/tokenizer.json")
    return config


def stacked(config, weights):
    """HF names back to the stacked weights of `model.py`: the inverse of `model.export`."""
    n, inner = config["mamba_d_state"], config["mamba_d_ssm"]
    rows = [inner, inner, 2 * n, config["mamba_n_heads"]]

    def each(name):
        return torch.stack([weights[f"model.layers.{i}.{name}"].float() for i in range(config["num_hidden_layers"])])

    p = {name: each(f"self_attn.{name}.weight") for name in ("q_proj", "k_proj", "v_proj", "o_proj")}
    p |= {name: each(f"feed_forward.{name}.weight") for name in ("gate_proj", "up_proj", "down_proj")}
    p |= {name: each(f"{name}.weight") for name in ("input_layernorm", "pre_ff_layernorm")}
    p |= {name: each(f"mamba.{name}") for name in ("dt_bias", "A_log", "D")}
    p |= dict(zip(("in_z", "in_x", "in_bc", "in_dt"), each("mamba.in_proj.weight").split(rows, 1)))
    p["conv_weight"], p["conv_bias"] = each("mamba.conv1d.weight")[:, :, 0], each("mamba.conv1d.bias")
    p["out_proj"] = each("mamba.out_proj.weight")
    p["embed_tokens"] = weights["model.embed_tokens.weight"].float()
    p["lm_head"] = weights["lm_head.weight"].float()
    p["final_layernorm"] = weights["model.final_layernorm.weight"].float()
    return p


def ours(config, p, ids):
    """Logits of `model.py` [T,V]; the row is filled up to whole chunks and cut again."""
    chunk = config["mamba_chunk_size"]
    padded = torch.nn.functional.pad(ids, (0, -ids.shape[1] % chunk))
    x = model.forward(config, p, padded, torch.float32)
    return model.logits(config, x, p["final_layernorm"], p["lm_head"])[0, : ids.shape[1]]


@torch.no_grad()
def check(folder, config):
    from transformers import AutoTokenizer, FalconH1ForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(TEXT, return_tensors="pt", add_special_tokens=False).input_ids
    theirs = FalconH1ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()(ids).logits[0]
    p = stacked(config, load_file(f"{folder}/model.safetensors"))
    worst = (ours(config, p, ids) - theirs).abs().max().item()
    p["A_log"] = p["A_log"] + 0.1
    changed = (ours(config, p, ids) - theirs).abs().max().item()
    print(f"largest difference of logits over {ids.shape[1]} tokens: {worst:.1e}; with A_log changed by 0.1: {changed:.1e}")
    if worst > TOLERANCE or changed < 10 * worst:
        sys.exit("the exported model and model.py do not agree, or the comparison is blind")


if __name__ == "__main__":
    check(sys.argv[3], write_folder(*sys.argv[1:]))
