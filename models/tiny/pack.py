"""Tokenises the mix and packs it into rows: `python pack.py BUILD`.

Reads BUILD/train.txt and BUILD/val.txt (documents as the chat template writes them, separated by NUL) and
BUILD/tokenizer.json. Writes BUILD/data.npz with `train` and `val` (u16, rows of 1,024 tokens; a document is never
split, the rest of a row is padding; a document that is longer than a row is cut) and `ids` (pad, begin of text,
im_start, im_end, "assistant").
"""

import random
import sys

import numpy as np
from tokenizers import Tokenizer

ROW = 1024
OPEN = 64  # rows that are being filled at the same time


def encode(path, tokenizer):
    """The token ids of each document, as u16 arrays."""
    docs = open(path, encoding="utf-8").read().split("\0")
    out = []
    for i in range(0, len(docs), 5000):
        out += [np.array(e.ids[:ROW], np.uint16) for e in tokenizer.encode_batch(docs[i : i + 5000])]
    return out


def pack(docs, seed=0):
    """Best fit into rows: each document goes to the open row with the least room that still holds it."""
    order = list(range(len(docs)))
    random.Random(seed).shuffle(order)
    rows, opened = [], []
    for k in order:
        n = len(docs[k])
        fitting = [row for row in opened if row[0] >= n]
        if fitting:
            row = min(fitting, key=lambda row: row[0])
        else:
            if len(opened) >= OPEN:
                fullest = min(opened, key=lambda row: row[0])
                opened.remove(fullest)
                rows.append(fullest[1])
            row = [ROW, []]
            opened.append(row)
        row[0] -= n
        row[1].append(k)
    rows += [row[1] for row in opened]
    out = np.zeros((len(rows), ROW), np.uint16)
    for i, members in enumerate(rows):
        joined = np.concatenate([docs[k] for k in members])
        out[i, : len(joined)] = joined
    return out


def main(build):
    tokenizer = Tokenizer.from_file(f"{build}/tokenizer.json")
    ids = [tokenizer.token_to_id(t) for t in ("<|pad|>", "<|begin_of_text|>", "<|im_start|>", "<|im_end|>", "assistant")]
    if None in ids:
        sys.exit(f"{build}/tokenizer.json lacks one of the marks of a turn: {ids}")
    data = {}
    for name in ("train", "val"):
        docs = encode(f"{build}/{name}.txt", tokenizer)
        data[name] = pack(docs)
        print(f"{name}: {len(docs)} documents, {sum(map(len, docs)) / 1e6:.2f} M tokens, {len(data[name])} rows, "
              f"{(data[name] != 0).mean():.1%} full")
    np.savez(f"{build}/data.npz", ids=np.array(ids), **data)


if __name__ == "__main__":
    main(*sys.argv[1:])
