"""Goldens for tests/text.rs: token ids and chat renderings by Hugging Face's own code.

    python make.py FOLDER_OF_THE_TINY_MODEL > golden.json

Made with transformers 5.23.0, tokenizers 0.23.3, jinja2 3.1.6. The folder holds the tokenizer.json and the
chat_template.jinja of the model in models/tiny. A second, small vocabulary is trained here, with the regex of
Falcon-H1's GGUF files (Llama 3's) and ignore_merges. Nothing here is downloaded; all texts were written for this file.
"""

import json
import random
import sys
from pathlib import Path

import jinja2
import tokenizers
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).parent))
from strings import CONVERSATIONS, STRINGS, TOOLS, TRAINING

assert (transformers.__version__, tokenizers.__version__, jinja2.__version__) == ("5.23.0", "0.23.3", "3.1.6")

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CONTROL = ["<|pad|>", "<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>", ">>TITLE<<", "weekend"]
USER_DEFINED = ["<tool_call>", "</tool_call>", "<|fim|>"]


def random_strings(n):
    """Characters from all over Unicode, with runs, spaces and line ends among them."""
    rng = random.Random(20261123)
    ranges = [(0x20, 0x7E), (0, 0x1F), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0xDFF),
              (0x1100, 0x11FF), (0x2000, 0x206F), (0x20A0, 0x2BFF), (0x3000, 0x30FF), (0x4E00, 0x9FFF),
              (0xAC00, 0xD7A3), (0xE000, 0xE0FF), (0xFE00, 0xFFFD), (0x1D400, 0x1D7FF), (0x1F300, 0x1FAFF)]
    out = []
    for _ in range(n):
        text = ""
        while len(text) < rng.randint(4, 40):
            kind = rng.random()
            if kind < 0.25:
                text += rng.choice([" ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "'", "'S", "'ll", "1", "12345"])
            elif kind < 0.5:
                text += rng.choice(["the", "ing", "Tion", "año", "über", "שלום", "мир", "ไทย", "한국", "日本"])
            else:
                low, high = rng.choice(ranges)
                text += "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 4)))
        out.append(text)
    return out


def small_tokenizer(texts):
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1500, show_progress=False, special_tokens=CONTROL + USER_DEFINED, min_frequency=2,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(texts, trainer)
    # The trainer makes all of them special: read it back with the user-defined ones as they should be.
    file = json.loads(tokenizer.to_str())
    for token in file["added_tokens"]:
        token["special"] = token["content"] not in USER_DEFINED
    # Whole words that no sequence of merges reaches: only ignore_merges finds them.
    for word in ["antidisestablishmentarianism", "supercalifragilistic", "Ġgoal"]:
        assert word not in file["model"]["vocab"]
        file["model"]["vocab"][word] = len(file["model"]["vocab"])
    return file


def backend(file):
    return Tokenizer.from_str(json.dumps(file))


def ids(tokenizer, texts, plain=False):
    tokenizer.encode_special_tokens = plain
    return [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]


def lines(items):
    return "[\n" + ",\n".join(json.dumps(i, ensure_ascii=True, separators=(",", ":")) for i in items) + "\n]"


def main():
    folder = Path(sys.argv[1])
    tiny = json.loads((folder / "tokenizer.json").read_text())
    texts = STRINGS + random_strings(110)
    assert len(set(texts)) == len(texts)
    small = small_tokenizer(TRAINING + texts)
    gpt2 = json.loads(json.dumps(small))
    gpt2["model"]["ignore_merges"] = False
    gpt2["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}

    merges = [m if isinstance(m, str) else " ".join(m) for m in small["model"]["merges"]]
    vocab = sorted(small["model"]["vocab"], key=small["model"]["vocab"].get)
    assert [small["model"]["vocab"][t] for t in vocab] == list(range(len(vocab)))
    types = [3 if t in CONTROL else 4 if t in USER_DEFINED else 1 for t in vocab]

    chats = []
    for template, file in [("tiny", tiny), ("chatml-tools", small)]:
        source = (folder / "chat_template.jinja" if template == "tiny" else
                  Path(__file__).parent / "chatml-tools.jinja").read_text()
        hf = PreTrainedTokenizerFast(tokenizer_object=backend(file), bos_token="<|begin_of_text|>",
                                     eos_token="<|im_end|>", chat_template=source)
        for conversation in CONVERSATIONS:
            if template == "tiny" and any(m["content"] is None or "tool_calls" in m for m in conversation["messages"]):
                continue
            for generate in (False, True):
                # The tiny template knows no tools.
                tools = TOOLS if conversation.get("tools") and template != "tiny" else None
                chat = dict(template=template, messages=conversation["messages"], tools=tools, generate=generate)
                try:
                    chat["text"] = hf.apply_chat_template(conversation["messages"], tools=tools, tokenize=False,
                                                          add_generation_prompt=generate)
                    chat["ids"] = hf.encode(chat["text"], add_special_tokens=False)
                except jinja2.exceptions.TemplateError as e:
                    chat["error"] = str(e)
                chats.append(chat)

    marked = [t for t in texts if any(c in t for c in CONTROL)]
    print("{")
    print(f'"strings": {lines(texts)},')
    print(f'"tiny": {lines(ids(backend(tiny), texts))},')
    print(f'"small": {lines(ids(backend(small), texts))},')
    print(f'"gpt2": {lines(ids(backend(gpt2), texts[:120]))},')
    # Control tokens switched off, for the texts where that matters.
    plain = [dict(text=t, tiny=a, small=b) for t, a, b in
             zip(marked, ids(backend(tiny), marked, True), ids(backend(small), marked, True)) if "weekend" not in t]
    print(f'"plain": {lines(plain)},')
    print(f'"vocab": {json.dumps(vocab, separators=(",", ":"))},')
    print(f'"types": {json.dumps(types, separators=(",", ":"))},')
    print(f'"merges": {json.dumps(merges, separators=(",", ":"))},')
    print(f'"small_pre_tokenizer": {json.dumps(small["pre_tokenizer"])},')
    print(f'"tiny_pre_tokenizer": {json.dumps(tiny["pre_tokenizer"])},')
    print(f'"tiny_template": {json.dumps((folder / "chat_template.jinja").read_text())},')
    print(f'"chats": {lines(chats)}')
    print("}")


if __name__ == "__main__":
    main()
