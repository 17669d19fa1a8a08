"""How near the evaluation is to the training mix: `python near.py BUILD`, after `python mix.py BUILD`.

`mix.py` keeps a prompt out only in its own words. This prints for each prompt the user's turn in the mix that shares
most words with it (words in both over words in either), how the answers of results.json fare on prompts with a near
turn (at least NEAR) and without one, and how much of heldout.jsonl stands in the mix word by word.
"""

import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from mix import normal  # noqa: E402

NEAR = 0.6


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def pairs_of(document):
    """(question, answer) of a document as the chat template wrote it."""
    turns = [normal(t) for t in re.findall(r"<\|im_start\|>(?:user|assistant)\n(.*?)<\|im_end\|>", document, re.S)]
    return zip(turns[::2], turns[1::2])


def main(build):
    pairs = {pair for document in pathlib.Path(build, "train.txt").read_text(encoding="utf-8").split("\0") for pair in pairs_of(document)}
    questions = [(set(q.split()), q) for q in sorted({q for q, _ in pairs})]
    results = json.loads((HERE / "results.json").read_text(encoding="utf-8"))
    groups = {True: [], False: []}
    for prompt in read(HERE / "prompts.jsonl"):
        mine = set(normal(prompt["turns"][-1]).split())
        share, question = max((len(mine & theirs) / len(mine | theirs), q) for theirs, q in questions)
        groups[share >= NEAR].append(prompt["id"])
        print(f"{prompt['id']}: {share:.2f} | {prompt['turns'][-1]} | {question}")
    for near, ids in groups.items():
        good = [sum(not faults for i in ids for _, faults in results[i][which]) for which in ("old", "new")]
        print(f"{len(ids)} prompts with{'' if near else 'out'} a near turn: all five hold in {good[0]} (first) and {good[1]} (this model) of {4 * len(ids)}")
    held = [list(zip(map(normal, turns[::2]), map(normal, turns[1::2]))) for turns in read(HERE / "heldout.jsonl")]
    seen = [[pair in pairs for pair in conversation] for conversation in held]
    print(f"heldout.jsonl: {sum(map(sum, seen))} of {sum(map(len, seen))} pairs of question and answer stand in the mix, "
          f"in {sum(map(all, seen))} of {len(seen)} conversations all")


if __name__ == "__main__":
    main(*sys.argv[1:])
