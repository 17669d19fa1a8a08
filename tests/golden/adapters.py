"""Makes the golden adapters: small random LoRA adapters, and what transformers with PEFT computes with them.

    python adapters.py             # makes adapters/ and adapters.safetensors
    python adapters.py --verify    # computes the logits again from the committed adapters, and compares

The bases are those of make.py. A GGUF base has its multipliers in its weights: PEFT runs on the same model with them taken out again,
which agrees with the GGUF's logits (checked). See README.md for the cases.
"""

import argparse
import json
import pathlib
import sys

import gguf
import numpy as np
import torch
import transformers
from cases import CASES, bake
from container import config_json, gguf_name, read_gguf
from make import difference, hf_model
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.numpy import load_file, save_file

HERE = pathlib.Path(__file__).parent
OUT = HERE / "adapters"
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
ROWS = 16  # logits after the last so many tokens are kept
MLP = ["gate_proj", "up_proj", "down_proj"]

# name: base, type of its tensors, description.
ADAPTERS = {
    "plain": ("hf-folder", torch.float32, dict(r=4, lora_alpha=8, target_modules=ATTENTION + MLP)),
    "patterns": ("hf-folder", torch.bfloat16, dict(
        r=3, lora_alpha=6, use_rslora=True, target_modules=r".*\.(q_proj|in_proj|up_proj|down_proj)",
        rank_pattern={"q_proj": 5, r"layers\.1\.mamba\.in_proj": 2}, alpha_pattern={"down_proj": 1.5, "layers.0.mamba.in_proj": 9},
    )),
    "layers": ("hf-folder", torch.float16, dict(r=1, lora_alpha=1, target_modules=["in_proj", "down_proj"], layers_to_transform=[1])),
    "baked": ("norm2", torch.float16, dict(r=6, lora_alpha=9, target_modules=ATTENTION + ["in_proj"] + MLP)),
    "tied": ("tied", torch.float16, dict(r=2, lora_alpha=2, target_modules=["q_proj", "k_proj", "in_proj", "up_proj", "down_proj"])),
}


def factors(c, weights):
    """What baking multiplies each weight by."""
    return bake(c, {name: np.ones_like(value) for name, value in weights.items()})[1]


def base_model(name):
    """transformers' model with the multipliers outside of its weights, and what its logits are multiplied by."""
    c = CASES[name]["config"]
    if name == "hf-folder":
        model = transformers.FalconH1ForCausalLM.from_pretrained(HERE / name, dtype=torch.float32, attn_implementation="eager")
        return model.eval(), 1.0
    weights = read_gguf(HERE / f"{name}.gguf")
    by = factors(c, weights)
    model = hf_model(c, {key: (value / by[key]).astype(np.float32) for key, value in weights.items()})
    return model, c["embedding_multiplier"] / c["lm_head_multiplier"] if c["tie_word_embeddings"] else 1.0


@torch.no_grad()
def logits(model, base, factor):
    ids = load_file(HERE / f"{base}.safetensors")["ids"]
    return model(input_ids=torch.tensor(ids, dtype=torch.long)[None]).logits[0].numpy() * np.float32(factor)


def make(name):
    """Writes the adapter's folder."""
    base, kind, description = ADAPTERS[name]
    model, _ = base_model(base)
    torch.manual_seed(len(name))
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **description))
    for path, module in model.named_modules():
        if hasattr(module, "lora_A") and "default" in module.lora_A:
            a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
            a.data = torch.randn_like(a) / a.shape[1] ** 0.5
            # As strong as the weight beside it, whatever its multiplier.
            strength = 0.3 * module.base_layer.weight.std() * a.shape[1] ** 0.5
            b.data = torch.randn_like(b) * strength / module.scaling["default"] / a.shape[0] ** 0.5
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(kind)
    model.peft_config["default"].base_model_name_or_path = base
    model.save_pretrained(OUT / name)
    (OUT / name / "README.md").unlink()
    (OUT / name / "adapter_model.safetensors").chmod(0o644)
    if base != "hf-folder":
        (OUT / name / "config.json").write_text(json.dumps(config_json(CASES[base]["config"]), indent=2) + "\n")


def pairs(name):
    """Of a saved adapter: HF's names of the weights -> A, B in f32."""
    tensors = PeftTensors(OUT / name / "adapter_model.safetensors")
    halves = lambda weight: [tensors[f"base_model.model.{weight.removesuffix('.weight')}.lora_{half}.weight"] for half in "AB"]
    weights = {key.removeprefix("base_model.model.").replace(".lora_A.weight", ".weight") for key in tensors if ".lora_A." in key}
    return {weight: halves(weight) for weight in sorted(weights)}


def PeftTensors(path):
    from safetensors.torch import load_file

    return {key: value.float().numpy() for key, value in load_file(path).items()}


def write_gguf_adapter(path, c, alpha, matrices):
    """As llama.cpp's converter does, which multiplies muP's multipliers into B as into the weights."""
    out = gguf.GGUFWriter(path, "falcon-h1")
    out.add_type("adapter")
    out.add_string("adapter.type", "lora")
    out.add_float32("adapter.lora.alpha", alpha)
    out.add_string("general.name", path.stem)
    for weight, (a, b) in matrices.items():
        by = factors(c, {weight: b})[weight]
        out.add_tensor(gguf_name(weight) + ".lora_a", np.ascontiguousarray(a, np.float32))
        out.add_tensor(gguf_name(weight) + ".lora_b", np.ascontiguousarray(b * by, np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    path.chmod(0o644)


def out_proj(c):
    """PEFT refuses out_proj of this architecture; GGUF adapters may have it."""
    rng = np.random.default_rng(7)
    D, d, r = c["hidden_size"], c["mamba_d_ssm"], 6
    draw = lambda rows, cols, gain: (rng.standard_normal((rows, cols)) * gain).astype(np.float32)
    name = lambda i: f"model.layers.{i}.mamba.out_proj.weight"
    gain = 0.2 / c["ssm_out_multiplier"]
    return {name(i): (draw(r, d, d**-0.5), draw(D, r, gain)) for i in range(c["num_hidden_layers"])}


def compute():
    expected, strength = {}, {}

    def put(case, values, base_values):
        strength[case] = difference(values, base_values)
        assert 0.3 < strength[case] < 30, f"{case}: {strength[case]}"
        expected[case] = values[-ROWS:]

    for name, (base, *_) in ADAPTERS.items():
        model, factor = base_model(base)
        plain = logits(model, base, factor)
        golden = load_file(HERE / f"{base}.safetensors")["logits"]
        assert difference(plain, golden) < 1e-4, f"{base}: {difference(plain, golden)}"
        model = PeftModel.from_pretrained(model, OUT / name).float().eval()
        put(name, logits(model, base, factor), plain)
    # Two at once, the second at half its strength.
    model, factor = base_model("hf-folder")
    plain = logits(model, "hf-folder", factor)
    model = PeftModel.from_pretrained(model, OUT / "plain", adapter_name="plain")
    model.load_adapter(OUT / "patterns", adapter_name="patterns")
    model = model.float().eval()
    model.base_model.set_adapter(["plain", "patterns"])
    for module in model.modules():
        if isinstance(scaling := getattr(module, "scaling", None), dict) and "patterns" in scaling:
            scaling["patterns"] *= 0.5
    put("two", logits(model, "hf-folder", factor), plain)
    # A GGUF adapter with out_proj: B A added to the weights.
    c = CASES["norm2"]["config"]
    model, factor = base_model("norm2")
    plain = logits(model, "norm2", factor)
    state = model.state_dict()
    for weight, (a, b) in {**pairs("baked"), **out_proj(c)}.items():
        state[weight] += torch.tensor(b) @ torch.tensor(a) * (9 / 6)
    put("baked-gguf", logits(model, "norm2", factor), plain)
    print(json.dumps({case: round(value, 3) for case, value in strength.items()}))
    return expected


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verify", action="store_true", help="compare with the committed files, change nothing")
    if parser.parse_args().verify:
        old = load_file(HERE / "adapters.safetensors")
        new = compute()
        assert new.keys() == old.keys() and all(difference(new[case], old[case]) < 5e-5 for case in new)
        return
    OUT.mkdir(exist_ok=True)
    for name in ADAPTERS:
        make(name)
    write_gguf_adapter(OUT / "plain.gguf", CASES["hf-folder"]["config"], 8.0, pairs("plain"))
    c = CASES["norm2"]["config"]
    write_gguf_adapter(OUT / "baked.gguf", c, 9.0, {**pairs("baked"), **out_proj(c)})
    save_file({case: np.ascontiguousarray(value) for case, value in compute().items()}, HERE / "adapters.safetensors")
    (HERE / "adapters.safetensors").chmod(0o644)


if __name__ == "__main__":
    sys.exit(main())
