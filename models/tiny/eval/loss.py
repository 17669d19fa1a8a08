"""Loss on held-out conversations: `python loss.py MODEL.gguf ...`.

Two sets: `../corpus/teacher-val.jsonl` (answers of the teacher that neither model was trained on) and `heldout.jsonl`
(conversations of the grammars that `mix.py` kept out of the training of the new model; the first model was trained on
older grammars, so this set favours the new one). Prints nats per character of the assistant's turns with their end
mark, which does not depend on the tokenizer, and the perplexity per token, which does.
"""

import json
import math
import sys

import torch
from answer import HERE, load

SETS = {"teacher": HERE.parent / "corpus/teacher-val.jsonl", "grammars": HERE / "heldout.jsonl"}


@torch.no_grad()
def loss(model, tokenizer, conversations, batch=16):
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
    total = count = 0.0
    for at in range(0, len(rows), batch):
        part = rows[at : at + batch]
        width = max(len(ids) for ids, _ in part)
        ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in part])
        weight = torch.tensor([w + [0] * (width - len(w)) for _, w in part])[:, 1:].float()
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        nats = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
        total, count = total + float((nats * weight).sum()), count + float(weight.sum())
    return total / characters, math.exp(total / count)


if __name__ == "__main__":
    torch.set_num_threads(2)
    for path in sys.argv[1:]:
        model, tokenizer, _ = load(path)
        for name, file in SETS.items():
            lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
            per_character, perplexity = loss(model, tokenizer, lines)
            print(f"{path}, {name}: {per_character:.4f} nats a character, perplexity {perplexity:.3f} a token, {len(lines)} conversations")
