"""Goldens for tests/tokens.rs: what Hugging Face's library makes of the files around tokenizer.json.

    python tokens.py > tokens.json

Made with transformers 5.24.0, tokenizers 0.23.3. Each case changes files of tests/golden/hf-folder; a file that is null is not there.
"""

import json
import shutil
import tempfile
from pathlib import Path

import tokenizers
import transformers
from transformers import PreTrainedTokenizerFast

assert (transformers.__version__, tokenizers.__version__) == ("5.24.0", "0.23.3")

FOLDER = Path(__file__).parent.parent / "golden" / "hf-folder"
FILE = json.loads((FOLDER / "tokenizer.json").read_text())
SIZE = len(set(FILE["model"]["vocab"]) | {token["content"] for token in FILE["added_tokens"]})
TEXTS = ["Hello <|tool|> x", "a<|tool|>b", " <|tool|>  <|other|> ", "<|im_start|>user\n<|tool|>", "word tool <|other|>word", "<|named|>ab"]


def token(text, **flags):
    return {"content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True, **flags}


def config(**fields):
    return {"tokenizer_config.json": {**json.loads((FOLDER / "tokenizer_config.json").read_text()), **fields}}


CASES = {
    "as it is": {},
    "added_tokens_decoder": config(added_tokens_decoder={str(SIZE): token("<|tool|>")}),
    "two in it": config(added_tokens_decoder={str(SIZE + 1): token("<|other|>"), str(SIZE): token("<|tool|>", special=False)}),
    "lstrip": config(added_tokens_decoder={str(SIZE): token("<|tool|>", lstrip=True)}),
    "rstrip": config(added_tokens_decoder={str(SIZE): token("<|tool|>", rstrip=True)}),
    "single_word": config(added_tokens_decoder={str(SIZE): token("tool", single_word=True, special=False)}),
    "extra_special_tokens": config(extra_special_tokens=["<|tool|>", "<|other|>"]),
    "additional_special_tokens": config(additional_special_tokens=["<|other|>", "<|tool|>"]),
    "both": config(extra_special_tokens=["<|tool|>"], additional_special_tokens=["<|other|>"]),
    "named in a dictionary": config(extra_special_tokens={"tool_token": "<|tool|>"}),
    "a name of its own": config(tool_token="<|tool|>", unk_token="<|other|>"),
    "special_tokens_map.json": {"special_tokens_map.json": {"unk_token": token("<|named|>"), "additional_special_tokens": ["<|tool|>"]}},
    "the map does not count": {**config(added_tokens_decoder={str(SIZE): token("<|tool|>")}), "special_tokens_map.json": {"unk_token": "<|named|>"}},
    "added_tokens.json": {"added_tokens.json": {"<|tool|>": SIZE, "<|other|>": SIZE + 1}},
    "no settings": {"tokenizer_config.json": None},
}


def main():
    cases = []
    for name, files in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            for file in ["tokenizer.json", "tokenizer_config.json"]:
                shutil.copy(FOLDER / file, folder)
            for file, content in files.items():
                if content is None:
                    (Path(folder) / file).unlink()
                else:
                    (Path(folder) / file).write_text(json.dumps(content))
            hf = PreTrainedTokenizerFast.from_pretrained(folder)
            ids = [hf.encode(text, add_special_tokens=False) for text in TEXTS]
            cases.append({"name": name, "files": files, "ids": ids, "named": hf.special_tokens_map})
    print(json.dumps({"texts": TEXTS, "cases": cases}, indent=0))


if __name__ == "__main__":
    main()
