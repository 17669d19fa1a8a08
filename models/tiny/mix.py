"""Makes the training mix: `python mix.py BUILD [--scale S]`.

Takes the teacher's documents (`corpus/teacher.jsonl.xz`), drops what is wrong, off its prompt or said twice, adds
conversations from the grammars, joins some of them to longer ones, and writes BUILD/train.txt and BUILD/val.txt
(documents as the chat template writes them, separated by NUL), BUILD/tokenizer.json and BUILD/mix.json (counts).
No document holds a prompt of `eval/prompts.jsonl` or an answer of the held-out documents; the script checks what it
wrote and ends with status 1 if one does.
"""

import argparse
import collections
import json
import lzma
import os
import random
import re
import sys

from grammar import knowledge, stories
from grammar.expand import conversation, lines

HERE = os.path.dirname(os.path.abspath(__file__))
MARKS = ["<|pad|>", "<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>"]
VOCABULARY = 6144
COPIES = 6  # how often the very same conversation of a grammar may occur
HELD_OUT = 0.004  # share of the conversations that goes to val.txt
SYSTEM = ["You are a helpful assistant.", "You are a friendly assistant.", "You answer in simple English.",
          "You are a helpful and friendly chatbot.", "You are Peregrine Tiny, a small chat model."]
# How many conversations of each kind at scale 1.
AMOUNTS = dict(story=125_000, pair=14_000, chat=90_000, unknown=85_000, feelings=60_000, memory=95_000, everyday=55_000,
               howto=75_000, fact=45_000, small_fact=25_000, thing=18_000, animal=40_000, compare=22_000, capital=32_000,
               sums=65_000, word_problem=15_000, ideas=15_000, joke=20_000, riddle=8_000, poem=6_000)

# What the teacher says when it loses its thread or speaks of itself.
TEACHER_BAD = re.compile(
    r"(?i)\bas an ai\b|\bi'?m (an ai|here to|glad|so glad|happy|excited|sorry)|\bassist(ant)?\b|\bthe (user|prompt|text|sentence|passage)\b"
    r"|\byour (question|request|project)\b|\blet'?s (dive|explore)|in the heart of|language model|\bprompt\b|https?:|[#*_{}<>\[\]]|\bcompany\b"
    r"|ancient|mystic|\bgods?\b|\bsoul|sacred|quest\b|wondrous|\bjourney|testament|tapestry|several (reasons|ways)|remarkable|unique way|captivat"
    r"|family \w+idae|genus|\bspecies \w+us\b|nocturnal animals that sleep|scientific(ally)? name|\b\d{4}s?\b.*\b\d{4}")
# Questions to which a model of this size should rather say that it does not know, or that the grammars answer.
TEACHER_PROMPT_BAD = re.compile(
    r"(?i)invent|who (was|is|are)\b|how many|how (old|long|big)|weather in|\bwrite\b|\blist\b|\btop \d|code|program|patient|medic|disease|drug"
    r"|\byou (like|think|feel|prefer)|\bis (bears|cats|dogs|\w+s)\?|^what is \w+s\?|do you|your|in three words|capital|story|poem")
STOP = set("what which where when that this with about from have does your they them there their would could should into tell explain describe "
           "three give some facts know more best make people like help need learn want take good look kind work used".split())


def words(text):
    return re.findall(r"[a-z']+", text.lower())


def normal(text):
    """What is compared when texts are looked for: small letters and digits only."""
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()


def good_answer(question, answer):
    """Whether the teacher's answer is short, whole, on the topic of its question and not a circle."""
    if not 40 <= len(answer) <= 340 or answer[-1] not in ".!" or "\n" in answer or TEACHER_BAD.search(answer):
        return False
    if TEACHER_PROMPT_BAD.search(question) or re.match(r"\d\.|\W", answer) or answer.count('"') % 2:
        return False
    topic = {w for w in words(question) if len(w) > 3 and w not in STOP}
    stems = {w[:5] for w in words(answer)}
    if not topic or not any(w[:5] in stems for w in topic):
        return False
    said = [w for w in words(answer) if len(w) > 3]
    counts = collections.Counter(w[:6] for w in said)
    if counts and counts.most_common(1)[0][1] > max(2, len(said) // 9):
        return False
    pairs = list(zip(words(answer), words(answer)[1:]))
    if len(pairs) - len(set(pairs)) > len(pairs) * 0.06:
        return False
    return not re.search(r"\b(\w+)( \w+)? (is|are) an? \1\b|\b(\w+) \4\b", answer.lower())


def answered_by_hand(question):
    """Whether the hand-written half has an answer of its own to this question."""
    text = question.lower()
    if any(goal in text for goal, _ in knowledge.HOWTO):
        return True
    about = re.search(r"what|tell me|explain|describe|teach me|where do|are (they|\w+) (mammals|birds)|can \w+ fly", text)
    names = [x for x, _ in knowledge.THINGS] + list(knowledge.ANIMALS)
    return bool(about) and any(re.search(rf"\b{name}\b", text) for name in names)


def teacher(held_out):
    """The teacher's conversations that are good from the first turn on; cut at the first bad answer."""
    kept = []
    with lzma.open(os.path.join(HERE, "corpus/teacher.jsonl.xz"), "rt", encoding="utf-8") as f:
        for line in f:
            turns = json.loads(line)
            good = []
            for question, answer in zip(turns[::2], turns[1::2]):
                if answered_by_hand(question) or not good_answer(question if not good else turns[0] + question, answer) or normal(answer) in held_out:
                    break
                good += [question, answer]
            if good:
                kept.append(good)
    return kept


def hand(r, scale):
    """Conversations of the grammars, as (kind, turns)."""
    files = {n: lines(f"{n}.txt") for n in ("chat", "unknown", "feelings", "memory", "everyday")}
    made = collections.Counter()
    for kind, amount in AMOUNTS.items():
        for _ in range(int(amount * scale)):
            if kind in files:
                turns = conversation(r.choice(files[kind]), r)
            elif kind in ("story", "pair"):
                turns = stories.conversation(r) if kind == "story" else stories.pair(r)
            else:
                turns = getattr(knowledge, kind)(r)
            turns = [messy(t, r) if i % 2 == 0 else t for i, t in enumerate(turns)]
            key = "\0".join(turns)
            made[key] += 1
            if made[key] <= COPIES:
                yield kind, turns


def messy(text, r):
    """A question as people type it: sometimes without capitals, sometimes without the mark at its end."""
    if r.random() < 0.1:
        text = text.lower()
    if r.random() < 0.1:
        text = text.rstrip(".?!")
    return text


def around(turns, files, r):
    """Sometimes a greeting before, thanks or a goodbye after."""
    if r.random() < 0.08:
        turns = conversation(files[0], r)[:2] + turns
    if r.random() < 0.14:
        turns = turns + conversation(r.choice(files[1:]), r)
    return turns


def template(turns, system=""):
    text = "<|begin_of_text|>" + (f"<|im_start|>system\n{system}<|im_end|>\n" if system else "")
    for i, turn in enumerate(turns):
        text += f"<|im_start|>{'assistant' if i % 2 else 'user'}\n{turn}<|im_end|>\n"
    return text


def train_tokenizer(sample, path):
    """A byte-level BPE like that of the first model: single digits, the marks of turns as ids 0 to 4."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.decoder = decoders.ByteLevel()
    text = [re.sub(r"<\|[a-z_]+\|>", " ", doc) for doc in sample] + ["user\n", "assistant\n", "system\n"] * 2000
    tokenizer.train_from_iterator(text, trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=MARKS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), min_frequency=2, show_progress=False))
    tokenizer.save(path)


def prompt_in(turns, prompts):
    """Whether one of the user's turns is an evaluation prompt."""
    return any(normal(t) in prompts for t in turns[::2])


def main():
    a = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    a.add_argument("build")
    a.add_argument("--scale", type=float, default=1.0, help="factor on the number of conversations of the grammars")
    args = a.parse_args()
    os.makedirs(args.build, exist_ok=True)
    r = random.Random(2026)
    prompts = {normal(json.loads(line)["turns"][-1]) for line in open(os.path.join(HERE, "eval/prompts.jsonl"), encoding="utf-8")}
    held = [json.loads(line) for line in open(os.path.join(HERE, "corpus/teacher-val.jsonl"), encoding="utf-8")]
    held_answers = {normal(t) for turns in held for t in turns[1::2]}

    counts = collections.Counter()
    documents = [("teacher", t) for t in teacher(held_answers)] + list(hand(r, args.scale))
    chat = lines("chat.txt")
    frame = [chat[0]] + [line for line in chat if line.startswith(("{Thanks", "{Bye", "{Okay"))]
    kept = []
    for kind, turns in documents:
        if prompt_in(turns, prompts):
            counts["dropped: holds a prompt of the evaluation"] += 1
        else:
            counts[kind] += 1
            kept.append((kind, around(turns, frame, r)))
    r.shuffle(kept)
    cut = int(len(kept) * HELD_OUT)
    val = [(kind, turns) for kind, turns in kept[:cut]]
    secret = {normal(" ".join(turns)) for _, turns in val}
    secret |= {normal(" ".join(json.loads(line))) for line in open(os.path.join(HERE, "eval/heldout.jsonl"), encoding="utf-8")}
    train = [turns for _, turns in kept[cut:] if normal(" ".join(turns)) not in secret]
    counts["dropped: same as a held-out conversation"] = len(kept) - cut - len(train)

    joined, i = [], 0
    while i < len(train):
        n = 1 if r.random() < 0.72 else r.choice([2, 2, 3, 4, 6])
        turns = [t for conv in train[i : i + n] for t in conv]
        joined.append(template(turns, r.choice(SYSTEM) if r.random() < 0.08 else ""))
        i += n
    open(f"{args.build}/train.txt", "w", encoding="utf-8").write("\0".join(joined))
    open(f"{args.build}/val.txt", "w", encoding="utf-8").write("\0".join(sorted({template(t) for _, t in val})))
    with open(f"{args.build}/val.jsonl", "w", encoding="utf-8") as f:
        f.write("".join(json.dumps({"kind": kind, "turns": turns}, ensure_ascii=False) + "\n" for kind, turns in val))
    train_tokenizer(r.sample(joined, min(len(joined), 90_000)), f"{args.build}/tokenizer.json")
    report = dict(conversations=dict(sorted(counts.items())), documents=len(joined), held_out=len(val), characters=sum(map(len, joined)))
    json.dump(report, open(f"{args.build}/mix.json", "w"), indent=1)
    print(json.dumps(report, indent=1))
    return check(args.build, prompts, held_answers)


def check(build, prompts, held_answers):
    """Reads the written mix again and looks for what must not be in it."""
    bad = 0
    with open(f"{build}/train.txt", encoding="utf-8") as f:
        docs = f.read().split("\0")
    for doc in docs:
        turns = re.findall(r"<\|im_start\|>(user|assistant)\n(.*?)<\|im_end\|>", doc, re.S)
        for who, text in turns:
            if (who == "user" and normal(text) in prompts) or (who == "assistant" and normal(text) in held_answers):
                bad += 1
                if bad <= 10:
                    print("must not be in the mix:", text[:100], file=sys.stderr)
    print(f"{bad} turns that must not be in the mix")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
