"""The fields of an architecture that GGUF has names for, and those of FalconH1Config: for tests/checkpoint/fields.rs.

    python keys.py > keys.json

Made with gguf 0.19.0, transformers 5.24.0.
"""

import inspect
import json

import transformers
from gguf import constants
from transformers import FalconH1Config

assert transformers.__version__ == "5.24.0"


def strings(scope):
    for name, value in vars(scope).items():
        if isinstance(value, str) and not name.startswith("__"):
            yield value
        elif inspect.isclass(value):
            yield from strings(value)


keys = sorted({key.removeprefix("{arch}.") for key in strings(constants.Keys) if key.startswith("{arch}.") and "{" not in key[6:]})
print(json.dumps({"gguf": keys, "config": sorted(FalconH1Config().to_dict())}, indent=0))
