"""What the field's Python package reads in files that `peregrine quantize` writes: tests/golden/low.json.

    python tests/golden/low.py target/release/peregrine

For each type of the smallest formats, quant.gguf is written anew, read by the package gguf, and every quantised tensor decoded there.
The file holds a hash of each tensor's values: h = 31 h + bits of the f32, modulo 2^32. tests/checkpoint/low.rs decodes the same files.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy as np

HERE = pathlib.Path(__file__).parent
TYPES = ["Q2_K", "Q3_K_M", "IQ4_NL", "IQ4_XS"]


def value_hash(values):
    bits = np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint32)
    h = 0
    for b in bits.tolist():
        h = (h * 31 + b) & 0xFFFFFFFF
    return h


def main(program):
    hashes = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in TYPES:
            out = pathlib.Path(folder) / f"{name}.gguf"
            subprocess.run([program, "quantize", HERE / "quant.gguf", out, "--type", name], check=True)
            tensors = gguf.GGUFReader(out).tensors
            quantised = [t for t in tensors if t.tensor_type != gguf.GGMLQuantizationType.F32]
            decode = lambda t: value_hash(gguf.quants.dequantize(t.data, t.tensor_type))
            hashes[name] = {t.name: [t.tensor_type.name, decode(t)] for t in quantised}
    line = lambda tensors: ",\n  ".join(f"{json.dumps(name)}: {json.dumps(about)}" for name, about in tensors.items())
    types = ",\n ".join(f"{json.dumps(name)}: {{\n  {line(tensors)}}}" for name, tensors in hashes.items())
    (HERE / "low.json").write_text(f"{{{types}}}\n")


main(sys.argv[1])
