"""Makes the golden files: small random Falcon-H1 checkpoints and what Hugging Face's model computes from them.

    python make.py [CASE ...]             # makes the files
    python make.py --verify [CASE ...]    # makes them again elsewhere and compares with the committed ones

See README.md for what is in each file. Every stored value was computed by transformers' FalconH1ForCausalLM in f32 on the
weights exactly as stored, and agrees with the independent f64 model of reference.py (checked on every run).
"""

import argparse
import json
import os
import pathlib
import tempfile

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
import numpy as np
import torch
import transformers
from cases import CASES, bake, plain, random_weights
from container import config_json, read_gguf, write_folder, write_gguf
from reference import forward
from safetensors.numpy import load_file, save_file

HERE = pathlib.Path(__file__).parent
GREEDY = 16
MIN_MARGIN = 0.05  # greedy continuations with a closer call are not kept: another seed is tried
torch.set_num_threads(1)


def hf_model(c, weights):
    """FalconH1ForCausalLM in f32 with these weights; every weight must be given and used."""
    fields = config_json(c)
    fields["rope_parameters"] = {"rope_type": "default", "rope_theta": fields.pop("rope_theta")}
    for name in ("torch_dtype", "rope_scaling"):
        fields.pop(name)
    config = transformers.FalconH1Config(**fields, attn_implementation="eager")
    model = transformers.FalconH1ForCausalLM(config).float().eval()
    state = {name: torch.tensor(value) for name, value in weights.items()}
    if c["tie_word_embeddings"]:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state, strict=True)
    check_rope(model, c)
    return model


def check_rope(model, c):
    hd = c["head_dim"]
    want = c["rope_theta"] ** (-np.arange(hd // 2) * 2 / hd)
    np.testing.assert_allclose(model.model.rotary_emb.inv_freq.numpy(), want, rtol=1e-5)


def exact_rope(model, c):
    """Replaces f32 angles by f64 ones, with theta rounded to f32 as a GGUF stores it. At positions like 262000 HF's own f32
    product position * frequency is off by up to 0.01 radian."""
    theta, hd = float(np.float32(c["rope_theta"])), c["head_dim"]
    inverse = torch.tensor(theta ** (-np.arange(hd // 2) * 2 / hd), dtype=torch.float64)

    def rotary(x, position_ids):
        angle = position_ids[..., None].double() * inverse
        angle = torch.cat((angle, angle), -1)
        return angle.cos().to(x.dtype), angle.sin().to(x.dtype)

    model.model.rotary_emb.forward = rotary


@torch.no_grad()
def run(model, ids, position=0):
    """One full-sequence pass: the same keys and shapes as reference.forward, f32."""
    hidden, hooks = [], []
    stack = model.model
    for layer in stack.layers:
        hooks.append(layer.register_forward_pre_hook(lambda _, args: hidden.append(args[0][0].clone())))
    hooks.append(stack.final_layernorm.register_forward_pre_hook(lambda _, args: hidden.append(args[0][0].clone())))
    hooks.append(stack.final_layernorm.register_forward_hook(lambda _, __, y: hidden.append(y[0].clone())))
    positions = torch.arange(position, position + len(ids))[None]
    result = model(input_ids=torch.tensor(ids, dtype=torch.long)[None], position_ids=positions, use_cache=True)
    for hook in hooks:
        hook.remove()
    kernel = model.config.mamba_d_conv
    out = {"logits": result.logits[0], "hidden": torch.stack(hidden)}
    for i, cache in enumerate(result.past_key_values.layers):
        assert cache.conv_states[0].shape[-1] == kernel  # HF keeps K columns, oldest first; K-1 are state
        out[f"conv_state.{i}"] = cache.conv_states[0][0, :, 1:]
        out[f"ssm_state.{i}"] = cache.recurrent_states[0][0]
        out[f"k.{i}"] = cache.keys[0].transpose(0, 1)  # [nkv, T, hd] -> [T, nkv, hd]
        out[f"v.{i}"] = cache.values[0].transpose(0, 1)
    return {name: value.contiguous().numpy().copy() for name, value in out.items()}


@torch.no_grad()
def greedy(model, ids, count, stop=()):
    """Greedy continuation by HF's cached decode (one token a step). Returns (ids, smallest top1 - top2 logit margin)."""
    result = model(input_ids=torch.tensor(ids, dtype=torch.long)[None], use_cache=True)
    answer, margin = [], float("inf")
    while True:
        top = result.logits[0, -1].topk(2)
        margin = min(margin, float(top.values[0] - top.values[1]))
        answer.append(int(top.indices[0]))
        if len(answer) == count or answer[-1] in stop:
            return answer, margin
        result = model(input_ids=torch.tensor([[answer[-1]]]), past_key_values=result.past_key_values, use_cache=True)


def difference(a, b):
    return float(np.abs(np.asarray(a, np.float64) - b).max())


def compute(name, spec, seed, folder):
    """Writes the case's checkpoint into `folder`; returns (expected tensors, report) or None when a greedy step is a near tie."""
    c, T = spec["config"], spec["T"]
    weights = random_weights(c, seed)
    assert all((value != 0).all() for value in weights.values()), "a zero weight hides mistakes"
    ids = np.random.default_rng(seed + 1000).integers(0, c["vocab_size"], T).astype(np.int32)
    unbaked = run(hf_model(c, weights), ids)
    _, baked = bake(c, weights)

    # Baking, checked before any rounding to the storage formats. Tied: token_embd carries embedding_multiplier, so the
    # logits come out embedding_multiplier / lm_head_multiplier too large; that is how the field's GGUFs behave.
    tied_factor = c["embedding_multiplier"] / c["lm_head_multiplier"] if c["tie_word_embeddings"] else 1.0
    baking = difference(run(hf_model(plain(c), baked), ids)["logits"], unbaked["logits"] * tied_factor)
    assert baking < 1e-4, f"{name}: baked and un-baked differ by {baking}"

    if spec.get("folder"):
        c_run, stored = c, write_folder(folder / name, c, weights)
        model = transformers.FalconH1ForCausalLM.from_pretrained(
            folder / name, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        check_rope(model, c)
    else:
        path = folder / f"{name}.gguf"
        c_run, written = plain(c), write_gguf(path, name, c, baked, spec["store"])
        stored = read_gguf(path)
        assert stored.keys() == written.keys() == weights.keys()
        for key in stored:
            assert stored[key].shape == weights[key].shape, key
            assert difference(stored[key], written[key]) == 0, key
        model = hf_model(c_run, stored)

    values = run(model, ids)
    second = forward(c_run, stored, ids)
    worst = {key: difference(value, second[key]) for key, value in values.items()}
    assert max(worst.values()) < 5e-5, f"{name}: transformers and the f64 model differ: {worst}"
    answer, margin = greedy(model, ids, GREEDY)
    if margin < MIN_MARGIN:
        return None
    # Without an explicit mask generate() takes every pad id (0) in the prompt for padding and hides it.
    prompt = torch.tensor(ids, dtype=torch.long)[None]
    model.generation_config.eos_token_id = None
    generated = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=GREEDY, do_sample=False)
    assert generated[0, T:].tolist() == answer, "generate() and the decode loop differ"
    # Teacher-forced full pass over prompt + answer gives the same tokens: decode = prefill.
    full = run(model, np.concatenate([ids, answer]))["logits"]
    assert full[T - 1 : -1].argmax(-1).tolist() == answer

    report = dict(
        logits_std=float(values["logits"].std()), greedy_margin=margin, baking=baking, hf_minus_f64=max(worst.values()),
        tied_factor=tied_factor, ssm_state_max=max(float(np.abs(v).max()) for k, v in values.items() if k.startswith("ssm")),
        hidden_std=float(values["hidden"][-2].std()), seed=seed,
    )
    expected = values | {"ids": ids, "greedy": np.array(answer, np.int32)}
    if spec.get("rows"):
        for i in range(c["num_hidden_layers"]):
            expected[f"ssm_rows.{i}"] = expected.pop(f"ssm_state.{i}")[:, :: c["mamba_d_head"] // 8]
    if offset := spec.get("offset"):
        rounded = run(model, ids, offset)["logits"]
        exact_rope(model, c)
        moved = run(model, ids, offset)
        truth = forward(c_run | {"rope_theta": float(np.float32(c["rope_theta"]))}, stored, ids, offset)
        assert difference(moved["logits"], truth["logits"]) < 5e-5 and difference(moved["k.0"], truth["k.0"]) < 5e-5
        expected |= {"position": np.array([offset], np.int32), "logits_pos": moved["logits"][-8:], "k_pos.0": moved["k.0"]}
        report |= dict(
            offset_effect=difference(moved["logits"], values["logits"]), hf_f32_angle_error=difference(rounded, moved["logits"])
        )
    assert 0.5 < report["logits_std"] < 4, report
    return expected, report


def compare(made, committed):
    """The checkpoint has to be the same bytes; computed values may differ by rounding (torch is not bit-reproducible)."""
    files = [made.with_suffix(".gguf")] if made.with_suffix(".gguf").exists() else made.with_suffix("").iterdir()
    names = [file.relative_to(made.parent) for file in files]
    for name in names:
        assert (made.parent / name).read_bytes() == (committed / name).read_bytes(), f"{name} differs"
    new, old = load_file(made), load_file(committed / made.name)
    assert new.keys() == old.keys(), made.name
    for key, value in new.items():
        assert value.dtype == old[key].dtype and value.shape == old[key].shape, f"{made.name}: {key}"
        assert difference(value, old[key]) < (5e-5 if value.dtype == np.float32 else 1), f"{made.name}: {key}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verify", action="store_true", help="compare with the committed files, change nothing")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch) if options.verify else HERE
        for number, (name, spec) in enumerate(CASES.items()):
            if options.cases and name not in options.cases:
                continue
            tries = (compute(name, spec, 100 * number + k, folder) for k in range(50))
            expected, report = next(result for result in tries if result)
            config = spec["config"] if spec.get("folder") else plain(spec["config"])
            path = folder / f"{name}.safetensors"
            report = {key: float(f"{value:.3g}") for key, value in report.items()}
            save_file(
                {key: np.ascontiguousarray(expected[key]) for key in sorted(expected)}, path,
                metadata={"config": json.dumps(config, sort_keys=True), "report": json.dumps(report, sort_keys=True)},
            )
            path.chmod(0o644)
            if options.verify:
                compare(path, HERE)
            print(name, path.stat().st_size, json.dumps(report))


if __name__ == "__main__":
    main()
