"""Prints the table of the model card from results.json: `python table.py`.

results.json maps each prompt's id to {"old": [[answer, faults], ...], "new": ...}, four answers each, the greedy one
first. A fault is a letter, given by reading: t not on the topic (or wrong where one answer is right), g not
grammatical, l a loop, e did not end by itself, c claims what it can't do or know. The script ends with status 1 when
an answer has no rating, or when e does not agree with the mark of an unfinished answer.
"""

import collections
import json
import pathlib
import sys

FAULTS = {"t": "on topic", "g": "grammatical", "l": "no loop", "e": "ends by itself", "c": "claims nothing it can't do"}
HERE = pathlib.Path(__file__).parent


def count(results, kinds, which):
    """kind -> Counter of answers without each fault, and `good`: without any."""
    out = {kind: collections.Counter() for kind in kinds}
    for identity, answers in results.items():
        assert len(answers[which]) == 4, f"{identity}, {which}: four answers expected, {len(answers[which])} found"
        for text, faults in answers[which]:
            assert set(faults) <= set(FAULTS), f"{identity}, {which}: faults {faults!r}, only {''.join(FAULTS)} are known"
            assert ("e" in faults) == text.endswith("[…]"), f"{identity}, {which}: e and the mark of an unfinished answer differ"
            row = out[identity.rsplit("-", 1)[0]]
            row.update(f for f in FAULTS if f not in faults)
            row["good"] += not faults
    return out


def main():
    results = json.loads((HERE / "results.json").read_text(encoding="utf-8"))
    prompts = [json.loads(line) for line in (HERE / "prompts.jsonl").read_text(encoding="utf-8").splitlines()]
    if missing := {p["id"] for p in prompts} ^ set(results):
        sys.exit(f"results.json and prompts.jsonl differ in {sorted(missing)}")
    kinds = list(dict.fromkeys(p["kind"] for p in prompts))
    counts = {which: count(results, kinds, which) for which in ("old", "new")}
    print("| of 40 answers each, first / this model | " + " | ".join(FAULTS.values()) + " | all five |")
    print("|---" * (len(FAULTS) + 2) + "|")
    for kind in [*kinds, None]:
        rows = [counts[w][kind] if kind else sum(counts[w].values(), collections.Counter()) for w in ("old", "new")]
        print(f"| {kind or 'all (of 240)'} | " + " | ".join(f"{rows[0][f]} / {rows[1][f]}" for f in [*FAULTS, "good"]) + " |")
    for name, first in (("greedy", 0), ("seeds", 1)):
        good = [sum(not f for r in results.values() for _, f in (r[w][:1] if not first else r[w][1:])) for w in ("old", "new")]
        print(f"\n{name}: all five hold in {good[0]} (first) and {good[1]} (this model) of {60 if not first else 180}")


if __name__ == "__main__":
    main()
