"""Answers the sixty prompts with a GGUF file: `python answer.py MODEL.gguf ANSWERS.json`.

Each prompt of `prompts.jsonl` is answered four times: greedily, and with the seeds 1, 2 and 3 at temperature 0.4 and
top-p 0.95. The weights are dequantised by gguf-py and run by `FalconH1ForCausalLM` in f32, as in `tests/golden`, whose
code and requirements this uses. ANSWERS.json maps the prompt's id to four answers; an answer that did not end by
itself within 220 tokens ends in "[…]".
"""

import json
import pathlib
import sys

import torch

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[2] / "tests/golden"))
from container import read_gguf  # noqa: E402
from greedy import gguf_config, gguf_text, renderer  # noqa: E402
from make import hf_model  # noqa: E402

SEEDS = (1, 2, 3)
TEMPERATURE, TOP_P, MOST = 0.4, 0.95, 220
STOP = 4  # <|im_end|>


def load(path):
    """(model, tokenizer, function that renders messages)."""
    tokenizer, template, bos = gguf_text(path)
    return hf_model(gguf_config(path), read_gguf(path)), tokenizer, renderer(template, bos)


def draw(logits, generator):
    """One token of logits [V] at TEMPERATURE from the smallest set that has TOP_P of the probability."""
    probability, order = torch.softmax(logits / TEMPERATURE, -1).sort(descending=True)
    kept = probability.cumsum(-1) - probability < TOP_P
    return int(order[torch.multinomial(probability * kept, 1, generator=generator)])


@torch.no_grad()
def answers(model, ids):
    """Token ids of the four answers, the greedy one first, each up to and without the end mark; and which ended."""
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    rows = 1 + len(SEEDS)
    result = model(input_ids=torch.tensor([ids] * rows), use_cache=True)
    out, ended = [[] for _ in range(rows)], [False] * rows
    for _ in range(MOST):
        logits = result.logits[:, -1]
        tokens = [int(logits[0].argmax())] + [draw(row, g) for row, g in zip(logits[1:], generators)]
        for i, token in enumerate(tokens):
            ended[i] = ended[i] or token == STOP
            if not ended[i]:
                out[i].append(token)
        if all(ended):
            break
        result = model(input_ids=torch.tensor(tokens)[:, None], past_key_values=result.past_key_values, use_cache=True)
    return out, ended


def main(path, target):
    torch.set_num_threads(2)
    model, tokenizer, render = load(path)
    said = {}
    for line in (HERE / "prompts.jsonl").read_text().splitlines():
        prompt = json.loads(line)
        messages = [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(prompt["turns"])]
        ids = tokenizer.encode(render(messages), add_special_tokens=False).ids
        tokens, ended = answers(model, ids)
        said[prompt["id"]] = [tokenizer.decode(t).strip() + ("" if e else " […]") for t, e in zip(tokens, ended)]
    with open(target, "w", encoding="utf-8") as f:
        json.dump(said, f, indent=1, ensure_ascii=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
