"""Loss on held-out conversations: `python loss.py [--own] MODEL.gguf ...`.

Two sets: `../corpus/teacher-val.jsonl` (answers of the teacher that neither model was trained on) and `heldout.jsonl`
(conversations of the grammars that `mix.py` kept out of the training of the new model; the first model was trained on
older grammars, so this set favours the new one). Prints nats per character of the assistant's turns with their end
mark, which does not depend on the tokenizer, and the perplexity per token, which does. With `--own` the model is that
of `../train/model.py` instead of transformers': the same numbers in a fifth of the time, for files of that shape only.
"""

import json
import math
import sys

import torch
from answer import HERE, gguf_text, load, read_gguf

sys.path.insert(0, str(HERE.parent / "train"))
SETS = {"teacher": HERE.parent / "corpus/teacher-val.jsonl", "grammars": HERE / "heldout.jsonl"}


def theirs(path):
    """Function that gives the logits [n,V] of ids [B,T] at the places that `where` [B,T] marks, by transformers."""
    model = load(path)[0]
    return lambda ids, where: model(input_ids=ids, use_cache=False).logits[where]


def own(path):
    """The same by `../train/model.py`. A GGUF file has the multipliers in its weights, so that all are 1 here."""
    import export
    import model

    c = {k: [1.0] * len(v) if k.endswith("multipliers") else 1.0 if k.endswith("multiplier") else v for k, v in model.CONFIG.items()}
    p = export.stacked(c, {name: torch.from_numpy(value.copy()) for name, value in read_gguf(path).items()})

    def logits(ids, where):
        x = model.forward(c, p, torch.nn.functional.pad(ids, (0, -ids.shape[1] % c["mamba_chunk_size"])), torch.float32)
        return model.logits(c, x[:, : ids.shape[1]][where][None], p["final_layernorm"], p["lm_head"])[0]

    return logits


@torch.no_grad()
def loss(logits, tokenizer, conversations, batch=16):
    """(nats per character, perplexity per token) of the assistant's turns; each conversation alone, at most 600 tokens."""
    rows, characters = [], 0
    for turns in conversations:
        ids, weight = [1], [0]
        for i, turn in enumerate(turns):
            head = tokenizer.encode(f"<|im_start|>{('user', 'assistant')[i % 2]}\n", add_special_tokens=False).ids
            body = tokenizer.encode(turn + "<|im_end|>", add_special_tokens=False).ids
            end = tokenizer.encode("\n", add_special_tokens=False).ids
            ids += head + body + end
            weight += [0] * len(head) + [i % 2] * len(body) + [0] * len(end)
            characters += len(turn) * (i % 2)
        assert len(ids) <= 600, "a conversation is too long"
        rows.append((ids, weight))
    rows.sort(key=lambda row: len(row[0]))
    total, count = 0.0, 0
    for at in range(0, len(rows), batch):
        part = rows[at : at + batch]
        width = max(len(ids) for ids, _ in part)
        ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in part])
        said = torch.tensor([w + [0] * (width - len(w)) for _, w in part]).bool()
        before = torch.nn.functional.pad(said[:, 1:], (0, 1))  # where the tokens that count are foretold
        nats = torch.nn.functional.cross_entropy(logits(ids, before), ids[said], reduction="sum")
        total, count = total + float(nats), count + int(said.sum())
    return total / characters, math.exp(total / count)


if __name__ == "__main__":
    torch.set_num_threads(2)
    fast = sys.argv[1] == "--own"
    for path in sys.argv[1 + fast :]:
        logits, tokenizer = (own if fast else theirs)(path), gguf_text(path)[0]
        for name, file in SETS.items():
            lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
            per_character, perplexity = loss(logits, tokenizer, lines)
            print(f"{path}, {name}: {per_character:.4f} nats a character, perplexity {perplexity:.3f} a token, {len(lines)} conversations", flush=True)
